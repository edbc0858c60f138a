//! Counts dead letters by stage and code.

use std::collections::BTreeMap;

use contract::dead_letter::Stage;

use super::index::IndexedDeadLetter;

/// Statistics of the dead letters with one stage and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Stage that wrote the dead letters.
    pub stage: Stage,
    /// Code of the dead letters.
    pub code: String,
    /// Number of dead letters, resolved or not.
    pub count: u64,
    /// Number of unresolved dead letters.
    pub unresolved: u64,
    /// Write time of the oldest dead letter: milliseconds since 1970.
    pub oldest: i64,
    /// Write time of the newest dead letter: milliseconds since 1970.
    pub newest: i64,
}

/// Groups dead letters by stage and code; the largest group comes first.
#[must_use]
pub fn groups<'l>(dead_letters: impl IntoIterator<Item = &'l IndexedDeadLetter>) -> Vec<Group> {
    let mut groups: BTreeMap<(Stage, &str), Group> = BTreeMap::new();
    for IndexedDeadLetter { dead_letter, time, resolution, .. } in dead_letters {
        let group = groups.entry((dead_letter.stage, &dead_letter.code)).or_insert_with(|| Group {
            stage: dead_letter.stage,
            code: dead_letter.code.clone(),
            count: 0,
            unresolved: 0,
            oldest: *time,
            newest: *time,
        });
        group.count += 1;
        group.unresolved += u64::from(resolution.is_none());
        group.oldest = group.oldest.min(*time);
        group.newest = group.newest.max(*time);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::index::tests::indexed;

    #[test]
    fn dead_letters_are_counted_by_stage_and_code() {
        let mut late = indexed("0:6", Stage::Sink, "refused");
        late.time = 3000;
        let dead_letters =
            [indexed("0:1", Stage::Transformer, "not_json"), indexed("0:5", Stage::Sink, "refused"), late];
        let found = groups(&dead_letters);
        let names: Vec<_> = found.iter().map(|group| (group.stage, group.code.as_str(), group.count)).collect();
        assert_eq!(names, [(Stage::Sink, "refused", 2), (Stage::Transformer, "not_json", 1)]);
        assert_eq!((found[0].oldest, found[0].newest, found[0].unresolved), (1000, 3000, 2));
    }
}
