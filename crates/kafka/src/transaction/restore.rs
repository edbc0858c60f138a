//! Restores the state of new partitions from the tails of the output topic, on a separate thread for each assignment,
//! while the other partitions continue. Results for an older assignment are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use contract::Partition;
use tokio_util::sync::CancellationToken;

use super::tail::{Candidate, Found, Lookback, OutputLog, PartitionState, Tail};
use crate::error::KafkaError;
use crate::start::FoundStart;

/// Time without progress after which restoring counts as delayed by an open transaction. Only an open transaction or an
/// outage delays a response for this long, and the health check reports an outage by itself.
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
    lookback: Lookback,
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

/// A report about a delay of restoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delay {
    /// Restoring has made no progress for this long.
    Lasts(Duration),
    /// The delay has ended.
    Ended,
}

impl<M: PartitionState> Restores<M> {
    pub(super) fn new(lookback: Lookback) -> Self {
        let (reports, received) = mpsc::channel();
        Self {
            progress: Arc::default(),
            progress_at: Instant::now(),
            next_report: None,
            lookback,
            waiting: BTreeMap::new(),
            assignments: 0,
            readers: BTreeMap::new(),
            reports,
            received,
            stop: CancellationToken::new(),
        }
    }

    /// Starts to restore partitions from the log that `open` returns; the thread that reads calls `open`. No input of a
    /// partition may be processed until [`Restores::finished`] returns the partition.
    pub(super) fn begin<L: OutputLog>(
        &mut self,
        open: impl FnOnce() -> Result<L, KafkaError> + Send + 'static,
        candidates: Vec<Candidate<M>>,
    ) {
        self.assignments += 1;
        let assignment = self.assignments;
        let now = Instant::now();
        self.progress_at = now;
        self.waiting.extend(candidates.iter().map(|candidate| (candidate.partition, (assignment, now))));
        let stop = self.stop.child_token();
        self.readers.insert(assignment, stop.clone());
        self.stop_readers();
        let (lookback, progress) = (self.lookback, Arc::clone(&self.progress));
        let reports = self.reports.clone();
        std::thread::spawn(move || {
            // The receiver no longer exists once the session is over.
            let report = |outcome| drop(reports.send(Report { assignment, outcome }));
            let read = open()
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

    /// Returns the report that is due now: a delay at most once per [`REPORT`], and the end of a delay once.
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
mod tests;
