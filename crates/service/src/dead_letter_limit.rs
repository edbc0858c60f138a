//! When too many records become dead letters it is no longer the records' fault: after a bad deploy or a wrong setting a
//! service holds rather than drain its topic into the dead letters.
//!
//! It is counted for each source and code, so that one sender, or one kind of mistake, holds nothing else.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// The records of a source that are looked back on.
const WINDOW: usize = 1000;

/// So few dead letters never count as too many.
const AT_LEAST: usize = 200;

/// The share of a source's recent records that may become dead letters with one code; `off` for no limit.
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

/// What became of each source's last records.
#[derive(Debug, Clone)]
pub struct RecentOutcomes {
    limit: DeadLetterLimit,
    /// There are few sources: looking through them is quicker than a map.
    sources: Vec<(String, Window)>,
}

/// The last records of one source.
#[derive(Debug, Clone, Default)]
struct Window {
    /// Oldest first; the code of a dead letter.
    outcomes: VecDeque<Option<&'static str>>,
}

impl RecentOutcomes {
    /// Nothing yet.
    #[must_use]
    pub fn new(limit: DeadLetterLimit) -> Self {
        Self { limit, sources: Vec::new() }
    }

    /// Whether these dead letters of one source with one code, on top of its last outcomes, would be too many: measured against
    /// the records that came through. Dead letters with other codes neither count nor excuse.
    #[must_use]
    pub fn would_exceed(&self, source: &str, code: &'static str, letters: usize) -> bool {
        let Some(percent) = self.limit.0 else { return false };
        let window = self.sources.iter().find(|(known, _)| known == source).map(|(_, window)| window);
        let (good, dead) = window.map_or((0, 0), |window| window.counts(code, letters));
        let dead = dead + letters;
        dead >= AT_LEAST && dead * 100 > usize::from(percent) * (good + dead)
    }

    /// Remembers records of a source that came through.
    pub fn note_good(&mut self, source: &str, records: usize) {
        self.window(source).note(None, records);
    }

    /// Remembers dead letters of a source.
    pub fn note_dead(&mut self, source: &str, code: &'static str, letters: usize) {
        self.window(source).note(Some(code), letters);
    }

    fn window(&mut self, source: &str) -> &mut Window {
        let at = self.sources.iter().position(|(known, _)| known == source).unwrap_or_else(|| {
            self.sources.push((source.to_owned(), Window::default()));
            self.sources.len() - 1
        });
        &mut self.sources[at].1
    }
}

impl Window {
    /// The records that came through and those with this code, without the oldest that `new` records push out.
    fn counts(&self, code: &str, new: usize) -> (usize, usize) {
        let leaving = (self.outcomes.len() + new).saturating_sub(WINDOW).min(self.outcomes.len());
        self.outcomes.iter().skip(leaving).fold((0, 0), |(good, dead), outcome| match outcome {
            None => (good + 1, dead),
            Some(known) => (good, dead + usize::from(*known == code)),
        })
    }

    fn note(&mut self, outcome: Option<&'static str>, count: usize) {
        for _ in 0..count.min(WINDOW) {
            if self.outcomes.len() == WINDOW {
                self.outcomes.pop_front();
            }
            self.outcomes.push_back(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One source and one code, as most deployments have them.
    struct One(RecentOutcomes);

    impl One {
        fn new(limit: &str) -> Self {
            Self(RecentOutcomes::new(limit.parse().unwrap()))
        }

        fn note(&mut self, good: usize, letters: usize) {
            self.0.note_good("default", good);
            self.0.note_dead("default", "not_json", letters);
        }

        fn would_exceed(&self, letters: usize) -> bool {
            self.0.would_exceed("default", "not_json", letters)
        }
    }

    #[test]
    fn a_few_bad_records_are_never_too_many_and_half_of_many_is() {
        let mut recent = One::new("50%");
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
        let mut recent = One::new("50%");
        recent.note(0, 1000);
        recent.note(600, 0);
        assert!(!recent.would_exceed(1), "401 of 1000");
        assert!(recent.would_exceed(501));
        recent.note(5000, 0);
        assert!(!recent.would_exceed(500) && recent.would_exceed(501));
        assert!(recent.would_exceed(5000));
    }

    #[test]
    fn each_source_and_each_code_is_counted_by_itself() {
        let mut recent = RecentOutcomes::new(DeadLetterLimit::HALF);
        recent.note_dead("shop", "not_json", 1000);
        assert!(recent.would_exceed("shop", "not_json", 1));
        assert!(!recent.would_exceed("shop", "bad_timestamp", 199), "another code of the same source");
        assert!(!recent.would_exceed("app", "not_json", 199), "another source");
        // A flood of one code must not make room for another.
        recent.note_good("shop", 100);
        recent.note_dead("shop", "bad_timestamp", 199);
        assert!(recent.would_exceed("shop", "bad_timestamp", 1), "200 beside 100 that came through");
        recent.note_good("shop", 100);
        assert!(!recent.would_exceed("shop", "bad_timestamp", 1), "200 beside 200");
    }

    #[test]
    fn the_limit_is_a_share_or_off() {
        assert!(!One::new("off").would_exceed(1_000_000));
        assert!(!One::new("100%").would_exceed(1000));
        assert!(One::new("0%").would_exceed(200));
        assert_eq!("50%".parse::<DeadLetterLimit>().unwrap().to_string(), "50%");
        for wrong in ["50", "101%", "-1%", "half", ""] {
            assert!(wrong.parse::<DeadLetterLimit>().unwrap_err().contains("50%"), "{wrong}");
        }
    }
}
