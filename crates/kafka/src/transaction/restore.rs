//! Restores a partition's state from the tail of the output topic after an assignment. It reads the newest records of
//! the partition with the same number on a thread of its own, while the other partitions continue.
//!
//! The order of the steps makes the result complete. First comes the group's committed offset, from a client that waits
//! for pending transactions; that can take as long as another member's transaction may stay open. Then come the end of
//! the output and the offset to start at, including open transactions. Then a read-committed reader reads up to that
//! end. All output for an input offset before the committed one is before that end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as RdError;
use tokio_util::sync::CancellationToken;

use crate::client::{Isolation, PlainConsumer, frugal_observer, outsider};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::log_watch::Latest;
use crate::partition_list;
use crate::record::Record;
use crate::start::{FoundStart, StartRule, starts};
use crate::topic::Topics;
use crate::watermarks::Watermarks;

/// How long the brokers may take to respond.
const CALL: Duration = Duration::from_secs(10);

/// Restoring that makes no progress for this long waits for an open transaction. Everything else that it asks the
/// brokers for is answered sooner, or fails.
const DELAYED_AFTER: Duration = Duration::from_secs(6);

/// How often a delay is reported.
const REPORT: Duration = Duration::from_secs(1);

/// The state that is restored from one partition's earlier output.
pub trait PartitionState: Send + 'static {
    /// There is older output that is not read. Called at most once, before the first record.
    fn starts_late(&mut self);
    /// Adds the next record, in the order of the partition.
    fn restore(&mut self, record: &Record<'_>);
}

/// How far back to read.
#[derive(Debug, Clone, Copy)]
pub struct Lookback {
    /// Maximum number of offsets.
    pub offsets: i64,
    /// Maximum age if no input waits to be read: older output does not matter to any input that is still to come.
    pub age: Duration,
}

/// A partition whose state is to be restored.
pub(super) struct Candidate<M> {
    pub(super) partition: Partition,
    pub(super) state: M,
}

/// The next result for an assignment. The starts of all its partitions come first, except those that were revoked.
pub(super) enum Finding<M> {
    /// Where the partitions are read from.
    Starts(Vec<FoundStart>),
    /// A partition whose state is restored, and how long that took.
    Restored { partition: Partition, state: M, took: Duration },
}

struct Report<M> {
    assignment: u64,
    outcome: Result<Found<M>, KafkaError>,
}

/// A result of the reading thread.
enum Found<M> {
    Starts(Vec<FoundStart>),
    State(Partition, M),
}

/// The data that all restores of a session share.
#[derive(Clone)]
pub(super) struct RestoreContext {
    pub(super) connection: Connection,
    pub(super) group: String,
    pub(super) input: TopicName,
    pub(super) output: TopicName,
    pub(super) lookback: Lookback,
    pub(super) from_beginning: bool,
    /// Partitions whose log was found to be replaced.
    pub(super) replaced: Latest,
    /// How long the brokers may take to end the transaction of a member that died.
    pub(super) pending: Duration,
}

/// The restores of one session.
pub(super) struct Restores<M> {
    context: RestoreContext,
    /// The partitions that wait, with the number of their assignment: results for an older assignment are ignored.
    waiting: BTreeMap<Partition, (u64, Instant)>,
    assignments: u64,
    /// Stops the reader of an assignment; only for assignments with waiting partitions.
    readers: BTreeMap<u64, CancellationToken>,
    reports: mpsc::Sender<Report<M>>,
    received: mpsc::Receiver<Report<M>>,
    stop: CancellationToken,
    /// Set by the readers with each record.
    progress: Arc<AtomicBool>,
    /// When restoring last made progress, or nothing waited.
    progress_at: Instant,
    /// When a delay is reported next; `None` if there is none.
    next_report: Option<Instant>,
}

/// What restoring does, as far as its delay is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    /// It makes no progress.
    Lasts(Duration),
    /// It was delayed and is not any more.
    Ended,
}

impl<M: PartitionState> Restores<M> {
    pub(super) fn new(context: RestoreContext) -> Self {
        let (reports, received) = mpsc::channel();
        Self {
            progress: Arc::default(),
            progress_at: Instant::now(),
            next_report: None,
            context,
            waiting: BTreeMap::new(),
            assignments: 0,
            readers: BTreeMap::new(),
            reports,
            received,
            stop: CancellationToken::new(),
        }
    }

    /// Starts to read. No input of a partition may be processed until [`Restores::finished`] returns it.
    pub(super) fn begin(&mut self, candidates: Vec<Candidate<M>>) {
        self.assignments += 1;
        let assignment = self.assignments;
        let now = Instant::now();
        self.progress_at = now;
        self.waiting.extend(candidates.iter().map(|candidate| (candidate.partition, (assignment, now))));
        let stop = self.stop.child_token();
        self.readers.insert(assignment, stop.clone());
        self.stop_readers();
        let tail = Tail { context: self.context.clone(), stop, progress: Arc::clone(&self.progress) };
        let reports = self.reports.clone();
        std::thread::spawn(move || {
            // The receiver is gone once the session is over.
            let report = |outcome| drop(reports.send(Report { assignment, outcome }));
            if let Err(error) = tail.read(candidates, |found| report(Ok(found))) {
                report(Err(error));
            }
        });
    }

