//! Restores the state of new partitions from the tails of the output topic, on a separate thread for each assignment,
//! while the other partitions continue. Results for an older assignment are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use contract::Partition;
use tokio_util::sync::CancellationToken;

use super::output_log::{BrokerLog, RestoreContext};
use super::tail::{Candidate, Found, PartitionState, Tail};
use crate::error::KafkaError;
use crate::start::FoundStart;

/// Time without progress after which restoring counts as delayed by an open transaction. The brokers respond to every
/// other request sooner, or the request fails.
const DELAYED_AFTER: Duration = Duration::from_secs(6);

/// Interval between two reports of a delay.
const REPORT: Duration = Duration::from_secs(1);

/// The next result for an assignment. The first result has the starts of all its partitions that were not revoked.
pub(super) enum Finding<M> {
    /// Starts of the partitions.
    Starts(Vec<FoundStart>),
    /// A partition whose state is restored, and the time that this took.
    Restored { partition: Partition, state: M, took: Duration },
}

struct Report<M> {
    assignment: u64,
    outcome: Result<Found<M>, KafkaError>,
}

/// The restores of one session.
pub(super) struct Restores<M> {
    context: RestoreContext,
    /// Partitions that wait for their state, with the number of their assignment and the time since which they wait.
    waiting: BTreeMap<Partition, (u64, Instant)>,
    assignments: u64,
    /// Stop tokens of the readers, by assignment; only for assignments with waiting partitions.
    readers: BTreeMap<u64, CancellationToken>,
    reports: mpsc::Sender<Report<M>>,
    received: mpsc::Receiver<Report<M>>,
    stop: CancellationToken,
    /// Set by the readers when a record arrives.
    progress: Arc<AtomicBool>,
    /// Time of the last progress, or the last time at which no partition waited.
    progress_at: Instant,
    /// Time of the next report of a delay; `None` if restoring is not delayed.
    next_report: Option<Instant>,
}

/// A change of the delay of restoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    /// Restoring has made no progress for this long.
    Lasts(Duration),
    /// The delay has ended.
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

    /// Starts to restore partitions. No input of a partition may be processed until [`Restores::finished`] returns the
    /// partition.
    pub(super) fn begin(&mut self, candidates: Vec<Candidate<M>>) {
        self.assignments += 1;
        let assignment = self.assignments;
        let now = Instant::now();
        self.progress_at = now;
        self.waiting.extend(candidates.iter().map(|candidate| (candidate.partition, (assignment, now))));
        let stop = self.stop.child_token();
        self.readers.insert(assignment, stop.clone());
        self.stop_readers();
        let (context, progress) = (self.context.clone(), Arc::clone(&self.progress));
        let reports = self.reports.clone();
        std::thread::spawn(move || {
            // The receiver no longer exists once the session is over.
            let report = |outcome| drop(reports.send(Report { assignment, outcome }));
            let lookback = context.lookback;
            let read = BrokerLog::new(context)
                .and_then(|log| Tail { log, lookback, stop, progress }.read(candidates, |found| report(Ok(found))));
            if let Err(error) = read {
                report(Err(error));
            }
        });
    }

    /// Forgets a partition that no longer waits for its state.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.waiting.remove(&partition);
        self.stop_readers();
    }

    fn is_waited_for(&self, assignment: u64) -> bool {
        self.waiting.values().any(|(waiting, _)| *waiting == assignment)
    }

    /// Stops the readers for whose results no partition waits.
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

    /// Returns a delay of restoring, at most once per [`REPORT`], and the end of a delay once.
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

    /// Partitions that wait for their state.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Partition> {
        self.waiting.keys().copied()
    }

    /// Returns the next result, if there is one.
    ///
    /// # Errors
    /// [`KafkaError`] if the brokers do not respond, if the output cannot be read, or if a person must decide about the
    /// start.
    pub(super) fn finished(&mut self) -> Result<Option<Finding<M>>, KafkaError> {
        while let Ok(report) = self.received.try_recv() {
            if !self.is_waited_for(report.assignment) {
                continue;
            }
            self.progress.store(true, Ordering::Relaxed);
            let (partition, state) = match report.outcome? {
                Found::Starts(mut starts) => {
                    // Drops partitions that were revoked in the meantime. If they were assigned again, they wait for
                    // another reader.
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

#[cfg(test)]
mod tests {
    use super::super::tail::Lookback;
    use super::*;
    use crate::connection::Connection;
    use crate::log_watch::Latest;
    use crate::record::Record;
    use crate::start::FromBeginning;

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
            from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
            replaced: Latest::new(),
            pending: Duration::ZERO,
        })
    }

    #[test]
    fn a_restore_is_reported_as_delayed_only_without_progress() {
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
}
