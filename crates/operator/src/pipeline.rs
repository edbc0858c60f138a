//! Reads the topics of the pipeline and the committed offsets of its services.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::{Offset, Partition, PipelineTopics, defaults};
use kafka::offsets::Offsets;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::{Connection, KafkaError, Record, TopicName, Watermarks};

use crate::progress::{OnProgress, Progress};

/// Maximum time to wait for the end of a transaction that is open when a topic is read.
const OPEN_TRANSACTION: Duration = Duration::from_secs(60);

/// Maximum time to wait for the next record.
pub(crate) const NEXT_RECORD: Duration = Duration::from_secs(30);

/// Number of records between two progress reports.
const REPORT_EVERY: u64 = 10_000;
/// Number of records between two calls of `Observer::has_read`.
const ASK_EVERY: u64 = 500;

/// The consumer groups of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Group of the transformer, which reads the raw topic.
    pub transformer: String,
    /// Group of the sink, which reads the typed topic.
    pub sink: String,
}

impl Default for Groups {
    fn default() -> Self {
        Self { transformer: defaults::TRANSFORMER_GROUP.to_owned(), sink: defaults::SINK_GROUP.to_owned() }
    }
}

/// The committed offsets of the services, or the groups that have them.
#[derive(Debug, Clone)]
pub enum Committed {
    /// The brokers have the committed offsets of these groups.
    Groups(Groups),
    /// The caller passes the offsets, because the brokers do not keep them.
    Handed(Positions),
}

/// Committed offsets of the services.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    /// The transformer's committed offsets in the raw topic, by partition.
    pub transformer: BTreeMap<Partition, Offset>,
    /// The sink's committed offsets in the typed topic, by partition.
    pub sink: BTreeMap<Partition, Offset>,
}

impl Committed {
    /// Returns the committed offsets. Call this function before reading the ends of the topics: all output of the
    /// committed offsets is then before those ends.
    pub(crate) fn positions(&self, topics: &PipelineTopics, offsets: &Offsets) -> Result<Positions, KafkaError> {
        match self {
            Self::Handed(positions) => Ok(positions.clone()),
            Self::Groups(groups) => Ok(Positions {
                transformer: offsets.committed(&groups.transformer, &topics.raw)?,
                sink: offsets.committed(&groups.sink, &topics.typed)?,
            }),
        }
    }
}

/// Connection, topics, and observer of an operation.
#[derive(Clone, Copy)]
pub struct Pipeline<'p> {
    /// Connection to the brokers.
    pub connection: &'p Connection,
    /// Names of the topics.
    pub topics: &'p PipelineTopics,
    /// Receiver of progress reports.
    pub progress: OnProgress<'p>,
}

impl std::fmt::Debug for Pipeline<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("topics", self.topics).finish_non_exhaustive()
    }
}

impl Pipeline<'_> {
    pub(crate) fn report(&self, progress: Progress) {
        self.progress.report(progress);
    }

    /// Reports `records` further records to the observer. Returns whether the operation continues.
    pub(crate) fn goes_on_after(&self, records: usize) -> bool {
        self.progress.has_read(records as u64)
    }

    /// Must be called for each record that is read, with the number of records so far.
    ///
    /// # Errors
    /// Returns [`KafkaError::GivenUp`] if the observer stops the operation.
    pub(crate) fn has_read(&self, records: u64) -> Result<(), KafkaError> {
        if records.is_multiple_of(ASK_EVERY) && !self.progress.has_read(ASK_EVERY) {
            return Err(KafkaError::GivenUp("the operation was stopped".to_owned()));
        }
        Ok(())
    }

    /// Passes the records of these ranges of a topic to `visit`, and reports the progress.
    pub(crate) fn read(
        &self,
        topic: &TopicName,
        offset_ranges: &[OffsetRange],
        visit: impl FnMut(&Record<'_>),
    ) -> Result<(), KafkaError> {
        self.read_until(topic, offset_ranges, Limit::None, visit)
    }

    /// Like [`Self::read`], but with a time limit.
    pub(crate) fn read_until(
        &self,
        topic: &TopicName,
        offset_ranges: &[OffsetRange],
        limit: Limit,
        mut visit: impl FnMut(&Record<'_>),
    ) -> Result<(), KafkaError> {
        let all: i64 = offset_ranges.iter().map(|range| range.end.0.saturating_sub(range.start.0)).sum();
        let (mut records, of) = (0_u64, u64::try_from(all).ok());
        read_offset_ranges(self.connection, topic, offset_ranges, limit.of(NEXT_RECORD), |record| {
            if limit.is_over() {
                return Err(KafkaError::GivenUp("the time for reading is over".to_owned()));
            }
            records += 1;
            self.has_read(records)?;
            if records.is_multiple_of(REPORT_EVERY) {
                self.report(Progress::ReadTopic { topic: topic.clone(), records, of });
            }
            visit(record);
            Ok(())
        })
    }
}

/// Returns the current watermarks of a topic's partitions, once no record before the high watermarks belongs to an open
/// transaction.
pub(crate) fn stable_watermarks(
    offsets: &Offsets,
    topic: &TopicName,
) -> Result<BTreeMap<Partition, Watermarks>, KafkaError> {
    stable_watermarks_until(offsets, topic, Limit::None)
}

/// Like [`stable_watermarks`], but with a time limit.
pub(crate) fn stable_watermarks_until(
    offsets: &Offsets,
    topic: &TopicName,
    limit: Limit,
) -> Result<BTreeMap<Partition, Watermarks>, KafkaError> {
    let watermarks = offsets.watermarks(topic)?;
    offsets.wait_until_settled(topic, &watermarks, limit.of(OPEN_TRANSACTION))?;
    Ok(watermarks)
}

/// Time limit for reading topics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    None,
    Until(Instant),
}

