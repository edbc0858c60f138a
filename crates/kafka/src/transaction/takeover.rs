//! What a worker must know before it goes on with a partition that somebody else worked on: the newest records of the
//! partition of the same number in the output topic, read on a thread of their own while the other partitions go on.
//!
//! The order is what makes it complete. First comes the group's committed offset, from a client that waits for pending
//! transactions, which can take as long as another member's transaction may stay open. Then the output's end and the place to begin are asked for, open transactions included; then a
//! read-committed reader reads until it is at that end. Whatever was written for an input offset before the committed one
//! lies before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdError;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::group;
use crate::log_watch::Latest;
use crate::reader::{Isolation, frugal_observer};
use crate::record::Record;
use crate::start::{FoundStart, StartRule, starts};
use crate::topic::{LogContextConsumer, TopicName, Topics};

/// How long the brokers have to answer a question.
const CALL: Duration = Duration::from_secs(10);

/// How often is said that it takes long.
const REMINDER: Duration = Duration::from_secs(10);

/// What is gathered of one partition's earlier output.
pub trait Memory: Send + 'static {
    /// There is older output that is not read. Called before the first record, if at all.
    fn starts_late(&mut self);
    /// The next record, in the order of the partition.
    fn remember(&mut self, record: &Record<'_>);
}

/// How far back is read.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// The most offsets.
    pub offsets: i64,
    /// Not further than this, where nothing waits to be read: output older than that matters to no input to come.
    pub age: Duration,
}

/// A partition to be taken over.
pub(super) struct Candidate<M> {
    pub(super) partition: i32,
    pub(super) memory: M,
}

/// What has become known of an assignment. The starts of all its partitions come first, of those that have not left.
pub(super) enum Finding<M> {
    /// Where the partitions are read from.
    Starts(Vec<FoundStart>),
    /// A partition whose earlier output is known, and how long that took.
    Restored { partition: i32, memory: M, took: Duration },
}

struct Told<M> {
    assignment: u64,
    outcome: Result<Found<M>, KafkaError>,
}

/// What the reading thread has found.
enum Found<M> {
    Starts(Vec<FoundStart>),
    Memory(i32, M),
}

/// What the takeovers of a session have in common.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) connection: Connection,
    pub(super) group: String,
    pub(super) input: TopicName,
    pub(super) output: TopicName,
    pub(super) reach: Reach,
    pub(super) from_beginning: bool,
    /// Partitions whose log was found to be replaced.
    pub(super) replaced: Latest,
    /// How long the brokers may take to end the transaction of a member that died.
    pub(super) pending: Duration,
}

/// The takeovers of one session.
pub(super) struct Takeovers<M> {
    ground: Ground,
    /// By partition, under which assignment: a result for an older one says nothing.
    waiting: BTreeMap<i32, (u64, Instant)>,
    assignments: u64,
    /// What stops the reader of an assignment; only of those that are waited for.
    readers: BTreeMap<u64, CancellationToken>,
    tell: mpsc::Sender<Told<M>>,
    told: mpsc::Receiver<Told<M>>,
    stop: CancellationToken,
}

impl<M: Memory> Takeovers<M> {
    pub(super) fn new(ground: Ground) -> Self {
        let (tell, told) = mpsc::channel();
        Self {
            ground,
            waiting: BTreeMap::new(),
            assignments: 0,
            readers: BTreeMap::new(),
            tell,
            told,
            stop: CancellationToken::new(),
        }
    }

