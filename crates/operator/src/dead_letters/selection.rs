//! Selects a limited number of dead letters. Of the other dead letters, only a small entry for each that the filter
//! includes is kept in memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use contract::dead_letter::{DeadLetter, Entry};
use contract::{Offset, Partition, Position};
use kafka::offsets::Offsets;

use super::filter::Filter;
use super::index::IndexedDeadLetter;
use crate::error::OperatorError;
use crate::pipeline::{Pipeline, retained, stable_watermarks};
use crate::record::event_id;

/// Limits for the number of dead letters that an operation resolves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of unresolved dead letters to choose, the oldest ones; `None` chooses all.
    pub limit: Option<usize>,
    /// Number of dead letters that a person confirmed. If the operation would resolve more, it writes nothing.
    pub at_most: Option<usize>,
}

impl Bounds {
    /// # Errors
    /// [`OperatorError::MoreThanConfirmed`].
    pub(super) fn check(self, resolves: usize) -> Result<(), OperatorError> {
        match self.at_most {
            Some(confirmed) if resolves > confirmed => Err(OperatorError::MoreThanConfirmed { confirmed, resolves }),
            _ => Ok(()),
        }
    }
}

/// The chosen dead letters.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// The chosen dead letters, and all others of the same original records, without their messages.
    pub(super) index: BTreeMap<Position, IndexedDeadLetter>,
    chosen: BTreeSet<Position>,
    /// Number of resolved dead letters that the filter includes.
    pub(super) resolved_before: u64,
    /// Number of included unresolved dead letters that are over the limit.
    pub(super) left: u64,
}

impl Selected {
    /// Returns the chosen dead letters that are still unresolved.
    pub(super) fn chosen(&self) -> Vec<&IndexedDeadLetter> {
        let chosen = self.chosen.iter().filter_map(|position| self.index.get(position));
        chosen.filter(|dead_letter| dead_letter.resolution.is_none()).collect()
    }
}

/// Chooses the oldest unresolved dead letters that a filter includes. The topic is read twice: the first read keeps a
/// small entry for each candidate, to choose among them, and the second read gets the chosen dead letters.
///
/// # Errors
/// [`OperatorError::NoDeadLetter`], [`OperatorError::Kafka`].
pub(super) fn select(pipeline: Pipeline<'_>, filter: &Filter, limit: usize) -> Result<Selected, OperatorError> {
    let topic = &pipeline.topics.dead_letters;
    let offsets = Offsets::new(pipeline.connection)?;
    let (mut candidates, mut named) =
        (Candidates::default(), filter.positions.iter().copied().collect::<BTreeSet<_>>());
    pipeline.read(topic, &retained(&stable_watermarks(&offsets, topic)?), |record| {
        match Entry::read(record.headers()) {
            Entry::DeadLetter(dead_letter) => {
                let mut indexed = IndexedDeadLetter::without_event(record, dead_letter);
                named.remove(&indexed.position);
                if !filter.event_ids.is_empty() {
                    indexed.event_id = event_id(record);
                }
                if filter.includes(&indexed) {
                    candidates.add(&indexed);
                }
            }
            Entry::Resolution(resolution) => {
                candidates.resolve(record.partition(), resolution.dead_letter);
            }
            Entry::Mark(_) | Entry::Foreign => {}
        }
    })?;
    if let Some(missing) = named.first() {
        return Err(OperatorError::NoDeadLetter(*missing));
    }
    let mut chosen = candidates.oldest(limit);
    let mut selected = Selected { resolved_before: chosen.resolved, left: chosen.left, ..Selected::default() };
    // The second read also gets resolutions that were written after the first read.
    pipeline.read(topic, &retained(&stable_watermarks(&offsets, topic)?), |record| {
        match Entry::read(record.headers()) {
            Entry::DeadLetter(dead_letter) => {
                let position = record.position();
                if chosen.positions.contains(&position) || chosen.has_origin(&dead_letter) {
                    let mut indexed = IndexedDeadLetter::without_event(record, dead_letter);
                    indexed.dead_letter.message = String::new();
                    selected.index.insert(position, indexed);
                }
            }
            Entry::Resolution(resolution) => {
                let position = Position::of(record.partition(), resolution.dead_letter);
                if let Some(dead_letter) = selected.index.get_mut(&position) {
                    dead_letter.resolution.get_or_insert(resolution);
                }
            }
            Entry::Mark(_) | Entry::Foreign => {}
        }
    })?;
    selected.chosen = std::mem::take(&mut chosen.positions);
    Ok(selected)
}

