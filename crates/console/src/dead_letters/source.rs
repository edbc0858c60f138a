//! How the screen reaches the dead-letter topic.

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

/// A future of this trait.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What happens to dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// They are replayed; those of the sink and of Platform in this way.
    Replay(SinkDeadLetters),
    /// They are discarded.
    Discard,
}

/// An operation on dead letters.
#[derive(Debug, Clone)]
pub struct Order {
    /// What happens to them.
    pub operation: Operation,
    /// The unresolved ones that it includes are meant.
    pub filter: Filter,
    /// How many.
    pub bounds: Bounds,
    /// Who does it; `None` is a dry run.
    pub resolving: Option<Resolving>,
}

/// What an operation does, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Dead letters that the plan resolves.
    pub resolves: u64,
    /// Records for the raw topic.
    pub to_raw: u64,
    /// Records for the typed topic.
    pub as_is: u64,
    /// Raw records that are mapped again.
    pub remap: u64,
    /// Dead letters that are only resolved, because another one of the same record is replayed.
    pub only_resolved: u64,
    /// Dead letters that the filter includes and that were resolved before.
    pub resolved_before: u64,
    /// Dead letters that the filter includes and that are over the limit of one operation.
    pub left: u64,
    /// Dead letters that were resolved now.
    pub done: u64,
    /// Whether it was stopped before its end.
    pub is_stopped: bool,
    /// Dead letters that cannot be replayed.
    pub refusals: Refusals,
}

/// Dead letters that cannot be replayed, by the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many there are.
    pub total: u64,
    /// The most frequent reasons.
    pub reasons: Vec<Refusal>,
}

/// A reason why dead letters cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: String,
    /// How many have it.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<Position>,
}

/// The most reasons, and the most positions for each, that are kept.
const MOST_REASONS: usize = 50;
const MOST_EXAMPLES: usize = 5;

impl Refusals {
    /// Groups dead letters by their reason.
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

    /// How many have a reason that is not among those kept.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.total - self.reasons.iter().map(|refusal| refusal.count).sum::<u64>()
    }
}

/// Why an operation ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedEarly {
    /// The reason.
    pub error: String,
    /// Dead letters that were resolved before.
    pub resolved: u64,
}

/// One dead letter with its value.
#[derive(Debug, Clone)]
pub struct Found {
    /// The record, without its resolution.
    pub shown: Shown,
    /// Its value.
    pub body: Body,
}

/// Gets how many records were read, and of how many if that is known.
pub type OnRead<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

/// Reads the dead-letter topic, and resolves dead letters.
pub trait DeadLetterSource: fmt::Debug + Send + Sync + 'static {
    /// Reads what is new; `false` if the topic does not exist.
    ///
    /// # Errors
    /// Why there is no answer.
    fn read<'a>(
        &'a self,
        unresolved: &'a Mutex<Unresolved>,
        progress: OnRead<'a>,
    ) -> Answering<'a, Result<bool, String>>;

    /// One dead letter; `None` if there is none at this position.
    ///
    /// # Errors
    /// Why there is no answer.
    fn show(&self, position: Position) -> Answering<'_, Result<Option<Found>, String>>;

    /// How a dead letter was resolved; `None` if it is not, or if that was not found in reasonable time.
    ///
    /// # Errors
    /// Why there is no answer.
    fn resolution(&self, position: Position) -> Answering<'_, Result<Option<Resolution>, String>>;

    /// Plans an operation, and carries it out if the order names who does it, as this job: it reports its progress, and
    /// ends soon after the job was stopped.
    ///
    /// # Errors
    /// Why it ended early.
    fn carry_out<'a>(&'a self, order: &'a Order, job: &'a Job) -> Answering<'a, Result<Summary, EndedEarly>>;
}

/// The dead-letter topic of a pipeline.
#[derive(Debug)]
pub struct DeadLetterTopic {
    access: Asked<Arc<PipelineAccess>>,
    tenant: TenantId,
}

impl DeadLetterTopic {
    /// The topic of this pipeline. `tenant` is the key of the organisation's own fields in an event.
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

/// Runs something that blocks.
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

/// How long the resolution of one dead letter is searched for.
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

/// Limits how fast the topic is read, and until when.
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

/// The observer of an operation's job, which remembers how many dead letters were resolved.
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
    fn reasons_are_counted_and_the_most_frequent_are_kept() {
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
