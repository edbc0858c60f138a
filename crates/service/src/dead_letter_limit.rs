//! When too many records become dead letters it is no longer the records' fault: after a bad deploy or a wrong setting a
//! service holds rather than drain its topic into the dead letters.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// The records that are looked back on.
const WINDOW: usize = 1000;

/// So few dead letters never count as too many.
const AT_LEAST: usize = 200;

/// The share of recent records that may become dead letters; `off` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterLimit(Option<u8>);

impl DeadLetterLimit {
    /// The default: 50 %.
    pub const HALF: Self = Self(Some(50));
}

impl FromStr for DeadLetterLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let percent = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= 100);
        percent
            .map(|percent| Self(Some(percent)))
            .ok_or_else(|| "this is not a share of records; write it like 50%, or `off` for no limit".to_owned())
    }
}

impl fmt::Display for DeadLetterLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(percent) => write!(f, "{percent}%"),
            None => f.write_str("off"),
        }
    }
}

/// What became of the last records.
#[derive(Debug, Clone)]
pub struct RecentOutcomes {
    limit: DeadLetterLimit,
    /// Oldest first; `true` is a dead letter.
    outcomes: VecDeque<bool>,
    dead: usize,
}

impl RecentOutcomes {
    /// Nothing yet.
    #[must_use]
    pub fn new(limit: DeadLetterLimit) -> Self {
        Self { limit, outcomes: VecDeque::with_capacity(WINDOW), dead: 0 }
    }

    /// Whether these dead letters, on top of the last outcomes, would be too many.
    #[must_use]
    pub fn would_exceed(&self, letters: usize) -> bool {
        let Some(percent) = self.limit.0 else { return false };
        let leaving = (self.outcomes.len() + letters).saturating_sub(WINDOW).min(self.outcomes.len());
        let dead_leaving = self.outcomes.iter().take(leaving).filter(|dead| **dead).count();
        let dead = self.dead - dead_leaving + letters;
        let records = self.outcomes.len() - leaving + letters;
        dead >= AT_LEAST && dead * 100 > usize::from(percent) * records
    }

    /// Remembers records that came through, and dead letters.
    pub fn note(&mut self, good: usize, letters: usize) {
        let new = std::iter::repeat_n(false, good.min(WINDOW)).chain(std::iter::repeat_n(true, letters.min(WINDOW)));
        for dead in new {
            if self.outcomes.len() == WINDOW {
                self.dead -= usize::from(self.outcomes.pop_front() == Some(true));
            }
            self.outcomes.push_back(dead);
            self.dead += usize::from(dead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: &str) -> RecentOutcomes {
        RecentOutcomes::new(limit.parse().unwrap())
    }

    #[test]
    fn a_few_bad_records_are_never_too_many_and_half_of_many_is() {
        let mut recent = window("50%");
        assert!(!recent.would_exceed(199));
        assert!(recent.would_exceed(200), "all of the first 200");
        recent.note(300, 0);
        assert!(!recent.would_exceed(200), "200 of 500");
        recent.note(0, 200);
        assert!(recent.would_exceed(101), "301 of 601");
        assert!(!recent.would_exceed(100), "300 of 600 is not more than half");
    }

    #[test]
    fn only_the_last_thousand_count() {
        let mut recent = window("50%");
        recent.note(0, 1000);
        recent.note(600, 0);
        assert!(!recent.would_exceed(1), "401 of 1000");
        assert!(recent.would_exceed(501));
        recent.note(5000, 0);
        assert!(!recent.would_exceed(500) && recent.would_exceed(501));
        assert!(recent.would_exceed(5000));
    }

    #[test]
    fn the_limit_is_a_share_or_off() {
        assert!(!window("off").would_exceed(1_000_000));
        assert!(!window("100%").would_exceed(1000));
        assert!(window("0%").would_exceed(200));
        assert_eq!("50%".parse::<DeadLetterLimit>().unwrap().to_string(), "50%");
        for wrong in ["50", "101%", "-1%", "half", ""] {
            assert!(wrong.parse::<DeadLetterLimit>().unwrap_err().contains("50%"), "{wrong}");
        }
    }
}
