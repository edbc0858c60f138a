//! Fingerprints of polled records, kept until the offsets after them are committed.

use std::collections::{BTreeMap, VecDeque};

use contract::{Partition, Position};

use crate::fingerprint::Fingerprint;
use crate::log_watch::Latest;

/// A position to be committed, with the fingerprint of a record before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) position: Position,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// Maximum number of earlier fingerprints per partition.
const KEPT: usize = 64;

/// Fingerprints of the last polled record of each partition, and of some records before it. A committed offset is
/// usually before the last polled record, so the commit gets the newest kept fingerprint before that offset.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    latest: Latest,
    earlier: BTreeMap<Partition, VecDeque<Fingerprint>>,
}

impl Fingerprints {
    /// Stores the fingerprint of a polled record.
    pub(super) fn polled(&mut self, partition: Partition, record: Fingerprint) {
        self.latest.insert(partition, record);
    }

    /// Fingerprints of the last polled record of each partition.
    pub(super) fn latest(&self) -> &Latest {
        &self.latest
    }

    /// Keeps the fingerprints of the last polled records for future commits. Called once per commit interval.
    pub(super) fn keep(&mut self) {
        for (&partition, last) in &self.latest {
            let earlier = self.earlier.entry(partition).or_default();
            if earlier.back() == Some(last) {
                continue;
            }
            if earlier.len() == KEPT {
                // Keeps the first fingerprint: a frontier that does not move still needs a fingerprint before it.
                earlier.remove(1);
            }
            earlier.push_back(*last);
        }
    }

    /// Returns the positions to be committed, each with the newest stored fingerprint before it.
    pub(super) fn with(&mut self, positions: Vec<Position>) -> Vec<Due> {
        let with = |position| {
            let Position { partition, offset } = position;
            let before = self.earlier.get_mut(&partition).and_then(|earlier| {
                while earlier.get(1).is_some_and(|second| second.offset < offset) {
                    earlier.pop_front();
                }
                earlier.front().copied().filter(|first| first.offset < offset)
            });
            let last = self.latest.get(&partition).copied().filter(|last| last.offset < offset);
            Due { position, fingerprint: last.or(before) }
        };
        positions.into_iter().map(with).collect()
    }

    /// Removes the fingerprints of a revoked partition.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.latest.remove(&partition);
        self.earlier.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use contract::Offset;

    use super::*;

    #[test]
    fn a_commit_has_the_newest_fingerprint_before_its_offset() {
        let at = |offset| Fingerprint { offset: Offset(offset), timestamp: offset, bytes: 1 };
        let due = |partition, offset, fingerprint| Due { position: Position::new(partition, offset), fingerprint };
        let mut fingerprints = Fingerprints::default();
        for offset in [3, 7, 9] {
            fingerprints.polled(Partition(0), at(offset));
            fingerprints.keep();
        }
        fingerprints.polled(Partition(0), at(12));
        assert_eq!(fingerprints.with(vec![Position::new(0, 3)]), [due(0, 3, None)]);
        assert_eq!(fingerprints.with(vec![Position::new(0, 8)]), [due(0, 8, Some(at(7)))]);
        assert_eq!(fingerprints.with(vec![Position::new(0, 13)]), [due(0, 13, Some(at(12)))]);
        assert_eq!(fingerprints.with(vec![Position::new(1, 5)]), [due(1, 5, None)]);
        for offset in 13..200 {
            fingerprints.polled(Partition(0), at(offset));
            fingerprints.keep();
        }
        assert!(
            fingerprints.with(vec![Position::new(0, 14)])[0].fingerprint.is_some(),
            "the oldest fingerprint before the frontier is kept"
        );
    }
}
