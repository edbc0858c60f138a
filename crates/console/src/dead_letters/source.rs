//! Access of the screen to the dead-letter topic.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Position;
use contract::dead_letter::Resolution;
use operator::dead_letters::{
    Body, Bounds, DiscardRequest, DiscardSummary, Filter, Replay, ReplayRequest, Resolving, Shown, SinkDeadLetters,
    Unresolved, discard_within, read_unresolved, replay, resolution_of, show_unresolved,
};
use operator::status::Asked;
use operator::{Observer, OperatorError, Progress, TenantId};

use crate::jobs::Job;
use crate::pipeline::{JobObserver, Pace, PipelineAccess};

/// Boxed future of the methods of [`DeadLetterSource`].
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Kind of an operation on dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Replays the dead letters. The value says what to do with those of the sink and of Platform.
    Replay(SinkDeadLetters),
    /// Marks the dead letters as discarded.
    Discard,
}

/// An operation with the dead letters to resolve.
#[derive(Debug, Clone)]
pub struct Order {
    /// Kind of the operation.
    pub operation: Operation,
    /// Filter for the unresolved dead letters to resolve.
    pub filter: Filter,
    /// Limits on the number of dead letters.
    pub bounds: Bounds,
    /// User, note and rate of the operation; `None` for a dry run.
    pub resolving: Option<Resolving>,
}

/// Numbers of dead letters that an operation resolves or, in a dry run, would resolve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of dead letters that the plan resolves.
    pub resolves: u64,
    /// Number of records to write to the raw topic.
    pub to_raw: u64,
    /// Number of events to send to Platform again as they are.
    pub as_is: u64,
    /// Number of raw records to map again.
    pub remap: u64,
    /// Number of dead letters that are only resolved, because another dead letter of the same record is replayed.
    pub only_resolved: u64,
    /// Number of matching dead letters that were already resolved.
    pub resolved_before: u64,
    /// Number of matching dead letters beyond the limit of one operation.
    pub left: u64,
    /// Number of dead letters that this operation resolved.
    pub done: u64,
    /// Whether the operation was stopped before its end.
    pub is_stopped: bool,
    /// Matching dead letters that cannot be replayed.
    pub refusals: Refusals,
}

/// Dead letters that cannot be replayed, grouped by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Number of all dead letters that cannot be replayed.
    pub total: u64,
    /// The most frequent reasons, the most frequent first.
    pub reasons: Vec<Refusal>,
}

/// A reason for which dead letters cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Text of the reason, for pages.
    pub reason: String,
    /// Number of dead letters with this reason.
    pub count: u64,
    /// Positions of some dead letters with this reason.
    pub examples: Vec<Position>,
}

/// Maximum number of reasons that are kept.
const MOST_REASONS: usize = 50;
/// Maximum number of examples that are kept for each reason.
const MOST_EXAMPLES: usize = 5;

impl Refusals {
    /// Groups dead letters by reason.
    #[must_use]
    pub fn of(refused: &[(Position, String)]) -> Self {
        let mut by_reason: BTreeMap<&str, Refusal> = BTreeMap::new();
        for (position, reason) in refused {
            let refusal = by_reason.entry(reason).or_insert_with(|| Refusal {
                reason: reason.clone(),
                count: 0,
                examples: Vec::new(),
            });
            refusal.count += 1;
            if refusal.examples.len() < MOST_EXAMPLES {
                refusal.examples.push(*position);
            }
        }
        let mut reasons: Vec<Refusal> = by_reason.into_values().collect();
        reasons.sort_by_key(|refusal| std::cmp::Reverse(refusal.count));
        reasons.truncate(MOST_REASONS);
        Self { total: refused.len() as u64, reasons }
    }

    /// Returns the number of dead letters whose reason is not in `reasons`.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.total - self.reasons.iter().map(|refusal| refusal.count).sum::<u64>()
    }
}