/// The dead letters that the filter includes, by partition and in the order of the offsets.
#[derive(Debug, Default)]
struct Candidates(BTreeMap<Partition, Vec<Candidate>>);

#[derive(Debug, Clone, Copy)]
struct Candidate {
    offset: Offset,
    time: i64,
    origin: Option<u64>,
    is_resolved: bool,
}

/// The candidates that were chosen.
#[derive(Debug, Default)]
struct Chosen {
    positions: BTreeSet<Position>,
    origins: HashSet<u64>,
    resolved: u64,
    left: u64,
}

impl Chosen {
    fn has_origin(&self, dead_letter: &DeadLetter) -> bool {
        origin(dead_letter).is_some_and(|origin| self.origins.contains(&origin))
    }
}

impl Candidates {
    fn add(&mut self, indexed: &IndexedDeadLetter) {
        let Position { partition, offset } = indexed.position;
        let candidate =
            Candidate { offset, time: indexed.time, origin: origin(&indexed.dead_letter), is_resolved: false };
        self.0.entry(partition).or_default().push(candidate);
    }

    fn resolve(&mut self, partition: Partition, offset: Offset) {
        let Some(candidates) = self.0.get_mut(&partition) else { return };
        if let Ok(index) = candidates.binary_search_by_key(&offset, |candidate| candidate.offset)
            && let Some(candidate) = candidates.get_mut(index)
        {
            candidate.is_resolved = true;
        }
    }

    fn oldest(self, limit: usize) -> Chosen {
        let mut chosen = Chosen::default();
        let mut unresolved = Vec::new();
        for (partition, candidates) in self.0 {
            for candidate in candidates {
                match candidate.is_resolved {
                    true => chosen.resolved += 1,
                    false => {
                        unresolved.push((candidate.time, Position::of(partition, candidate.offset), candidate.origin))
                    }
                }
            }
        }
        unresolved.sort_unstable();
        chosen.left = unresolved.len().saturating_sub(limit) as u64;
        for (_, position, origin) in unresolved.into_iter().take(limit) {
            chosen.positions.insert(position);
            chosen.origins.extend(origin);
        }
        chosen
    }
}

/// Returns a hash that identifies the original record. If two records have the same hash, the index only contains dead
/// letters that it does not need.
fn origin(dead_letter: &DeadLetter) -> Option<u64> {
    let origin = dead_letter.origin.as_ref()?;
    let mut hasher = DefaultHasher::new();
    (&origin.topic, origin.position).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use contract::dead_letter::Stage;

    use super::super::index::tests::indexed;
    use super::*;

    #[test]
    fn the_oldest_unresolved_dead_letters_are_chosen_up_to_the_limit() {
        let mut candidates = Candidates::default();
        for (position, time) in [("0:1", 300), ("0:2", 100), ("0:4", 50), ("1:1", 200), ("1:2", 400)] {
            candidates.add(&IndexedDeadLetter { time, ..indexed(position, Stage::Sink, "refused") });
        }
        candidates.resolve(Partition(0), Offset(4));
        candidates.resolve(Partition(0), Offset(3));
        candidates.resolve(Partition(7), Offset(1));
        let chosen = candidates.oldest(2);
        let positions: Vec<String> = chosen.positions.iter().map(ToString::to_string).collect();
        assert_eq!((positions, chosen.resolved, chosen.left), (vec!["0:2".to_owned(), "1:1".to_owned()], 1, 2));
        assert!(chosen.has_origin(&indexed("0:2", Stage::Sink, "x").dead_letter));
        assert!(!chosen.has_origin(&indexed("0:1", Stage::Sink, "x").dead_letter));
        assert!(
            !chosen.has_origin(&indexed("0:2", Stage::Gateway, "x").dead_letter),
            "a dead letter of the gateway has no original record"
        );
    }

    #[test]
    fn resolving_more_dead_letters_than_a_person_confirmed_is_refused() {
        let bounds = |at_most| Bounds { limit: None, at_most };
        assert!(bounds(None).check(9).is_ok() && bounds(Some(9)).check(9).is_ok());
        let error = bounds(Some(9)).check(10).unwrap_err();
        assert!(matches!(error, OperatorError::MoreThanConfirmed { confirmed: 9, resolves: 10 }), "{error}");
    }
}
