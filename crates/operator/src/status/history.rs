//! What the services answered before, where the status is computed again and again.

use std::collections::VecDeque;

use super::look::Look;

/// The age of events is that of the events accepted in this time, or since the last look if that is longer ago.
const A_WHILE: i64 = 60_000;

/// The looks of the last while, and at least the last one.
#[derive(Debug, Default)]
pub struct History(VecDeque<Look>);

impl History {
    /// The look before this one, and the one a while before.
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
    fn the_last_look_is_kept_however_long_ago_it_was() {
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
