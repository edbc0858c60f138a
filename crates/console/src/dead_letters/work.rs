//! Dry runs, replays and discards: those that run and the last ones that have ended, until the console is started again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::selection::Selection;
use super::source::{EndedEarly, Operation, Summary};

/// How many are kept.
const KEPT: usize = 20;

/// The page of a dry run, a replay or a discard.
pub(super) fn address(id: u64) -> String {
    format!("/dead-letters/work/{id}")
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A dry run has this plan.
    Planned(Summary),
    /// It was carried out, or stopped while it was.
    Done(Summary),
    /// It was stopped before it changed anything.
    Stopped,
    Failed(EndedEarly),
}

/// What a person confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Confirmed {
    /// The number of the dry run's job.
    pub(super) plan: u64,
    /// How many dead letters it resolves.
    pub(super) resolves: u64,
    /// How many it includes that were resolved before.
    pub(super) resolved_before: u64,
    pub(super) note: Option<String>,
}

/// A dry run, a replay or a discard.
#[derive(Debug)]
pub(super) struct Work {
    /// The number of its job.
    pub(super) id: u64,
    pub(super) by: String,
    /// Milliseconds since 1970.
    pub(super) begun: i64,
    pub(super) selection: Selection,
    pub(super) operation: Operation,
    /// `None` for a dry run.
    pub(super) confirmed: Option<Confirmed>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    /// When it ended: milliseconds since 1970.
    ended: Option<i64>,
    /// The number of the job that carries out this plan.
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

    /// The plan, if this is a dry run that has ended with one.
    pub(super) fn plan(&self) -> Option<Summary> {
        match &self.state().outcome {
            Some(Outcome::Planned(summary)) => Some(summary.clone()),
            _ => None,
        }
    }

    pub(super) fn carried_out_by(&self) -> Option<u64> {
        self.state().carried_out_by
    }

    /// Begins the one job that carries out this plan.
    ///
    /// # Errors
    /// Why it did not begin. If a job has begun before, the inner value is its number.
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

/// The last ones.
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

    /// The newest first.
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
    fn only_the_last_ones_are_kept() {
        let history = History::default();
        for id in 0..100 {
            history.add(work(id));
        }
        assert_eq!((history.all().len(), history.all()[0].id), (KEPT, 99));
        assert!(history.find(99).is_some() && history.find(0).is_none());
    }

    #[test]
    fn a_plan_is_carried_out_once() {
        let plan = work(1);
        assert_eq!(plan.carry_out(|| Err("another job runs"), |id: &u64| *id), Err("another job runs"));
        assert_eq!(plan.carry_out(|| Ok::<_, ()>(2), |id| *id), Ok(Ok(2)));
        assert_eq!(plan.carry_out(|| Ok::<u64, ()>(3), |id| *id), Ok(Err(2)));
        assert_eq!(plan.carried_out_by(), Some(2));
    }
}