/// Error that ended an operation early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedEarly {
    /// Error message for the page.
    pub error: String,
    /// Number of dead letters that the operation had resolved before the error.
    pub resolved: u64,
}

/// A dead letter with its decoded value.
#[derive(Debug, Clone)]
pub struct Found {
    /// The record of the dead letter, without its resolution.
    pub shown: Shown,
    /// Decoded value of the record.
    pub body: Body,
}

/// Callback for the progress: the number of records read, and the total number if it is known.
pub type OnRead<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Reads the dead-letter topic and resolves dead letters.
pub trait DeadLetterSource: fmt::Debug + Send + Sync + 'static {
    /// Reads the records that are new since the last call. Returns `false` if the topic does not exist.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn read<'a>(
        &'a self,
        unresolved: &'a Mutex<Unresolved>,
        progress: OnRead<'a>,
    ) -> Answering<'a, Result<bool, String>>;

    /// Reads one dead letter; `None` if there is none at this position.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn show(&self, position: Position) -> Answering<'_, Result<Option<Found>, String>>;

    /// Reads the resolution of a dead letter; `None` if it is unresolved, or if the resolution was not found within the
    /// time limit.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn resolution(&self, position: Position) -> Answering<'_, Result<Option<Resolution>, String>>;

    /// Plans an operation, and executes it if the order has `resolving`. The method reports the progress to the job,
    /// and ends early if the job is stopped.
    ///
    /// # Errors
    /// [`EndedEarly`] with the error and the number of dead letters resolved so far.
    fn carry_out<'a>(&'a self, order: &'a Order, job: &'a Job) -> Answering<'a, Result<Summary, EndedEarly>>;
}

/// The dead-letter topic of a pipeline.
#[derive(Debug)]
pub struct DeadLetterTopic {
    access: Asked<Arc<PipelineAccess>>,
    tenant: TenantId,
}

impl DeadLetterTopic {
    /// Creates the access to the topic of this pipeline. `tenant` is the tenant id: the key of the organisation's own
    /// fields in an event.
    #[must_use]
    pub fn new(access: Asked<Arc<PipelineAccess>>, tenant: TenantId) -> Self {
        Self { access, tenant }
    }

    fn access(&self) -> Result<Arc<PipelineAccess>, String> {
        match &self.access {
            Asked::Answer(access) => Ok(Arc::clone(access)),
            Asked::NotConfigured(what) | Asked::Failed(what) => Err(what.clone()),
        }
    }
}

/// Runs blocking work without blocking other tasks.
async fn blocking<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    tokio::task::block_in_place(work)
}

impl DeadLetterSource for DeadLetterTopic {
    fn read<'a>(
        &'a self,
        unresolved: &'a Mutex<Unresolved>,
        progress: OnRead<'a>,
    ) -> Answering<'a, Result<bool, String>> {
        Box::pin(blocking(move || {
            let access = self.access()?;
            let observer = ReadingObserver::new(progress, None);
            read_unresolved(access.pipeline(&observer), unresolved).map_err(|error| error.to_string())
        }))
    }

    fn show(&self, position: Position) -> Answering<'_, Result<Option<Found>, String>> {
        Box::pin(blocking(move || {
            let access = self.access()?;
            match show_unresolved(access.pipeline(&|_| {}), position) {
                Ok(shown) => {
                    let body = shown.body(&self.tenant, access.max_body);
                    Ok(Some(Found { shown, body }))
                }
                Err(OperatorError::NoDeadLetter(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        }))
    }

    fn resolution(&self, position: Position) -> Answering<'_, Result<Option<Resolution>, String>> {
        Box::pin(blocking(move || {
            let access = self.access()?;
            let ignore = |_: u64, _: Option<u64>| {};
            let observer = ReadingObserver::new(&ignore, Some(Instant::now() + SEARCH));
            match resolution_of(access.pipeline(&observer), position) {
                Err(_) if observer.is_over() => Ok(None),
                result => result.map_err(|error| error.to_string()),
            }
        }))
    }

    fn carry_out<'a>(&'a self, order: &'a Order, job: &'a Job) -> Answering<'a, Result<Summary, EndedEarly>> {
        Box::pin(blocking(move || {
            let access = self.access().map_err(|error| EndedEarly { error, resolved: 0 })?;
            let observer = OrderObserver { job: JobObserver::new(job), resolved: Mutex::new(0) };
            let pipeline = access.pipeline(&observer);
            let (filter, bounds, resolving) = (order.filter.clone(), order.bounds, order.resolving.clone());
            let summary = match order.operation {
                Operation::Replay(sink_dead_letters) => {
                    let request = ReplayRequest { filter, sink_dead_letters, bounds, resolving };
                    replay(pipeline, &request).map(|replay| of_replay(&replay))
                }
                Operation::Discard => {
                    let request = DiscardRequest { filter, bounds, resolving };
                    discard_within(pipeline, &request).map(|summary| of_discard(&summary))
                }
            };
            summary.map_err(|error| EndedEarly { error: error.to_string(), resolved: observer.resolved() })
        }))
    }
}

