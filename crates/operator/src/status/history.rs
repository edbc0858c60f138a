//! Earlier responses of the services, for a status that is computed periodically.

use std::collections::VecDeque;

use super::look::Look;

/// Time over which the age of events is measured, in milliseconds. If the previous snapshot is older, the age is
/// measured since that snapshot.
const A_WHILE: i64 = 60_000;

/// The snapshots of the last [`A_WHILE`] milliseconds. The last snapshot is kept even if it is older.
#[derive(Debug, Default)]
pub struct History(VecDeque<Look>);

impl History {
    /// Adds a snapshot. Returns the snapshot before it, and the oldest one of the last [`A_WHILE`] milliseconds.
    pub fn before(&mut self, now: Look) -> (Option<Look>, Option<Look>) {
        while self.0.len() > 1 && self.0.front().is_some_and(|first| now.at.saturating_sub(first.at) > A_WHILE) {
            self.0.pop_front();
        }
        let before = (self.0.back().cloned(), self.0.front().cloned());
        self.0.push_back(now);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_snapshot_is_kept_even_if_it_is_older_than_a_minute() {
        let mut history = History::default();
        let mut before = |at: i64| {
            let (before, a_while_before) = history.before(Look { at, answers: Vec::new() });
            (before.map(|look| look.at), a_while_before.map(|look| look.at))
        };
        assert_eq!(before(0), (None, None));
        assert_eq!(before(40_000), (Some(0), Some(0)));
        assert_eq!(before(80_000), (Some(40_000), Some(40_000)));
        assert_eq!(before(200_000), (Some(80_000), Some(80_000)));
    }
}
