//! Readers that read a topic outside a consumer group: for the audit, for tests, and for commands.
//!
//! A reader calls `assign` with explicit offsets. If it subscribed instead, a rebalance could set it back, and it would
//! report duplicates that do not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as RdError;

pub use crate::client::Isolation;
use crate::client::{PlainConsumer, observer};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::partition_list;
use crate::record::Record;
use crate::topic::Topics;
use crate::watermarks::watermarks;

/// Time limit for a query of the range of a partition.
const CALL: Duration = Duration::from_secs(10);

/// A reader of all partitions of one topic, in the order of each partition. Its calls block.
pub struct TopicReader {
    topic: TopicName,
    consumer: PlainConsumer,
    partitions: Vec<Partition>,
}

impl fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// Creates a reader that starts at the oldest record of every partition.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic does not exist or no broker responds within 10 s.
    pub fn new(connection: &Connection, topic: &TopicName, isolation: Isolation) -> Result<Self, KafkaError> {
        let count = Topics::new(connection)?.partitions(topic, Duration::from_secs(10))?;
        let partitions: Vec<Partition> = Partition::all(count).collect();
        let consumer = observer(connection, isolation)?;
        let list = partition_list::beginnings(topic, &partitions)?;
        consumer.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        Ok(Self { topic: topic.clone(), consumer, partitions })
    }

    /// Passes records to `visit` until `visit` returns `false`, or until `timeout` has passed and no more record is
    /// ready. Returns whether `visit` returned `false`.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] if reading fails permanently.
    pub fn read_until(
        &self,
        timeout: Duration,
        mut visit: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<bool, KafkaError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left.min(Duration::from_millis(100))) {
                Some(Ok(message)) => {
                    if !visit(&Record::new(&message)) {
                        return Ok(true);
                    }
                }
                Some(Err(error @ RdError::MessageConsumptionFatal(_))) => {
                    return Err(KafkaError::during("reading a topic")(error));
                }
                None | Some(Err(_)) if left.is_zero() => return Ok(false),
                None | Some(Err(_)) => {}
            }
        }
    }

    /// Passes every record up to the current end of each partition to `visit`. For a reader of committed records, the
    /// end is the last stable offset.
    ///
    /// # Errors
    /// [`KafkaError::Operation`], also if the end was not reached within `timeout`.
    pub fn read_to_end(&self, timeout: Duration, mut visit: impl FnMut(&Record<'_>)) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        let mut ends = BTreeMap::new();
        for &partition in &self.partitions {
            let watermarks = watermarks(&self.consumer, &self.topic, partition, CALL)?;
            ends.insert(partition, watermarks.high);
        }
        let mut end_seen = BTreeSet::new();
        loop {
            let positions = self.consumer.position().map_err(KafkaError::during("asking for the position"))?;
            let done = ends.iter().all(|(&partition, &end)| {
                let position = partition_list::find(&positions, &self.topic, partition);
                end == Offset(0)
                    || end_seen.contains(&partition)
                    || position.is_some_and(|found| partition_list::offset(&found).is_some_and(|offset| offset >= end))
            });
            if done {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let error = RdError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut);
                return Err(KafkaError::during("reading a topic to its end")(error));
            }
            for _ in 0..1000 {
                match self.consumer.poll(Duration::from_millis(20)) {
                    Some(Ok(message)) => visit(&Record::new(&message)),
                    Some(Err(RdError::PartitionEOF(partition))) => {
                        let partition = Partition(partition);
                        let end = ends.get(&partition).copied().unwrap_or(Offset(0));
                        let all = OffsetRange { partition, start: Offset(0), end };
                        if is_behind(&self.consumer, &self.topic, &all)? {
                            end_seen.insert(partition);
                        }
                        break;
                    }
                    None | Some(Err(_)) => break,
                }
            }
        }
    }
}

/// A range of offsets in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    /// Partition of the range.
    pub partition: Partition,
    /// First offset of the range.
    pub start: Offset,
    /// Offset after the last offset of the range.
    pub end: Offset,
}

