//! Finds the events that Platform rejected after it had accepted them, and writes dead letters for them.
//!
//! Platform puts such events into failed batches and does not notify the sender. In each pass, the sink that reads
//! partition 0 of the typed topic queries the dataset's failed batches, matches each row with its typed record by
//! `_id`, and writes a dead letter with the stage `platform`. The dead letters themselves and a mark on their topic
//! store the progress, so that another instance, or this one after a restart, continues from there.

pub(crate) mod topics;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use contract::Partition;
use contract::dead_letter::{Cut, DeadLetter, Entry, Mark, Stage, code};
use kafka::producer::{NewRecord, ProduceError};
use kafka::record::{Header, PackedRecord, header};
use kafka::{Headers, KafkaError, TopicName};
use platform::control::{
    Batch, ControlClient, ControlError, ErrorKind, Rejection, download_failed, failed_batches, failed_files, rejections,
};
use prometheus::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Time for which Platform keeps failed batches. The first pass looks back this far.
const KEPT_MS: i64 = 30 * DAY_MS;
/// Every later pass starts this long before the mark, because a batch can fail long after it was created.
const LOOK_BACK_MS: i64 = DAY_MS;
/// The mark is written at least this often, so that it does not expire.
const MARK_EVERY_MS: i64 = DAY_MS;
/// Interval at which a sink checks whether it reads partition 0.
const OWNER_EVERY: Duration = Duration::from_secs(5);

/// The progress of earlier passes, as stored on the dead-letter topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The time in the newest mark.
    to: Option<i64>,
    /// The events that have a dead letter, as (batch, `_id`).
    events: HashSet<(String, String)>,
}

impl Checked {
    /// Adds the progress that a record of the dead-letter topic contains.
    fn add<'a>(&mut self, headers: impl Iterator<Item = Header<'a>> + Clone) {
        match Entry::read(headers.clone()) {
            Entry::Mark(Mark::FailedBatchesCheckedTo(to)) => self.to = self.to.max(Some(to)),
            Entry::DeadLetter(DeadLetter { stage: Stage::Platform, batch: Some(batch), .. }) => {
                let id = headers.filter(|header| header.name == header::EVENT_ID).last();
                if let Some(id) = id.and_then(|id| std::str::from_utf8(id.value?).ok()) {
                    self.events.insert((batch, id.to_owned()));
                }
            }
            _ => {}
        }
    }

    /// Returns the time from which failed batches are queried.
    fn from(&self, now: i64) -> i64 {
        self.to.map_or(now - KEPT_MS, |to| to - LOOK_BACK_MS)
    }
}

/// Access to the topics that a pass reads and writes. Tests implement this without Kafka.
pub(crate) trait Topics: Send + Sync {
    /// Reads the progress from the records that were written to the dead-letter topic since this time.
    fn checked(&self, since: i64) -> impl Future<Output = Result<Checked, KafkaError>> + Send;

    /// Returns the retained typed records of these events, by event id. Platform accepted the events around this time.
    fn typed(
        &self,
        ids: HashSet<String>,
        around: i64,
    ) -> impl Future<Output = Result<HashMap<String, PackedRecord>, KafkaError>> + Send;

    /// Writes a dead letter; returns once it is acknowledged.
    fn write(&self, rejected: &Rejected) -> impl Future<Output = Result<(), ProduceError>> + Send;

    /// Writes the mark; returns once it is acknowledged.
    fn mark(&self, to: i64) -> impl Future<Output = Result<(), ProduceError>> + Send;
}

/// A rejected event that becomes a dead letter.
#[derive(Debug)]
pub(crate) struct Rejected {
    batch: String,
    event_id: String,
    message: String,
    keyword: &'static str,
    original: Original,
}

/// The content of the dead letter.
#[derive(Debug)]
enum Original {
    /// The typed record.
    Typed(PackedRecord),
    /// The row of the failed batch, because the typed record has expired.
    Row(Vec<u8>),
}

impl Rejected {
    /// Creates the value for a rejected event; `typed` is the event's typed record, if it is retained.
    fn of(batch: &str, event_id: &str, rejection: Rejection, typed: Option<PackedRecord>) -> Self {
        let reasons = rejection.text();
        let keyword = rejection.keyword();
        let (original, place) = match typed {
            Some(record) => (Original::Typed(record), ""),
            None => {
                let row = serde_json::to_vec(&Value::Object(rejection.row));
                let row = row.expect("a JSON object can always be written");
                (Original::Row(row), " (the typed record has expired; this is the row of the batch)")
            }
        };
        let message =
            format!("Platform rejected the event after it had accepted it, in batch {batch}{place}: {reasons}");
        Self { batch: batch.to_owned(), event_id: event_id.to_owned(), message, keyword, original }
    }

