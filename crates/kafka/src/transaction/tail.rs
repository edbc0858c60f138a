//! Reads the tails of the output topic after an assignment: the newest records of the partitions that have the same
//! numbers as the assigned ones.
//!
//! The order of the steps makes the result complete:
//! 1. Query the group's committed offset, with a client that waits for pending transactions. This can take as long as
//!    another member's transaction may stay open.
//! 2. Query the end of the output, and the output offset at which reading starts, including open transactions.
//! 3. Read up to that end with a read-committed reader. All output for an input offset before the committed one is
//!    before that end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::{Offset, Partition, Position};
use rdkafka::error::{KafkaError as RdError, KafkaResult};
use tokio_util::sync::CancellationToken;

use crate::error::KafkaError;
use crate::record::{Polled, Record};
use crate::start::FoundStart;
use crate::watermarks::Watermarks;

/// The state of one partition that is restored from its earlier output.
pub trait PartitionState: Send + 'static {
    /// Notes that there is older output that is not read. Called at most once, before the first record.
    fn starts_late(&mut self);
    /// Adds the next record, in the order of the partition.
    fn restore(&mut self, record: &Record<'_>);
}

/// Limits for the output that is read.
#[derive(Debug, Clone, Copy)]
pub struct Lookback {
    /// Maximum number of offsets.
    pub offsets: i64,
    /// Maximum age of a record if no input waits to be read: older output does not matter to any future input.
    pub age: Duration,
}

/// A partition whose state will be restored.
pub(super) struct Candidate<M> {
    pub(super) partition: Partition,
    pub(super) state: M,
}

/// A result of the reading thread.
pub(super) enum Found<M> {
    Starts(Vec<FoundStart>),
    State(Partition, M),
}

/// The queries to the brokers. Their calls block.
pub(super) trait OutputLog {
    /// A reader of committed records.
    type Reader: TailReader;
    /// Returns the starting offsets in the input: the group's committed offsets, once no open transaction delays them.
    fn starts(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError>;
    /// Returns the end of an input partition.
    fn input_end(&self, partition: Partition) -> Result<Offset, KafkaError>;
    /// Returns the range of an output partition, including the records of open transactions.
    fn output(&self, partition: Partition) -> Result<Watermarks, KafkaError>;
    /// Returns the offset of the first output record with a timestamp at or after this time, in milliseconds since
    /// 1970. The query includes open transactions, because a committed transaction may still look open for a moment,
    /// and its records count.
    fn output_since(&self, partition: Partition, millis: i64) -> Result<Option<Offset>, KafkaError>;
    /// Creates a reader of the output.
    fn reader(&self) -> Result<Self::Reader, KafkaError>;
    /// Makes the reader start at these positions of the output.
    fn assign(&self, reader: &Self::Reader, starts: &[Position]) -> Result<(), KafkaError>;
}

/// A reader of the output.
pub(super) trait TailReader {
    /// Waits at most this long for a record.
    fn poll(&self, timeout: Duration) -> Option<KafkaResult<Polled<'_>>>;
    /// Returns the next offset to read of each partition. It can be past transaction markers and aborted records, which
    /// `poll` never returns.
    fn positions(&self) -> Result<Vec<Position>, KafkaError>;
}

/// A partition that is being read.
struct Reading<M> {
    state: M,
    end: Offset,
}

/// Reads the tails of the output. Its calls block.
pub(super) struct Tail<L> {
    pub(super) log: L,
    pub(super) lookback: Lookback,
    pub(super) stop: CancellationToken,
    /// Set when a record arrives.
    pub(super) progress: Arc<AtomicBool>,
}

impl<L: OutputLog> Tail<L> {
    pub(super) fn read<M: PartitionState>(
        &self,
        candidates: Vec<Candidate<M>>,
        mut done: impl FnMut(Found<M>),
    ) -> Result<(), KafkaError> {
        let partitions: Vec<Partition> = candidates.iter().map(|candidate| candidate.partition).collect();
        let starts = self.log.starts(&partitions)?;
        let start_of = |partition| starts.iter().map(|start| start.position).find(|start| start.partition == partition);
        done(Found::Starts(starts.clone()));
        let reader = self.log.reader()?;
        let mut firsts = Vec::with_capacity(candidates.len());
        let mut readings = BTreeMap::new();
        for mut candidate in candidates {
            let partition = candidate.partition;
            let Some(start) = start_of(partition) else { continue };
            let Watermarks { low, high: end } = self.log.output(partition)?;
            // If no input waits, all future input is newer than now. (A replay may add an older record. If the event of
            // that record was already mapped, the replay causes a second typed record.)
            let caught_up = start.offset >= self.log.input_end(partition)?;
            let by_time = if caught_up { self.offset_by_age(partition, end)? } else { low };
            let first = first(low, end, by_time, self.lookback.offsets);
            if first.starts_late {
                candidate.state.starts_late();
            }
            if first.offset >= end {
                done(Found::State(partition, candidate.state));
                continue;
            }
            firsts.push(Position::of(partition, first.offset));
            readings.insert(partition, Reading { state: candidate.state, end });
        }
        self.log.assign(&reader, &firsts)?;
        self.follow(&reader, readings, done)
    }