    /// The partition was revoked before its state was restored.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.waiting.remove(&partition);
        self.stop_readers();
    }

    fn is_waited_for(&self, assignment: u64) -> bool {
        self.waiting.values().any(|(waiting, _)| *waiting == assignment)
    }

    /// Stops the readers whose results no partition waits for any more.
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

    /// Returns whether restoring is delayed, at most once a [`REPORT`], and the end of a delay once.
    pub(super) fn delay(&mut self, now: Instant) -> Option<Delay> {
        if self.waiting.is_empty() || self.progress.swap(false, Ordering::Relaxed) {
            self.progress_at = now;
        }
        let lasts = now.saturating_duration_since(self.progress_at);
        if lasts < DELAYED_AFTER {
            return self.next_report.take().map(|_| Delay::Ended);
        }
        if self.next_report.is_some_and(|next| now < next) {
            return None;
        }
        self.next_report = Some(now + REPORT);
        Some(Delay::Lasts(lasts))
    }

    /// The partitions that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Partition> {
        self.waiting.keys().copied()
    }

    /// Returns the next result, if there is one.
    ///
    /// # Errors
    /// Returns a [`KafkaError`] if the brokers do not respond, if the output cannot be read, or if a person must decide
    /// where to start.
    pub(super) fn finished(&mut self) -> Result<Option<Finding<M>>, KafkaError> {
        while let Ok(report) = self.received.try_recv() {
            if !self.is_waited_for(report.assignment) {
                continue;
            }
            self.progress.store(true, Ordering::Relaxed);
            let (partition, state) = match report.outcome? {
                Found::Starts(mut starts) => {
                    // Partitions that were revoked meanwhile, and perhaps assigned again, wait for another reader.
                    let waiting = &self.waiting;
                    starts.retain(|start| {
                        let assignment = waiting.get(&start.position.partition).map(|(assignment, _)| *assignment);
                        assignment == Some(report.assignment)
                    });
                    return Ok(Some(Finding::Starts(starts)));
                }
                Found::State(partition, state) => (partition, state),
            };
            if let Some(&(assignment, since)) = self.waiting.get(&partition)
                && assignment == report.assignment
            {
                self.forget(partition);
                return Ok(Some(Finding::Restored { partition, state, took: since.elapsed() }));
            }
        }
        Ok(None)
    }
}

impl<M> Drop for Restores<M> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A partition that is being read.
struct Reading<M> {
    state: M,
    end: Offset,
}

/// Reads the tails of the output; blocks.
struct Tail {
    context: RestoreContext,
    stop: CancellationToken,
    progress: Arc<AtomicBool>,
}