    /// Begins to read. Until [`Takeovers::finished`] names a partition, nothing of its input may be processed.
    pub(super) fn begin(&mut self, candidates: Vec<Candidate<M>>) {
        self.assignments += 1;
        let assignment = self.assignments;
        let now = Instant::now();
        self.waiting.extend(candidates.iter().map(|candidate| (candidate.partition, (assignment, now))));
        let stop = self.stop.child_token();
        self.readers.insert(assignment, stop.clone());
        self.stop_readers();
        let tail = Tail { ground: self.ground.clone(), stop };
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            // No one listens any more once the session is over.
            let report = |outcome| drop(tell.send(Told { assignment, outcome }));
            if let Err(error) = tail.read(candidates, |found| report(Ok(found))) {
                report(Err(error));
            }
        });
    }

    /// The partition has left before it was taken over.
    pub(super) fn forget(&mut self, partition: i32) {
        self.waiting.remove(&partition);
        self.stop_readers();
    }

    fn is_waited_for(&self, assignment: u64) -> bool {
        self.waiting.values().any(|(waiting, _)| *waiting == assignment)
    }

    /// Nobody reads what nobody waits for any more.
    fn stop_readers(&mut self) {
        let waiting: BTreeSet<u64> = self.waiting.values().map(|(assignment, _)| *assignment).collect();
        self.readers.retain(|assignment, stop| {
            let wanted = waiting.contains(assignment);
            if !wanted {
                stop.cancel();
            }
            wanted
        });
    }

    /// What has become known next.
    ///
    /// # Errors
    /// [`KafkaError`] when the brokers do not answer, a tail cannot be read, or a person must decide where to start.
    pub(super) fn finished(&mut self) -> Result<Option<Finding<M>>, KafkaError> {
        while let Ok(told) = self.told.try_recv() {
            if !self.is_waited_for(told.assignment) {
                continue;
            }
            let (partition, memory) = match told.outcome? {
                Found::Starts(mut starts) => {
                    // Partitions that have left meanwhile, and perhaps come back, wait for another reader.
                    let waiting = &self.waiting;
                    starts.retain(|start| {
                        waiting.get(&start.partition).is_some_and(|(assignment, _)| *assignment == told.assignment)
                    });
                    return Ok(Some(Finding::Starts(starts)));
                }
                Found::Memory(partition, memory) => (partition, memory),
            };
            if let Some(&(assignment, since)) = self.waiting.get(&partition)
                && assignment == told.assignment
            {
                self.forget(partition);
                return Ok(Some(Finding::Restored { partition, memory, took: since.elapsed() }));
            }
        }
        Ok(None)
    }
}

impl<M> Drop for Takeovers<M> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A partition being read.
struct Reading<M> {
    memory: M,
    end: i64,
}

/// Reads tails; blocks.
struct Tail {
    ground: Ground,
    stop: CancellationToken,
}

impl Tail {
    fn read<M: Memory>(&self, candidates: Vec<Candidate<M>>, mut done: impl FnMut(Found<M>)) -> Result<(), KafkaError> {
        let Ground { connection, input, output, reach, .. } = &self.ground;
        let partitions: Vec<i32> = candidates.iter().map(|candidate| candidate.partition).collect();
        let topics = Topics::new(connection)?;
        let starts = self.starts(&topics, &partitions)?;
        let start_of = |partition| starts.iter().find(|start| start.partition == partition);
        done(Found::Starts(starts.clone()));
        let consumer = frugal_observer(connection, Isolation::ReadCommitted)?;
        let mut list = TopicPartitionList::with_capacity(candidates.len());
        let mut readings = BTreeMap::new();
        for mut candidate in candidates {
            let partition = candidate.partition;
            let Some(start) = start_of(partition) else { continue };
            let (low, end) = topics.watermarks(output, partition, CALL)?;
            // Where no input waits, all that is to come is newer than now. (A replay may bring an older record, which then
            // becomes a second typed record if its event was typed of another one.)
            let caught_up = start.offset >= topics.watermarks(input, partition, CALL)?.1;
            let by_time = if caught_up { self.offset_by_age(&topics, partition, end)? } else { low };
            let first = first(low, end, by_time, reach.offsets);
            if first.starts_late {
                candidate.memory.starts_late();
            }
            if first.offset >= end {
                done(Found::Memory(partition, candidate.memory));
                continue;
            }
            list.add_partition_offset(output.as_str(), partition, Offset::Offset(first.offset))
                .map_err(KafkaError::during("building a list of offsets"))?;
            readings.insert(partition, Reading { memory: candidate.memory, end });
        }
        consumer.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        self.follow(&topics, &consumer, readings, done)
    }

    /// Where the input is read from: what the group has committed, once no transaction holds it back any more.
    fn starts(&self, topics: &Topics, partitions: &[i32]) -> Result<Vec<FoundStart>, KafkaError> {
        let Ground { connection, group, input, output, from_beginning, replaced, pending, .. } = &self.ground;
        let has_output = |partition| {
            let (_, high) = topics.watermarks(output, partition, CALL)?;
            Ok((high > 0).then(|| format!("{output}[{partition}]")))
        };
        let rule = StartRule {
            group,
            topic: input,
            connection,
            from_beginning: *from_beginning,
            replaced,
            output: &has_output,
        };
        let client = group::outsider(connection, group)?;
        starts(&client, &rule, partitions, CALL, *pending)
    }

