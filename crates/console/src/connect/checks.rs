//! Checks of the set-up. The parts run at the same time, and each result is shown as soon as its part has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use setup::check::{Level, Line};

use super::source::{ConnectSource, Part};

#[derive(Debug, Clone, Default)]
struct State {
    /// Start time of the checks: milliseconds since 1970.
    begun: Option<i64>,
    answers: BTreeMap<Part, Vec<Line>>,
}

/// Results of the last run of the checks. Clones share the state.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks(Arc<Mutex<State>>);

/// Results that the last run of the checks has so far.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) begun: Option<i64>,
    /// Findings of each part; `None` while the part is running.
    pub(super) parts: Vec<(Part, Option<Vec<Line>>)>,
}

impl Found {
    pub(super) fn is_running(&self) -> bool {
        self.begun.is_some() && self.parts.iter().any(|(_, lines)| lines.is_none())
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.parts.iter().filter_map(|(_, lines)| lines.as_ref()).flatten()
    }

    /// Returns the number of findings that need action.
    pub(super) fn findings(&self) -> usize {
        self.lines().filter(|line| line.level >= Level::Unanswered).count()
    }
}

impl Checks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn found(&self) -> Found {
        let state = self.state();
        let parts = Part::ALL.map(|part| (part, state.answers.get(&part).cloned()));
        Found { begun: state.begun, parts: parts.into() }
    }

    /// Starts all checks, unless they are still running.
    pub(super) fn begin(&self, source: &Arc<dyn ConnectSource>, now: i64) {
        if self.found().is_running() {
            return;
        }
        *self.state() = State { begun: Some(now), answers: BTreeMap::new() };
        for part in Part::ALL {
            let (checks, source) = (self.clone(), Arc::clone(source));
            let answer = tokio::spawn(async move { source.check(part).await });
            // If a check panics, its part gets a finding. Without one, the run would never end.
            tokio::spawn(async move {
                let lines = answer.await.unwrap_or_else(|_| vec![defect(part)]);
                checks.state().answers.insert(part, lines);
            });
        }
    }
}

fn defect(part: Part) -> Line {
    Line {
        id: "defect",
        asked: part.name().to_owned(),
        found: "the check failed; this is a defect, please report it with the log".to_owned(),
        level: Level::Unanswered,
        next: None,
    }
}