    /// Reads until every partition is read to its end.
    fn follow<M: PartitionState>(
        &self,
        reader: &L::Reader,
        mut readings: BTreeMap<Partition, Reading<M>>,
        mut done: impl FnMut(Found<M>),
    ) -> Result<(), KafkaError> {
        while !readings.is_empty() && !self.stop.is_cancelled() {
            let mut reached = BTreeSet::new();
            match reader.poll(Duration::from_millis(50)) {
                Some(Ok(polled)) => {
                    self.progress.store(true, Ordering::Relaxed);
                    let record = polled.record();
                    if let Some(reading) = readings.get_mut(&record.partition())
                        && record.offset() < reading.end
                    {
                        reading.state.restore(&record);
                        if record.offset().next() < reading.end {
                            continue;
                        }
                    }
                    reached.insert(record.partition());
                }
                // All remaining records may have expired in the meantime, so that no more will arrive.
                Some(Err(RdError::PartitionEOF(partition))) => {
                    let partition = Partition(partition);
                    if let Some(reading) = readings.get(&partition)
                        && self.log.output(partition)?.low >= reading.end
                    {
                        reached.insert(partition);
                    }
                }
                Some(Err(error @ RdError::MessageConsumptionFatal(_))) => {
                    return Err(KafkaError::during("reading the output's tail")(error));
                }
                // Connection errors are temporary; librdkafka continues by itself.
                None | Some(Err(_)) => {}
            }
            // The position also counts transaction markers and aborted records, which the reader never receives.
            reached.extend(reader.positions()?.into_iter().filter_map(|position| {
                readings.get(&position.partition).filter(|reading| position.offset >= reading.end)?;
                Some(position.partition)
            }));
            for partition in reached {
                if let Some(reading) = readings.remove(&partition) {
                    done(Found::State(partition, reading.state));
                }
            }
        }
        Ok(())
    }

    /// Returns the first offset whose record is not older than the lookback; `end` if there is none.
    fn offset_by_age(&self, partition: Partition, end: Offset) -> Result<Offset, KafkaError> {
        let age = i64::try_from(self.lookback.age.as_millis()).unwrap_or(i64::MAX);
        let since = service::unix_millis().saturating_sub(age).max(0);
        Ok(self.log.output_since(partition, since)?.unwrap_or(end))
    }
}

/// The offset at which reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    offset: Offset,
    /// Whether records before this offset might matter.
    starts_late: bool,
}

/// Decides where reading starts in a partition that holds `[low, end)`. Only records at or after `by_time` matter, and
/// at most `offsets` of them are read.
fn first(low: Offset, end: Offset, by_time: Offset, offsets: i64) -> First {
    let floor = Offset(end.0.saturating_sub(offsets));
    let offset = low.max(floor).max(by_time);
    // The records before the oldest retained one are gone, and their age is unknown.
    let unknown = offset == low && low > Offset(0) && by_time <= low;
    First { offset, starts_late: floor > by_time.max(low) || unknown }
}

#[cfg(test)]
mod tests;
