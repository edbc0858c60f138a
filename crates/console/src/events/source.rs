//! Access of the screen to events.

use std::pin::Pin;
use std::sync::Arc;

use mapping::SourceOptions;
use operator::find::{self, FindScope, StepRecord, StoredRecord, Timeline, Wanted};
use operator::status::Asked;
use operator::tail::{self, Ended, News};
use tokio::task::block_in_place;
use xdm::TenantId;

use crate::jobs::Job;
use crate::pipeline::{JobObserver, Pace, PipelineAccess};

/// Boxed future of the methods of [`EventSource`].
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A search for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The events to search for: by id, by person or by body.
    pub wanted: Wanted,
    /// Limits the search to records that were received at this time or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// Whether a search for a person reads every partition and not only the partition of the person's key.
    pub all_partitions: bool,
}

/// Receives events as they end, while a page is open.
pub trait Listener: Send + Sync + 'static {
    /// Returns whether a page or a stream is still open.
    fn goes_on(&self) -> bool;

    /// Receives the news that reading has started or has a problem.
    fn hears(&self, news: &News);

    /// Receives an event that has ended.
    fn ended(&self, ended: &Ended);
}

/// Searches for events, reads records and follows the topics.
pub trait EventSource: std::fmt::Debug + Send + Sync + 'static {
    /// Searches for events, reports the progress to the job, and ends early if the job is stopped.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn find<'a>(&'a self, search: &'a Search, job: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>>;

    /// Reads one record as a part of the job; `None` if the record does not exist or has expired.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn stored<'a>(&'a self, record: StepRecord, job: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>>;

    /// Passes every event that ends to the listener until [`Listener::goes_on`] returns `false`.
    ///
    /// # Errors
    /// Returns the error message if the topics can no longer be read.
    fn tail(&self, listener: Arc<dyn Listener>) -> Answering<'_, Result<(), String>>;

    /// Returns the mapping options of a source; `None` if the source is not configured.
    fn options(&self, source: Option<&str>) -> Option<SourceOptions>;

    /// Returns the tenant id: the key of the organisation's own fields in an event.
    fn tenant(&self) -> &TenantId;

    /// Returns the maximum size of a body after decompression, in bytes.
    fn max_body(&self) -> usize;
}

/// Events in the topics of a pipeline.
#[derive(Debug)]
pub struct EventTopics {
    access: Asked<Arc<PipelineAccess>>,
    tenant: TenantId,
}

impl EventTopics {
    /// Creates the access to the topics of this pipeline. `tenant` is the tenant id: the key of the organisation's own
    /// fields in an event.
    #[must_use]
    pub fn new(access: Asked<Arc<PipelineAccess>>, tenant: TenantId) -> Self {
        Self { access, tenant }
    }

    fn access(&self) -> Result<&Arc<PipelineAccess>, String> {
        match &self.access {
            Asked::Answer(access) => Ok(access),
            Asked::NotConfigured(what) | Asked::Failed(what) => Err(what.clone()),
        }
    }
}

impl EventSource for EventTopics {
    fn find<'a>(&'a self, search: &'a Search, job: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>> {
        Box::pin(async move {
            let access = self.access()?;
            let observer = JobObserver::new(job);
            let scope = FindScope {
                all_partitions: search.all_partitions,
                since: access.bound(search.since),
                delivered_from: None,
                committed: access.committed(),
            };
            let found = block_in_place(|| find::run(access.pipeline(&observer), &scope, &search.wanted));
            found.map_err(|error| error.to_string())
        })
    }

    fn stored<'a>(&'a self, record: StepRecord, job: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>> {
        Box::pin(async move {
            let access = self.access()?;
            let observer = JobObserver::new(job);
            let stored = block_in_place(|| find::stored(access.pipeline(&observer), record, &self.tenant));
            stored.map_err(|error| error.to_string())
        })
    }

    fn tail(&self, listener: Arc<dyn Listener>) -> Answering<'_, Result<(), String>> {
        Box::pin(async move {
            let access = Arc::clone(self.access()?);
            let follow = move || {
                let pace = Pace::default();
                let goes_on = || listener.goes_on() && pace.has_read(1, || listener.goes_on());
                let (hears, ended) = (|news: &News| listener.hears(news), |ended: &Ended| listener.ended(ended));
                tail::run(access.pipeline(&|_| {}), hears, goes_on, ended)
            };
            let followed = tokio::task::spawn_blocking(follow).await;
            let followed = followed.map_err(|_| "reading the topics failed; this is a defect".to_owned())?;
            followed.map_err(|error| error.to_string())
        })
    }

    fn options(&self, source: Option<&str>) -> Option<SourceOptions> {
        self.access().ok()?.sources.get(source).cloned()
    }

    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn max_body(&self) -> usize {
        self.access().map_or(0, |access| access.max_body)
    }
}
