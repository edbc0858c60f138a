//! Selects dead letters.

use std::collections::{BTreeMap, BTreeSet};

use contract::Position;
use contract::dead_letter::Stage;

use super::index::IndexedDeadLetter;
use crate::error::OperatorError;

/// Conditions for dead letters. A dead letter must match all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Positions to include; an empty list includes all.
    pub positions: Vec<Position>,
    /// Codes to include; an empty list includes all.
    pub codes: Vec<String>,
    /// Stage that wrote the dead letter.
    pub stage: Option<Stage>,
    /// Source of the event.
    pub source: Option<String>,
    /// Earliest write time (inclusive): milliseconds since 1970.
    pub since: Option<i64>,
    /// Latest write time (exclusive): milliseconds since 1970.
    pub until: Option<i64>,
    /// Event ids to include; an empty list includes all dead letters.
    pub event_ids: Vec<String>,
}

impl Filter {
    /// Whether the filter includes a dead letter.
    #[must_use]
    pub fn includes(&self, dead_letter: &IndexedDeadLetter) -> bool {
        (self.positions.is_empty() || self.positions.contains(&dead_letter.position))
            && (self.codes.is_empty() || self.codes.contains(&dead_letter.dead_letter.code))
            && self.stage.is_none_or(|stage| stage == dead_letter.dead_letter.stage)
            && self.source.as_ref().is_none_or(|source| *source == dead_letter.source)
            && self.since.is_none_or(|since| dead_letter.time >= since)
            && self.until.is_none_or(|until| dead_letter.time < until)
            && (self.event_ids.is_empty()
                || dead_letter.event_id.as_ref().is_some_and(|id| self.event_ids.contains(id)))
    }

    /// Returns the unresolved dead letters that the filter includes, and the number of resolved dead letters that it
    /// includes.
    pub(super) fn choose<'l>(
        &self,
        index: &'l BTreeMap<Position, IndexedDeadLetter>,
    ) -> Result<(Vec<&'l IndexedDeadLetter>, u64), OperatorError> {
        let named: BTreeSet<&Position> = self.positions.iter().collect();
        if let Some(missing) = named.into_iter().find(|position| !index.contains_key(position)) {
            return Err(OperatorError::NoDeadLetter(*missing));
        }
        let included = index.values().filter(|dead_letter| self.includes(dead_letter));
        let (resolved, unresolved): (Vec<_>, Vec<_>) =
            included.partition(|dead_letter| dead_letter.resolution.is_some());
        Ok((unresolved, resolved.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use contract::Offset;
    use contract::dead_letter::{Resolution, ResolutionKind};

    use super::super::index::tests::indexed;
    use super::*;

    #[test]
    fn a_dead_letter_must_match_every_condition_of_the_filter() {
        let dead_letter = indexed("0:5", Stage::Sink, "refused");
        let includes = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.includes(&dead_letter)
        };
        assert!(includes(&|_| {}));
        assert!(includes(&|filter| filter.positions = vec!["0:4".parse().unwrap(), "0:5".parse().unwrap()]));
        assert!(!includes(&|filter| filter.positions = vec!["0:4".parse().unwrap()]));
        assert!(includes(&|filter| filter.codes = vec!["not_json".to_owned(), "refused".to_owned()]));
        assert!(!includes(&|filter| filter.codes = vec!["not_json".to_owned()]));
        assert!(includes(&|filter| filter.stage = Some(Stage::Sink)));
        assert!(!includes(&|filter| filter.stage = Some(Stage::Gateway)));
        assert!(!includes(&|filter| filter.source = Some("shop".to_owned())));
        assert!(includes(&|filter| (filter.since, filter.until) = (Some(1000), Some(1001))));
        assert!(!includes(&|filter| filter.since = Some(1001)));
        assert!(!includes(&|filter| filter.until = Some(1000)));
        assert!(includes(&|filter| filter.event_ids = vec!["event-0:5".to_owned()]));
        assert!(!includes(&|filter| filter.event_ids = vec!["event-0:6".to_owned()]));
    }

    #[test]
    fn a_filter_separates_unresolved_from_resolved_dead_letters_and_refuses_unknown_positions() {
        let mut resolved = indexed("0:6", Stage::Sink, "refused");
        resolved.resolution =
            Some(Resolution { dead_letter: Offset(6), kind: ResolutionKind::Replayed, by: None, note: None, at: None });
        let dead_letters = [indexed("0:5", Stage::Sink, "refused"), resolved];
        let index = BTreeMap::from(dead_letters.map(|dead_letter| (dead_letter.position, dead_letter)));
        let named = |position: &str| Filter { positions: vec![position.parse().unwrap()], ..Filter::default() };
        let (open, done) = Filter::default().choose(&index).unwrap();
        assert_eq!((open.len(), done), (1, 1));
        let (open, done) = named("0:6").choose(&index).unwrap();
        assert_eq!((open.len(), done), (0, 1));
        let error = named("0:7").choose(&index).unwrap_err();
        assert!(matches!(error, OperatorError::NoDeadLetter(position) if position == Position::new(0, 7)), "{error}");
    }
}
