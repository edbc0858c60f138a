//! Keeps the running and the last dry runs, replays and discards, until the console restarts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::selection::Selection;
use super::source::{EndedEarly, Operation, Summary};

/// Maximum number of dry runs, replays and discards that are kept.
const KEPT: usize = 20;

/// Returns the path of the page of a dry run, a replay or a discard.
pub(super) fn address(id: u64) -> String {
    format!("/dead-letters/work/{id}")
}

/// Outcome of a dry run, a replay or a discard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Plan of a dry run.
    Planned(Summary),
    /// The operation was executed completely, or was stopped after it had started to write.
    Done(Summary),
    /// The operation was stopped before it changed anything.
    Stopped,
    Failed(EndedEarly),
}

/// The plan of a dry run that a user confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// Id of the dry run's job.
    pub(super) plan: u64,
    /// Number of dead letters that the plan resolves.
    pub(super) resolves: u64,
    /// Number of matching dead letters that were already resolved at the dry run.
    pub(super) resolved_before: u64,
    pub(super) note: Option<String>,
}

/// A dry run, a replay or a discard.
#[derive(Debug)]
pub(super) struct Work {
    /// Id of the job.
    pub(super) id: u64,
    pub(super) by: String,
    /// Start time: milliseconds since 1970.
    pub(super) begun: i64,
    pub(super) selection: Selection,
    pub(super) operation: Operation,
    /// The confirmed plan; `None` for a dry run.
    pub(super) confirmed: Option<Confirmed>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    /// End time: milliseconds since 1970.
    ended: Option<i64>,
    /// Id of the job that executes this plan.
    carried_out_by: Option<u64>,
}

impl Work {
    pub(super) fn new(
        id: u64,
        (by, begun): (&str, i64),
        selection: Selection,
        operation: Operation,
        confirmed: Option<Confirmed>,
    ) -> Self {
        let (by, state) = (by.to_owned(), Mutex::default());
        Self { id, by, begun, selection, operation, confirmed, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, outcome: Outcome, at: i64) {
        let mut state = self.state();
        (state.outcome, state.ended) = (Some(outcome), Some(at));
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.state().outcome.clone()
    }

    pub(super) fn ended(&self) -> Option<i64> {
        self.state().ended
    }

    /// Returns the plan of a dry run; `None` before the dry run has a plan, and for a replay or a discard.
    pub(super) fn plan(&self) -> Option<Summary> {
        match &self.state().outcome {
            Some(Outcome::Planned(summary)) => Some(summary.clone()),
            _ => None,
        }
    }

    pub(super) fn carried_out_by(&self) -> Option<u64> {
        self.state().carried_out_by
    }

    /// Starts the job that executes this plan. If an earlier call has already started one, returns `Ok(Err(id))` with
    /// the id of that job.
    ///
    /// # Errors
    /// Error of `begin`, for example because another job is running.
    pub(super) fn carry_out<J, E>(
        &self,
        begin: impl FnOnce() -> Result<J, E>,
        id: impl FnOnce(&J) -> u64,
    ) -> Result<Result<J, u64>, E> {
        let mut state = self.state();
        if let Some(before) = state.carried_out_by {
            return Ok(Err(before));
        }
        let job = begin()?;
        state.carried_out_by = Some(id(&job));
        Ok(Ok(job))
    }
}

/// The newest dry runs, replays and discards.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Arc<Work>>>);

impl History {
    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<Work>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, work: Work) -> Arc<Work> {
        let work = Arc::new(work);
        let mut list = self.list();
        list.push_front(Arc::clone(&work));
        list.truncate(KEPT);
        work
    }

    /// Returns the dry runs, replays and discards that are kept, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<Work>> {
        self.list().iter().cloned().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Work>> {
        self.list().iter().find(|work| work.id == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(id: u64) -> Work {
        Work::new(id, ("jo", 0), Selection::default(), Operation::Discard, None)
    }

    #[test]
    fn only_the_20_newest_dry_runs_replays_and_discards_are_kept() {
        let history = History::default();
        for id in 0..100 {
            history.add(work(id));
        }
        assert_eq!((history.all().len(), history.all()[0].id), (KEPT, 99));
        assert!(history.find(99).is_some() && history.find(0).is_none());
    }

    #[test]
    fn a_plan_starts_at_most_one_job() {
        let plan = work(1);
        assert_eq!(plan.carry_out(|| Err("another job runs"), |id: &u64| *id), Err("another job runs"));
        assert_eq!(plan.carry_out(|| Ok::<_, ()>(2), |id| *id), Ok(Ok(2)));
        assert_eq!(plan.carry_out(|| Ok::<u64, ()>(3), |id| *id), Ok(Err(2)));
        assert_eq!(plan.carried_out_by(), Some(2));
    }
}