/// Passes every committed record in these ranges of a topic to `visit`. The call blocks.
///
/// No transaction in the ranges may be open ([`wait_until_settled`](crate::offsets::Offsets::wait_until_settled));
/// otherwise the reader waits until the transaction ends. Records that expire in the meantime are skipped.
///
/// # Errors
/// The error that `visit` returns; [`KafkaError::Silence`] if no record arrives for `patience`;
/// [`KafkaError::Operation`] if reading fails permanently.
pub fn read_offset_ranges<E: From<KafkaError>>(
    connection: &Connection,
    topic: &TopicName,
    offset_ranges: &[OffsetRange],
    patience: Duration,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut open: BTreeMap<Partition, OffsetRange> = offset_ranges
        .iter()
        .filter(|offset_range| offset_range.start < offset_range.end)
        .map(|offset_range| (offset_range.partition, *offset_range))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let consumer = observer(connection, Isolation::ReadCommitted)?;
    let starts: Vec<Position> =
        open.values().map(|offset_range| Position::of(offset_range.partition, offset_range.start)).collect();
    consumer.assign(&partition_list::positions(topic, &starts)?).map_err(KafkaError::during("assigning a reader"))?;
    let mut heard = Instant::now();
    while !open.is_empty() {
        let done = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let record = Record::new(&message);
                let Some(offset_range) = open.get_mut(&record.partition()) else { continue };
                if (offset_range.start..offset_range.end).contains(&record.offset()) {
                    visit(&record)?;
                    offset_range.start = record.offset().next();
                }
                (record.offset().next() >= offset_range.end).then_some(record.partition())
            }
            // `PartitionEOF` alone does not complete a range: a replica that is not the leader may lack records. The
            // position decides: it also moves past a transaction marker, which is not a record.
            Some(Err(RdError::PartitionEOF(partition))) => match open.get(&Partition(partition)) {
                Some(offset_range) if is_behind(&consumer, topic, offset_range)? => Some(offset_range.partition),
                _ => None,
            },
            Some(Err(error @ RdError::MessageConsumptionFatal(_))) => {
                return Err(KafkaError::during("reading a topic")(error).into());
            }
            None | Some(Err(_)) => {
                if let Some(offset_range) = open.values().next().filter(|_| heard.elapsed() >= patience) {
                    let OffsetRange { partition, start, end } = *offset_range;
                    let (topic, seconds) = (topic.to_string(), patience.as_secs());
                    return Err(KafkaError::Silence { topic, partition, offset: start, end, seconds }.into());
                }
                None
            }
        };
        if let Some(partition) = done.filter(|partition| open.remove(partition).is_some())
            && !open.is_empty()
        {
            // Records after the end of the range are not needed.
            let list = partition_list::partitions(topic, &[partition]);
            consumer.incremental_unassign(&list).map_err(KafkaError::during("unassigning a partition"))?;
        }
    }
    Ok(())
}

/// Whether the reader's position is past the range, or all records in the range have expired. Called when the reader
/// reports the end of the partition.
fn is_behind(consumer: &PlainConsumer, topic: &TopicName, offset_range: &OffsetRange) -> Result<bool, KafkaError> {
    let positions = consumer.position().map_err(KafkaError::during("asking for the position"))?;
    let position = partition_list::find(&positions, topic, offset_range.partition);
    if position.and_then(|found| partition_list::offset(&found)).is_some_and(|position| position >= offset_range.end) {
        return Ok(true);
    }
    Ok(watermarks(consumer, topic, offset_range.partition, CALL)?.low >= offset_range.end)
}

/// Returns the timestamp of the first committed record at or after each of these offsets, in milliseconds since 1970.
/// Partitions without such a record, or whose first such record has no timestamp, are left out. The call blocks.
///
/// # Errors
/// [`KafkaError::Silence`] if no record arrives for `patience`; [`KafkaError::Operation`] if librdkafka refuses an
/// offset.
pub fn first_times(
    connection: &Connection,
    topic: &TopicName,
    starts: &[Position],
    patience: Duration,
) -> Result<BTreeMap<Partition, i64>, KafkaError> {
    let mut times = BTreeMap::new();
    for &start in starts {
        let Position { partition, offset } = start;
        let consumer = observer(connection, Isolation::ReadCommitted)?;
        let list = partition_list::positions(topic, &[start])?;
        consumer.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        let begun = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    times.extend(Record::new(&message).timestamp().map(|time| (partition, time)));
                    break;
                }
                Some(Err(RdError::PartitionEOF(_))) => break,
                None | Some(Err(_)) if begun.elapsed() >= patience => {
                    let (topic, seconds) = (topic.to_string(), patience.as_secs());
                    return Err(KafkaError::Silence { topic, partition, offset, end: offset.next(), seconds });
                }
                None | Some(Err(_)) => {}
            }
        }
    }
    Ok(times)
}