impl Limit {
    /// Shortens a duration to the time that is left before the limit.
    fn of(self, time: Duration) -> Duration {
        match self {
            Self::None => time,
            Self::Until(end) => time.min(end.saturating_duration_since(Instant::now())),
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Until(end) if Instant::now() >= end)
    }

    /// Whether an error was caused by this limit.
    pub(crate) fn has_caused(self, error: &KafkaError) -> bool {
        let is_of_time =
            matches!(error, KafkaError::GivenUp(_) | KafkaError::Silence { .. } | KafkaError::OpenTransaction { .. });
        is_of_time && self.is_over()
    }
}

/// Returns the retained offsets of each partition.
pub(crate) fn retained(watermarks: &BTreeMap<Partition, Watermarks>) -> Vec<OffsetRange> {
    let range = |(&partition, watermarks): (&Partition, &Watermarks)| OffsetRange {
        partition,
        start: watermarks.low,
        end: watermarks.high,
    };
    watermarks.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use contract::Offset;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::progress::Observer;

    #[test]
    fn a_time_limit_shortens_every_wait_and_is_the_cause_only_of_timeout_errors() {
        let silence = || KafkaError::Silence {
            topic: "raw".to_owned(),
            partition: Partition(0),
            offset: Offset(1),
            end: Offset(2),
            seconds: 0,
        };
        let minute = Duration::from_secs(60);
        assert_eq!((Limit::None.of(minute), Limit::None.has_caused(&silence())), (minute, false));
        let over = Limit::Until(Instant::now());
        assert!(over.is_over() && over.of(minute).is_zero() && over.has_caused(&silence()));
        assert!(!over.has_caused(&KafkaError::NoTopic("raw".to_owned())));
        let later = Limit::Until(Instant::now() + minute);
        assert!(!later.has_caused(&silence()) && later.of(2 * minute) <= minute && !later.is_over());
    }

    /// Stops the operation after this number of records.
    struct StopsAfter(AtomicU64);

    impl Observer for StopsAfter {
        fn report(&self, _: Progress) {}

        fn has_read(&self, records: u64) -> bool {
            self.0.fetch_sub(records, Ordering::Relaxed) > records
        }
    }

    #[test]
    fn an_observer_is_called_every_500_records_and_can_stop_the_operation() {
        let connection = Connection::plaintext("127.0.0.1:1", "test");
        let name = |name: &str| name.parse::<TopicName>().unwrap();
        let topics = PipelineTopics { raw: name("a"), typed: name("b"), dead_letters: name("c"), receipts: None };
        let observer = StopsAfter(AtomicU64::new(3 * ASK_EVERY));
        let pipeline = Pipeline { connection: &connection, topics: &topics, progress: &observer };
        let stopped_at = (1..).find(|&records| pipeline.has_read(records).is_err());
        assert_eq!(stopped_at, Some(3 * ASK_EVERY));
        let goes_on = Pipeline { progress: &|_| {}, ..pipeline };
        assert!((1..10_000).all(|records| goes_on.has_read(records).is_ok()));
    }
}