    fn value(&self) -> &[u8] {
        match &self.original {
            Original::Typed(record) => record.value(),
            Original::Row(row) => row,
        }
    }

    /// Returns the record of the dead letter. `value` is [`Self::value`], or its beginning if `cut` is set.
    fn record<'a>(
        &'a self,
        (dead_letters, typed): (&'a TopicName, &TopicName),
        value: &'a [u8],
        cut: Option<Cut>,
        now: i64,
    ) -> NewRecord<'a> {
        let dead_letter = DeadLetter::new(Stage::Platform, code::REJECTED_AFTER_ACCEPTANCE, &self.message, now);
        let dead_letter = DeadLetter { cut, ..dead_letter.batch(&self.batch) };
        let (partition, key, headers, dead_letter) = match &self.original {
            Original::Typed(record) => {
                let origin = record.position;
                let headers = Headers::copied(record.headers());
                (origin.partition, record.key(), headers, dead_letter.of(typed.as_str(), origin))
            }
            Original::Row(_) => {
                let headers = Headers::with_capacity(8).with(header::EVENT_ID, self.event_id.as_bytes());
                (Partition(0), None, headers, dead_letter)
            }
        };
        let headers = headers.with_all(dead_letter.headers());
        NewRecord { topic: dead_letters, partition: Some(partition), key, value: Some(value), headers }
    }
}

/// Error that ends a pass early. The next pass continues where this one ended.
#[derive(Debug)]
enum Failure {
    /// The credential may not read the failed batches.
    MayNotRead(String),
    /// Any other error.
    Other(String),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match &*error.kind {
            ErrorKind::Forbidden(_) | ErrorKind::Unauthorized(_) => Self::MayNotRead(error.kind.to_string()),
            kind => Self::Other(kind.to_string()),
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Other(error.to_string())
    }
}

impl From<ProduceError> for Failure {
    fn from(error: ProduceError) -> Self {
        Self::Other(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::MayNotRead(text) | Self::Other(text)) = self;
        f.write_str(text)
    }
}

/// Searches for rejected events.
#[derive(Debug)]
pub(crate) struct Watcher<T> {
    pub(crate) client: ControlClient,
    pub(crate) dataset_id: String,
    pub(crate) topics: T,
    pub(crate) metrics: Metrics,
    /// Interval between two passes.
    pub(crate) every: Duration,
}

/// The progress that a sink keeps while it reads partition 0.
#[derive(Debug, Default)]
struct Progress {
    checked: Checked,
    /// The ids of the batches whose events all have a dead letter.
    done: HashSet<String>,
    /// Time of the last mark that this process knows of, in milliseconds since 1970.
    marked: i64,
}

