//! How the screen reaches events.

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

/// A future of this trait.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What to search for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What to search for.
    pub wanted: Wanted,
    /// Only records received at this time or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// Every partition, although a person's events are in one.
    pub all_partitions: bool,
}

/// Gets the events that end, while somebody looks.
pub trait Listener: Send + Sync + 'static {
    /// Whether somebody still looks.
    fn goes_on(&self) -> bool;

    /// Something about the reading itself.
    fn hears(&self, news: &News);

    /// An event has ended.
    fn ended(&self, ended: &Ended);
}

/// The events of the topics.
pub trait EventSource: std::fmt::Debug + Send + Sync + 'static {
    /// Searches as this job: it reports its progress, and ends soon after the job was stopped.
    ///
    /// # Errors
    /// Why there is no answer.
    fn find<'a>(&'a self, search: &'a Search, job: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>>;

    /// Reads one record as a part of this job; `None` if it is not there, or not any more.
    ///
    /// # Errors
    /// Why there is no answer.
    fn stored<'a>(&'a self, record: StepRecord, job: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>>;

    /// Passes on every event that ends, as long as the listener wants it.
    ///
    /// # Errors
    /// Why the reading ended before.
    fn tail(&self, listener: Arc<dyn Listener>) -> Answering<'_, Result<(), String>>;

    /// The options with which the transformer maps the records of a source; `None` if there is no such source.
    fn options(&self, source: Option<&str>) -> Option<SourceOptions>;

    /// The key of the organisation's own fields in an event.
    fn tenant(&self) -> &TenantId;

    /// The maximum size of a body after decompression.
    fn max_body(&self) -> usize;
}

/// The events of the topics of a pipeline.
#[derive(Debug)]
pub struct EventTopics {
    access: Asked<Arc<PipelineAccess>>,
    tenant: TenantId,
}

impl EventTopics {
    /// Over these topics. `tenant` is the key of the organisation's own fields in an event.
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
