//! Fingerprints of polled records, kept until the offsets after them are committed.

use std::collections::{BTreeMap, VecDeque};

use super::committer::Offsets;
use crate::fingerprint::Fingerprint;
use crate::log_watch::Latest;

/// How many are kept per partition.
const KEPT: usize = 64;

/// For each partition, the last polled record and some before it. A committed offset is usually before the last polled
/// record, and is stored with the newest fingerprint before it.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    latest: Latest,
    earlier: BTreeMap<i32, VecDeque<Fingerprint>>,
}

impl Fingerprints {
    /// A record was polled.
    pub(super) fn polled(&mut self, partition: i32, record: Fingerprint) {
        self.latest.insert(partition, record);
    }

    /// The last polled record of each partition.
    pub(super) fn latest(&self) -> &Latest {
        &self.latest
    }

    /// Keeps the last polled records for future commits; to be called once per commit interval.
    pub(super) fn keep(&mut self) {
        for (&partition, last) in &self.latest {
            let earlier = self.earlier.entry(partition).or_default();
            if earlier.back() == Some(last) {
                continue;
            }
            if earlier.len() == KEPT {
                // The first one stays: without it a frontier that does not move would lose its fingerprint.
                earlier.remove(1);
            }
            earlier.push_back(*last);
        }
    }

    /// Adds the newest fingerprint before each offset that is to be committed.
    pub(super) fn with(&mut self, offsets: Vec<(i32, i64)>) -> Offsets {
        let with = |(partition, offset)| {
            let before = self.earlier.get_mut(&partition).and_then(|earlier| {
                while earlier.get(1).is_some_and(|second| second.offset < offset) {
                    earlier.pop_front();
                }
                earlier.front().copied().filter(|first| first.offset < offset)
            });
            let last = self.latest.get(&partition).copied().filter(|last| last.offset < offset);
            (partition, offset, last.or(before))
        };
        offsets.into_iter().map(with).collect()
    }

    /// The partition was revoked.
    pub(super) fn forget(&mut self, partition: i32) {
        self.latest.remove(&partition);
        self.earlier.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_the_newest_fingerprint_before_its_offset() {
        let at = |offset| Fingerprint { offset, timestamp: offset, bytes: 1 };
        let mut fingerprints = Fingerprints::default();
        for offset in [3, 7, 9] {
            fingerprints.polled(0, at(offset));
            fingerprints.keep();
        }
        fingerprints.polled(0, at(12));
        assert_eq!(fingerprints.with(vec![(0, 3)]), [(0, 3, None)]);
        assert_eq!(fingerprints.with(vec![(0, 8)]), [(0, 8, Some(at(7)))]);
        assert_eq!(fingerprints.with(vec![(0, 13)]), [(0, 13, Some(at(12)))]);
        assert_eq!(fingerprints.with(vec![(1, 5)]), [(1, 5, None)]);
        for offset in 13..200 {
            fingerprints.polled(0, at(offset));
            fingerprints.keep();
        }
        assert!(fingerprints.with(vec![(0, 14)])[0].2.is_some(), "the oldest one before the frontier stays");
    }
}