impl Tail {
    fn read<M: PartitionState>(
        &self,
        candidates: Vec<Candidate<M>>,
        mut done: impl FnMut(Found<M>),
    ) -> Result<(), KafkaError> {
        let RestoreContext { connection, input, output, lookback, .. } = &self.context;
        let partitions: Vec<Partition> = candidates.iter().map(|candidate| candidate.partition).collect();
        let topics = Topics::new(connection)?;
        let starts = self.starts(&topics, &partitions)?;
        let start_of = |partition| starts.iter().map(|start| start.position).find(|start| start.partition == partition);
        done(Found::Starts(starts.clone()));
        let consumer = frugal_observer(connection, Isolation::ReadCommitted)?;
        let mut firsts = Vec::with_capacity(candidates.len());
        let mut readings = BTreeMap::new();
        for mut candidate in candidates {
            let partition = candidate.partition;
            let Some(start) = start_of(partition) else { continue };
            let Watermarks { low, high: end } = topics.watermarks(output, partition, CALL)?;
            // If no input waits, all future input is newer than now. (A replay may bring an older record, which then
            // becomes a second typed record if its event was typed from another one.)
            let caught_up = start.offset >= topics.watermarks(input, partition, CALL)?.high;
            let by_time = if caught_up { self.offset_by_age(&topics, partition, end)? } else { low };
            let first = first(low, end, by_time, lookback.offsets);
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
        consumer
            .assign(&partition_list::positions(output, &firsts)?)
            .map_err(KafkaError::during("assigning a reader"))?;
        self.follow(&topics, &consumer, readings, done)
    }

    /// Returns where the input is read from: the group's committed offsets, once no open transaction holds them back.
    fn starts(&self, topics: &Topics, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        let RestoreContext { connection, group, input, output, from_beginning, replaced, pending, .. } = &self.context;
        let has_output = |partition| {
            let Watermarks { high, .. } = topics.watermarks(output, partition, CALL)?;
            Ok((high > Offset(0)).then(|| format!("{output}[{partition}]")))
        };
        let rule = StartRule {
            group,
            topic: input,
            connection,
            from_beginning: *from_beginning,
            replaced,
            output: &has_output,
        };
        let client = outsider(connection, group)?;
        starts(&client, &rule, partitions, CALL, *pending)
    }

    /// Reads until every partition's reader is at its end.
    fn follow<M: PartitionState>(
        &self,
        topics: &Topics,
        consumer: &PlainConsumer,
        mut readings: BTreeMap<Partition, Reading<M>>,
        mut done: impl FnMut(Found<M>),
    ) -> Result<(), KafkaError> {
        while !readings.is_empty() && !self.stop.is_cancelled() {
            let mut reached = BTreeSet::new();
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    self.progress.store(true, Ordering::Relaxed);
                    let record = Record::new(&message);
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
                // All remaining records may have expired meanwhile; then no more will come.
                Some(Err(RdError::PartitionEOF(partition))) => {
                    let partition = Partition(partition);
                    if let Some(reading) = readings.get(&partition)
                        && topics.watermarks(&self.context.output, partition, CALL)?.low >= reading.end
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
            let positions = consumer.position().map_err(KafkaError::during("asking for the position"))?;
            reached.extend(partition_list::positions_of(&positions).into_iter().filter_map(|position| {
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

    /// Returns the first offset that is not older than the lookback; `end` if there is none. A client that also sees
    /// open transactions is asked, because a committed transaction may still look open here for a moment, and its
    /// records count.
    fn offset_by_age(&self, topics: &Topics, partition: Partition, end: Offset) -> Result<Offset, KafkaError> {
        let age = i64::try_from(self.context.lookback.age.as_millis()).unwrap_or(i64::MAX);
        let since = service::unix_millis().saturating_sub(age).max(0);
        let list = partition_list::times(&self.context.output, &[partition], since)?;
        let found = topics.client().offsets_for_times(list, CALL);
        let found = found.map_err(KafkaError::during("asking for the offset at a time"))?;
        let element = partition_list::find(&found, &self.context.output, partition);
        Ok(element.and_then(|element| partition_list::offset(&element)).unwrap_or(end))
    }
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    offset: Offset,
    /// Something before this offset might matter.
    starts_late: bool,
}

/// Decides where reading starts in a partition that holds `[low, end)`, if only records at or after `by_time` matter
/// and at most `offsets` of them are read.
fn first(low: Offset, end: Offset, by_time: Offset, offsets: i64) -> First {
    let floor = Offset(end.0.saturating_sub(offsets));
    let offset = low.max(floor).max(by_time);
    // The records before the oldest retained one are gone, and their age is unknown.
    let unknown = offset == low && low > Offset(0) && by_time <= low;
    First { offset, starts_late: floor > by_time.max(low) || unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl PartitionState for () {
        fn starts_late(&mut self) {}
        fn restore(&mut self, _: &Record<'_>) {}
    }

    fn restores() -> Restores<()> {
        Restores::new(RestoreContext {
            connection: Connection::plaintext("localhost:9092", "test"),
            group: "group".to_owned(),
            input: "raw".parse().expect("a topic name"),
            output: "typed".parse().expect("a topic name"),
            lookback: Lookback { offsets: 1, age: Duration::ZERO },
            from_beginning: false,
            replaced: Latest::new(),
            pending: Duration::ZERO,
        })
    }

    #[test]
    fn only_a_restore_without_progress_is_delayed() {
        let mut restores = restores();
        let start = restores.progress_at;
        let at = |restores: &mut Restores<()>, seconds| restores.delay(start + Duration::from_secs(seconds));
        assert_eq!(at(&mut restores, 100), None, "nothing waits");
        restores.waiting.insert(Partition(0), (1, start));
        assert_eq!(at(&mut restores, 105), None);
        restores.progress.store(true, Ordering::Relaxed);
        assert_eq!(at(&mut restores, 106), None, "a record arrived");
        assert_eq!(at(&mut restores, 111), None);
        assert_eq!(at(&mut restores, 112), Some(Delay::Lasts(Duration::from_secs(6))));
        assert_eq!(at(&mut restores, 112), None, "reported once a second");
        assert_eq!(at(&mut restores, 113), Some(Delay::Lasts(Duration::from_secs(7))));
        restores.forget(Partition(0));
        assert_eq!(at(&mut restores, 114), Some(Delay::Ended));
        assert_eq!(at(&mut restores, 115), None, "the end is reported once");
    }

    #[test]
    fn starts_at_the_later_of_needed_and_retained_offset() {
        let at = |offset, starts_late| First { offset: Offset(offset), starts_late };
        let first = |low, end, by_time, offsets| first(Offset(low), Offset(end), Offset(by_time), offsets);
        assert_eq!(first(0, 0, 0, 100), at(0, false), "nothing was ever written");
        assert_eq!(first(0, 50, 0, 100), at(0, false), "everything is read");
        assert_eq!(first(0, 500, 0, 100), at(400, true), "the count binds");
        assert_eq!(first(0, 500, 450, 100), at(450, false), "the age binds");
        assert_eq!(first(0, 500, 500, 100), at(500, false), "all is too old to matter");
        assert_eq!(first(20, 50, 0, 100), at(20, true), "the retention has bitten");
        assert_eq!(first(20, 50, 30, 100), at(30, false), "but not into what matters");
    }
}
