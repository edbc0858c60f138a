//! How an operator connects to the pipeline and reads its topics.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::offsets::{Extent, Offsets};
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::{Connection, KafkaError, Record, TopicName};

use crate::progress::{OnProgress, Progress};

/// How long a transaction that is open while a topic is read may take to end.
const OPEN_TRANSACTION: Duration = Duration::from_secs(60);

/// How long a reader waits for the next record.
pub(crate) const NEXT_RECORD: Duration = Duration::from_secs(30);

/// How many records are read between two reports of the progress.
const REPORT_EVERY: u64 = 10_000;

/// The four topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineTopics {
    /// Webhooks as they were received.
    pub raw: TopicName,
    /// Mapped events.
    pub typed: TopicName,
    /// Dead letters and their resolutions.
    pub dead_letters: TopicName,
    /// Receipts; `None` if the sink writes none.
    pub receipts: Option<TopicName>,
}

/// The consumer groups of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Reads the raw topic.
    pub transformer: String,
    /// Reads the typed topic.
    pub sink: String,
}

impl Default for Groups {
    fn default() -> Self {
        Self { transformer: "customerio-transformer".to_owned(), sink: "customerio-sink".to_owned() }
    }
}

/// The brokers, the topics, and who is informed of the progress.
#[derive(Clone, Copy)]
pub struct Pipeline<'p> {
    /// How to reach the brokers.
    pub connection: &'p Connection,
    /// The topics.
    pub topics: &'p PipelineTopics,
    /// Gets the progress of every operation.
    pub progress: OnProgress<'p>,
}

impl std::fmt::Debug for Pipeline<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("topics", self.topics).finish_non_exhaustive()
    }
}

impl Pipeline<'_> {
    pub(crate) fn report(&self, progress: Progress) {
        (self.progress)(progress);
    }

    /// Passes the records of these ranges of a topic to `visit`, and reports the progress.
    pub(crate) fn read(
        &self,
        topic: &TopicName,
        offset_ranges: &[OffsetRange],
        mut visit: impl FnMut(&Record<'_>),
    ) -> Result<(), KafkaError> {
        let all: i64 = offset_ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let (mut records, of) = (0_u64, u64::try_from(all).ok());
        read_offset_ranges(self.connection, topic, offset_ranges, NEXT_RECORD, |record| {
            records += 1;
            if records.is_multiple_of(REPORT_EVERY) {
                self.report(Progress::ReadTopic { topic: topic.clone(), records, of });
            }
            visit(record);
            Ok(())
        })
    }
}

/// Returns the offsets that a topic's partitions contain now, once no record before these ends belongs to an open
/// transaction.
pub(crate) fn stable_extents(offsets: &Offsets, topic: &TopicName) -> Result<BTreeMap<i32, Extent>, KafkaError> {
    let extents = offsets.extents(topic)?;
    offsets.wait_until_settled(topic, &extents, OPEN_TRANSACTION)?;
    Ok(extents)
}

/// All offsets that the partitions retain.
pub(crate) fn retained(extents: &BTreeMap<i32, Extent>) -> Vec<OffsetRange> {
    let range = |(&partition, extent): (&i32, &Extent)| OffsetRange { partition, start: extent.start, end: extent.end };
    extents.iter().map(range).collect()
}
