//! Limits the share of records that may become dead letters. If too many records would, the cause is probably a faulty
//! deployment or a wrong setting and not the records. The service then holds such records, so that it does not move the
//! whole input topic to the dead-letter topic.
//!
//! The limit applies per source and code, so that one source or one kind of mistake does not hold other records.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Number of a source's most recent records over which the share is computed.
const WINDOW: usize = 1000;

/// Fewer dead letters than this never exceed the limit.
const AT_LEAST: usize = 200;

/// Maximum share of a source's recent records that may become dead letters with the same code; `off` for no limit.
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

/// The most recent outcomes of each source's records.
#[derive(Debug, Clone)]
pub struct RecentOutcomes {
    limit: DeadLetterLimit,
    /// There are few sources, so a search is faster than a map.
    sources: Vec<(String, Window)>,
}

/// The outcomes of one source's most recent records.
#[derive(Debug, Clone, Default)]
struct Window {
    /// The code of each dead letter, and `None` for each other outcome; oldest first.
    outcomes: VecDeque<Option<&'static str>>,
}

impl RecentOutcomes {
    /// Starts without any outcomes.
    #[must_use]
    pub fn new(limit: DeadLetterLimit) -> Self {
        Self { limit, sources: Vec::new() }
    }

    /// Whether `dead_letters` further dead letters of this source with this code would exceed the limit. Their share is
    /// computed over the source's recent records, without the dead letters with other codes.
    #[must_use]
    pub fn would_exceed(&self, source: &str, code: &'static str, dead_letters: usize) -> bool {
        let Some(percent) = self.limit.0 else { return false };
        let window = self.sources.iter().find(|(known, _)| known == source).map(|(_, window)| window);
        let (good, dead) = window.map_or((0, 0), |window| window.counts(code, dead_letters));
        let dead = dead + dead_letters;
        dead >= AT_LEAST && dead * 100 > usize::from(percent) * (good + dead)
    }

    /// Adds records of a source that did not become dead letters.
    pub fn note_good(&mut self, source: &str, records: usize) {
        self.window(source).note(None, records);
    }

    /// Adds dead letters of a source.
    pub fn note_dead(&mut self, source: &str, code: &'static str, dead_letters: usize) {
        self.window(source).note(Some(code), dead_letters);
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
    /// Counts the records that did not become dead letters, and the dead letters with this code. The oldest outcomes,
    /// which `new` further records would push out of the window, are not counted.
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

    /// Recent outcomes with only one source and one code, as in most deployments.
    struct One(RecentOutcomes);

    impl One {
        fn new(limit: &str) -> Self {
            Self(RecentOutcomes::new(limit.parse().unwrap()))
        }

        fn note(&mut self, good: usize, dead_letters: usize) {
            self.0.note_good("default", good);
            self.0.note_dead("default", "not_json", dead_letters);
        }

        fn would_exceed(&self, dead_letters: usize) -> bool {
            self.0.would_exceed("default", "not_json", dead_letters)
        }
    }

    #[test]
    fn only_200_or_more_dead_letters_in_over_half_of_the_records_exceed_the_limit() {
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
    fn only_the_last_thousand_records_of_a_source_count() {
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
    fn each_source_and_each_code_is_counted_separately() {
        let mut recent = RecentOutcomes::new(DeadLetterLimit::HALF);
        recent.note_dead("shop", "not_json", 1000);
        assert!(recent.would_exceed("shop", "not_json", 1));
        assert!(!recent.would_exceed("shop", "bad_timestamp", 199), "another code of the same source");
        assert!(!recent.would_exceed("app", "not_json", 199), "another source");
        // Many dead letters with one code must not raise the limit for another code.
        recent.note_good("shop", 100);
        recent.note_dead("shop", "bad_timestamp", 199);
        assert!(recent.would_exceed("shop", "bad_timestamp", 1), "200 dead letters and 100 others");
        recent.note_good("shop", 100);
        assert!(!recent.would_exceed("shop", "bad_timestamp", 1), "200 dead letters and 200 others");
    }

    #[test]
    fn the_dead_letter_limit_is_a_percentage_or_off() {
        assert!(!One::new("off").would_exceed(1_000_000));
        assert!(!One::new("100%").would_exceed(1000));
        assert!(One::new("0%").would_exceed(200));
        assert_eq!("50%".parse::<DeadLetterLimit>().unwrap().to_string(), "50%");
        for wrong in ["50", "101%", "-1%", "half", ""] {
            assert!(wrong.parse::<DeadLetterLimit>().unwrap_err().contains("50%"), "{wrong}");
        }
    }
}