impl<T: Topics> Watcher<T> {
    /// Runs until `stop` is cancelled. A failure does not end the loop. It is logged, unless it repeats the
    /// previous one.
    pub(crate) async fn run(self, registry: Registry, stop: CancellationToken) {
        let mut progress: Option<Progress> = None;
        let mut said = String::new();
        loop {
            let mut wait = OWNER_EVERY;
            if reads_first_partition(&registry) {
                match self.pass(&mut progress, service::unix_millis()).await {
                    Ok(()) => said.clear(),
                    Err(failure) => {
                        let text = failure.to_string();
                        if said != text {
                            report(&failure);
                            said = text;
                        }
                    }
                }
                wait = self.every;
            } else {
                // Another instance reads partition 0 now, and searches.
                progress = None;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Writes the missing dead letters of all failed batches.
    async fn pass(&self, progress: &mut Option<Progress>, now: i64) -> Result<(), Failure> {
        let progress = match progress {
            Some(progress) => progress,
            None => {
                let checked = self.topics.checked(now - KEPT_MS).await?;
                progress.insert(Progress { marked: checked.to.unwrap_or_default(), checked, ..Progress::default() })
            }
        };
        let batches = self.client.list(&failed_batches(&self.dataset_id, progress.checked.from(now))).await?;
        let mut written = 0;
        for batch in batches.iter().filter(|batch| !progress.done.contains(&batch.id)).collect::<Vec<_>>() {
            written += self.batch(batch, &mut progress.checked).await?;
            progress.done.insert(batch.id.clone());
        }
        let listed: HashSet<&str> = batches.iter().map(|batch| batch.id.as_str()).collect();
        progress.done.retain(|id| listed.contains(id.as_str()));
        progress.checked.events.retain(|(batch, _)| listed.contains(batch.as_str()));
        progress.checked.to = Some(now);
        if written > 0 || now - progress.marked >= MARK_EVERY_MS {
            self.topics.mark(now).await?;
            progress.marked = now;
        }
        Ok(())
    }

    /// Writes the missing dead letters of one batch; returns their number.
    async fn batch(&self, batch: &Batch, checked: &mut Checked) -> Result<usize, Failure> {
        let rows = match self.rows(batch).await {
            Err(error) if matches!(*error.kind, ErrorKind::NotFound(_)) => {
                tracing::warn!(batch = %batch.id, records = ?batch.failed_record_count, "Platform no longer has the rows of a failed batch");
                return Ok(0);
            }
            rows => rows?,
        };
        let is_new = |id: &String| !checked.events.contains(&(batch.id.clone(), id.clone()));
        let mut without_id = 0;
        let mut rejected: Vec<(String, Rejection)> = Vec::new();
        for rejection in rows {
            match rejection.event_id.clone() {
                Some(id) if is_new(&id) => rejected.push((id, rejection)),
                Some(_) => {}
                None => without_id += 1,
            }
        }
        let ids: HashSet<String> = rejected.iter().map(|(id, _)| id.clone()).collect();
        let around = batch.created.unwrap_or_else(service::unix_millis);
        let mut typed = if ids.is_empty() { HashMap::new() } else { self.topics.typed(ids, around).await? };
        let mut keywords: BTreeMap<&'static str, usize> = BTreeMap::new();
        let written = rejected.len();
        for (id, rejection) in rejected {
            let record = typed.remove(&id);
            let dead_letter = Rejected::of(&batch.id, &id, rejection, record);
            self.topics.write(&dead_letter).await?;
            self.metrics.rejected_after_acceptance(dead_letter.keyword);
            *keywords.entry(dead_letter.keyword).or_default() += 1;
            checked.events.insert((batch.id.clone(), id));
        }
        if written + without_id > 0 {
            tracing::error!(
                batch = %batch.id, events = written, without_id, rules = ?keywords,
                "Platform rejected events after it had accepted them; each has a dead letter with Platform's reason: `customerio-aep dead-letters list --stage platform`"
            );
        }
        Ok(written)
    }

    async fn rows(&self, batch: &Batch) -> Result<Vec<Rejection>, ControlError> {
        let mut rows = Vec::new();
        for file in self.client.list(&failed_files(&batch.id)).await? {
            let found = self.client.send(&download_failed(&batch.id, &file.name)).await?;
            if found.is_cut || found.unreadable > 0 {
                tracing::warn!(
                    batch = %batch.id, file = file.name, is_cut = found.is_cut, unreadable = found.unreadable,
                    "not all rows of a failed batch can be read; the others are on Platform's screen (Datasets > the dataset > the batch)"
                );
            }
            rows.extend(found.rows);
        }
        Ok(rejections(rows))
    }
}

fn report(failure: &Failure) {
    match failure {
        Failure::MayNotRead(reason) => tracing::warn!(
            reason,
            "the sink's credential may not read failed batches (permission View Datasets), so events that Platform rejects after acceptance are not found; delivering as before"
        ),
        Failure::Other(reason) => {
            tracing::warn!(
                reason,
                "looking for events that Platform rejected after acceptance failed; trying again later"
            );
        }
    }
}

/// Whether this instance reads partition 0. Its metrics show the offset of each partition that it reads.
fn reads_first_partition(registry: &Registry) -> bool {
    let families = registry.gather();
    let offsets = families.iter().find(|family| family.name() == "customerio_kafka_consumer_offset");
    let is_first = |metric: &prometheus::proto::Metric| {
        metric.get_label().iter().any(|label| label.name() == "partition" && label.value() == "0")
    };
    offsets.is_some_and(|family| family.get_metric().iter().any(is_first))
}

#[cfg(test)]
mod tests;
