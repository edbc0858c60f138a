//! Searches for the same events repeatedly, without reading all records each time.

use std::time::{Duration, Instant};

use super::request::{FindScope, Wanted};
use super::search::run_until;
use super::timeline::Timeline;
use crate::error::OperatorError;
use crate::pipeline::Pipeline;

/// Time that the first search may take, even if the caller's limit is shorter.
pub const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Maximum difference between the clocks of this machine and of the gateway, in milliseconds.
const CLOCKS_APART: i64 = 60 * 60 * 1000;

/// A search that can be repeated for the same events.
#[derive(Debug)]
pub struct Watch<'w> {
    pipeline: Pipeline<'w>,
    scope: FindScope,
    wanted: Wanted,
    has_looked: bool,
}

impl<'w> Watch<'w> {
    /// Creates the search; the first call of [`Self::look`] reads the whole scope.
    #[must_use]
    pub fn new(pipeline: Pipeline<'w>, scope: FindScope, wanted: Wanted) -> Self {
        Self { pipeline, scope, wanted, has_looked: false }
    }

    /// Searches once, until `end` at most; returns `None` if not everything could be read by then. The first search may
    /// take [`FIRST_LOOK`] even if `end` is earlier. The call blocks.
    ///
    /// # Errors
    /// Returns [`OperatorError::Kafka`] if the topics cannot be read.
    pub fn look(&mut self, end: Instant) -> Result<Option<Vec<Timeline>>, OperatorError> {
        let end = if self.has_looked { end } else { end.max(Instant::now() + FIRST_LOOK) };
        self.has_looked = true;
        let started = service::unix_millis();
        let timelines = run_until(self.pipeline, &self.scope, &self.wanted, end)?;
        if let Some(timelines) = &timelines {
            self.scope.since = Some(next_since(self.scope.since, timelines, started));
        }
        Ok(timelines)
    }
}

/// Returns the start time of the next search: the time of the first step that was found. If no event was found, it is
/// the time of this search minus [`CLOCKS_APART`]: records that are written later have a later time, even if the clocks
/// differ.
fn next_since(since: Option<i64>, timelines: &[Timeline], started: i64) -> i64 {
    let earliest = timelines.iter().flat_map(|timeline| &timeline.steps).map(|step| step.time).min();
    let needed = earliest.unwrap_or(started - CLOCKS_APART);
    since.map_or(needed, |since| since.max(needed))
}

#[cfg(test)]
mod tests {
    use contract::Position;

    use super::super::timeline::{State, Step, StepKind, StepRecord};
    use super::*;

    #[test]
    fn the_next_search_reads_from_the_earliest_step_found() {
        let step = |time| Step { time, record: StepRecord::Raw(Position::new(0, 1)), kind: StepKind::Duplicate };
        let steps = vec![step(7_000_000), step(6_000_000)];
        let found = [Timeline { event_id: None, state: State::Unknown, steps, is_complete: true }];
        assert_eq!(next_since(None, &found, 9_000_000), 6_000_000);
        assert_eq!(next_since(Some(6_500_000), &found, 9_000_000), 6_500_000);
        assert_eq!(next_since(None, &[], 9_000_000), 9_000_000 - CLOCKS_APART);
    }
}