/// Maximum time to search for the resolution of one dead letter.
const SEARCH: Duration = Duration::from_secs(10);

fn of_replay(replay: &Replay) -> Summary {
    let number = |number: usize| number as u64;
    Summary {
        resolves: number(replay.resolves()),
        to_raw: number(replay.to_raw),
        as_is: number(replay.as_is),
        remap: number(replay.remap),
        only_resolved: number(replay.only_resolved),
        resolved_before: replay.resolved_before,
        left: replay.left,
        done: replay.replayed,
        is_stopped: replay.is_stopped,
        refusals: Refusals::of(&replay.refused),
    }
}

fn of_discard(summary: &DiscardSummary) -> Summary {
    Summary {
        resolves: summary.chosen as u64,
        resolved_before: summary.resolved_before,
        left: summary.left,
        done: summary.discarded,
        is_stopped: summary.is_stopped,
        ..Summary::default()
    }
}

/// Observer that limits the rate and optionally the duration of a read of the topic.
struct ReadingObserver<'a> {
    progress: OnRead<'a>,
    pace: Pace,
    until: Option<Instant>,
}

impl<'a> ReadingObserver<'a> {
    fn new(progress: OnRead<'a>, until: Option<Instant>) -> Self {
        Self { progress, pace: Pace::default(), until }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

impl Observer for ReadingObserver<'_> {
    fn report(&self, progress: Progress) {
        if let Progress::ReadTopic { records, of, .. } = progress {
            (self.progress)(records, of);
        }
    }

    fn has_read(&self, records: u64) -> bool {
        self.pace.has_read(records, || !self.is_over())
    }
}

/// Observer of an operation's job that also keeps the number of resolved dead letters.
struct OrderObserver<'j> {
    job: JobObserver<'j>,
    resolved: Mutex<u64>,
}

impl OrderObserver<'_> {
    fn resolved(&self) -> u64 {
        *self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for OrderObserver<'_> {
    fn report(&self, progress: Progress) {
        if let Progress::Resolved { dead_letters, .. } = progress {
            *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) = dead_letters;
        }
        self.job.report(progress);
    }

    fn has_read(&self, records: u64) -> bool {
        self.job.has_read(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_grouped_by_reason_and_only_the_most_frequent_are_kept() {
        let refused: Vec<(Position, String)> = (0..200)
            .map(|offset| {
                let reason = if offset < 90 { "expired".to_owned() } else { format!("cut {offset}") };
                (Position::new(0, offset), reason)
            })
            .collect();
        let refusals = Refusals::of(&refused);
        assert_eq!((refusals.total, refusals.reasons.len(), refusals.others()), (200, MOST_REASONS, 61));
        let first = &refusals.reasons[0];
        assert_eq!((first.reason.as_str(), first.count, first.examples.len()), ("expired", 90, MOST_EXAMPLES));
    }
}