    /// Reads on until every partition's reader is at its end.
    fn follow<M: Memory>(
        &self,
        topics: &Topics,
        consumer: &BaseConsumer<LogContextConsumer>,
        mut readings: BTreeMap<i32, Reading<M>>,
        mut done: impl FnMut(Found<M>),
    ) -> Result<(), KafkaError> {
        let mut reminder = Instant::now() + REMINDER;
        while !readings.is_empty() && !self.stop.is_cancelled() {
            let mut reached = BTreeSet::new();
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    let record = Record::new(&message);
                    if let Some(reading) = readings.get_mut(&record.partition())
                        && record.offset() < reading.end
                    {
                        reading.memory.remember(&record);
                        if record.offset() + 1 < reading.end {
                            continue;
                        }
                    }
                    reached.insert(record.partition());
                }
                // Everything that was left may have expired meanwhile: then there is nothing to come.
                Some(Err(RdError::PartitionEOF(partition))) => {
                    if let Some(reading) = readings.get(&partition)
                        && topics.watermarks(&self.ground.output, partition, CALL)?.0 >= reading.end
                    {
                        reached.insert(partition);
                    }
                }
                Some(Err(error @ RdError::MessageConsumptionFatal(_))) => {
                    return Err(KafkaError::during("reading the output's tail")(error));
                }
                // Passing trouble of connections; librdkafka goes on by itself.
                None | Some(Err(_)) => {}
            }
            // The position counts transaction markers and aborted records, which are never handed out.
            let positions = consumer.position().map_err(KafkaError::during("asking for the position"))?;
            reached.extend(positions.elements().iter().filter_map(|element| match element.offset() {
                Offset::Offset(position) => {
                    readings.get(&element.partition()).filter(|reading| position >= reading.end)?;
                    Some(element.partition())
                }
                _ => None,
            }));
            for partition in reached {
                if let Some(reading) = readings.remove(&partition) {
                    done(Found::Memory(partition, reading.memory));
                }
            }
            if Instant::now() >= reminder && !readings.is_empty() {
                reminder = Instant::now() + REMINDER;
                tracing::warn!(
                    topic = %self.ground.output,
                    partitions = ?readings.keys().collect::<Vec<_>>(),
                    "still reading what was written last; a transaction that a dead process left open is waited for"
                );
            }
        }
        Ok(())
    }

    /// The first offset that is not older than the reach; `end` if there is none. Asked for by a client that sees open
    /// transactions too: one that has been committed may look open here for a moment longer, and its records count.
    fn offset_by_age(&self, topics: &Topics, partition: i32, end: i64) -> Result<i64, KafkaError> {
        let age = i64::try_from(self.ground.reach.age.as_millis()).unwrap_or(i64::MAX);
        let since = service::unix_millis().saturating_sub(age).max(0);
        let list = group::offsets(&self.ground.output, &[(partition, since)])?;
        let found = topics.client().offsets_for_times(list, CALL);
        let found = found.map_err(KafkaError::during("asking for the offset at a time"))?;
        let offset = found.find_partition(self.ground.output.as_str(), partition).map(|element| element.offset());
        Ok(match offset {
            Some(Offset::Offset(offset)) => offset,
            _ => end,
        })
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    offset: i64,
    /// Something before it might matter.
    starts_late: bool,
}

/// Decides where reading begins in a partition that holds `[low, end)`, when only what lies at `by_time` or behind it
/// matters and at most `offsets` are read.
fn first(low: i64, end: i64, by_time: i64, offsets: i64) -> First {
    let floor = end.saturating_sub(offsets);
    let offset = low.max(floor).max(by_time);
    // What lies before the oldest retained record is gone, and nobody knows how old it was.
    let unknown = offset == low && low > 0 && by_time <= low;
    First { offset, starts_late: floor > by_time.max(low) || unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_latest_of_what_matters_and_what_is_there() {
        let at = |offset, starts_late| First { offset, starts_late };
        assert_eq!(first(0, 0, 0, 100), at(0, false), "nothing was ever written");
        assert_eq!(first(0, 50, 0, 100), at(0, false), "everything is read");
        assert_eq!(first(0, 500, 0, 100), at(400, true), "the count binds");
        assert_eq!(first(0, 500, 450, 100), at(450, false), "the age binds");
        assert_eq!(first(0, 500, 500, 100), at(500, false), "all is too old to matter");
        assert_eq!(first(20, 50, 0, 100), at(20, true), "the retention has bitten");
        assert_eq!(first(20, 50, 30, 100), at(30, false), "but not into what matters");
    }
}
