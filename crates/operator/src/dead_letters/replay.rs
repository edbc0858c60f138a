//! Replays dead letters: one transaction writes the record to its original topic again and resolves its dead letters.

use contract::Position;
use contract::dead_letter::ResolutionKind;
use kafka::KafkaError;
use kafka::offsets::Offsets;

use super::filter::Filter;
use super::index;
use super::plan::{ReplayContext, ReplayPlan, SinkDeadLetters, Target, Unspecified};
use super::resolver::{Pace, Resolver, Resolving};
use super::selection::{Bounds, select};
use super::writing::{Writing, Written};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;

/// Selection of dead letters to replay, and the way to replay them.
#[derive(Debug, Clone, Default)]
pub struct ReplayRequest {
    /// Filter for the dead letters; only the unresolved ones are replayed.
    pub filter: Filter,
    /// What the replay does with dead letters of the sink and of Platform.
    pub sink_dead_letters: SinkDeadLetters,
    /// Limits for the number of dead letters that are replayed.
    pub bounds: Bounds,
    /// The person who replays the dead letters; `None` for a dry run.
    pub resolving: Option<Resolving>,
}

/// Plan of a replay, and its result if it was executed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Number of records to write to the raw topic.
    pub to_raw: usize,
    /// Number of records to write to the typed topic.
    pub as_is: usize,
    /// Number of raw records to map again.
    pub remap: usize,
    /// Number of dead letters that are only resolved, because another dead letter of the same record is or was
    /// replayed.
    pub only_resolved: usize,
    /// Number of chosen dead letters that were already resolved.
    pub resolved_before: u64,
    /// Number of unresolved dead letters that the filter includes and that are over the limit.
    pub left: u64,
    /// Number of dead letters that this call resolved.
    pub replayed: u64,
    /// Whether the observer stopped the operation. The remaining dead letters stay unresolved.
    pub is_stopped: bool,
    /// Dead letters that cannot be replayed, with the reason.
    pub refused: Vec<(Position, String)>,
}

impl Replay {
    fn of(plan: &ReplayPlan) -> Self {
        Self {
            to_raw: plan.count(|target| matches!(target, Target::ToRaw { .. })),
            as_is: plan.count(|target| matches!(target, Target::ToTyped { .. })),
            remap: plan.count(|target| matches!(target, Target::Remap { .. })),
            only_resolved: plan.resolves() - plan.writes.len(),
            resolved_before: plan.resolved_before,
            left: plan.left,
            replayed: 0,
            is_stopped: false,
            refused: plan.refused.clone(),
        }
    }

    /// Returns the number of dead letters that the plan resolves.
    #[must_use]
    pub fn resolves(&self) -> usize {
        self.to_raw + self.as_is + self.remap + self.only_resolved
    }
}

/// Plans a replay, and executes it if [`ReplayRequest::resolving`] is set. The call blocks.
///
/// # Errors
/// [`OperatorError::NoDeadLetter`], [`OperatorError::HowToReplay`], [`OperatorError::MoreThanConfirmed`],
/// [`OperatorError::Kafka`].
pub fn replay(pipeline: Pipeline<'_>, request: &ReplayRequest) -> Result<Replay, OperatorError> {
    let before = plan(pipeline, request)?;
    let Some(resolving) = request.resolving.as_ref().filter(|_| before.resolves() > 0) else {
        return Ok(Replay::of(&before));
    };
    let take = || Ok(Resolver::open(pipeline, ResolutionKind::Replayed, resolving)?);
    let (resolver, plan) = ReplayPlan::with_right(take, || plan(pipeline, request))?;
    request.bounds.check(plan.resolves())?;
    let writing = Writing::new(pipeline, &resolver, &plan, Pace::new(resolving.rate));
    let Written { resolved, refused, is_stopped } = writing.run()?;
    let mut replay = Replay { replayed: resolved, is_stopped, ..Replay::of(&plan) };
    replay.refused.extend(refused);
    Ok(replay)
}

/// Plans the replay from the current dead letters.
fn plan(pipeline: Pipeline<'_>, request: &ReplayRequest) -> Result<ReplayPlan, OperatorError> {
    let (context, how) = (context(pipeline)?, request.sink_dead_letters);
    let unspecified = |Unspecified(count)| OperatorError::HowToReplay(count);
    if let Some(limit) = request.bounds.limit {
        let selected = select(pipeline, &request.filter, limit)?;
        let chosen = selected.chosen();
        let plan = ReplayPlan::new(&selected.index, (&chosen, selected.resolved_before), how, &context)
            .map_err(unspecified)?;
        return Ok(ReplayPlan { left: selected.left, ..plan });
    }
    let index = index::read(pipeline)?;
    let (chosen, resolved) = request.filter.choose(&index)?;
    ReplayPlan::new(&index, (&chosen, resolved), how, &context).map_err(unspecified)
}

fn context(pipeline: Pipeline<'_>) -> Result<ReplayContext<'_>, KafkaError> {
    let topics = pipeline.topics;
    let offsets = Offsets::new(pipeline.connection)?;
    let raw = offsets.watermarks(&topics.raw)?;
    Ok(ReplayContext {
        raw: &topics.raw,
        typed: &topics.typed,
        dead_letters: &topics.dead_letters,
        raw_starts: raw.into_iter().map(|(partition, watermarks)| (partition, watermarks.low)).collect(),
        typed_partitions: offsets.watermarks(&topics.typed)?.len(),
    })
}
