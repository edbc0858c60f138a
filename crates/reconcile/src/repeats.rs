//! Classifies typed records whose event was already mapped from another raw record.
//!
//! The dedup window of a partition contains only the events of that partition, so all deliveries of an event must be in
//! one partition. The key that they share ensures this, unless partitions are added between two deliveries.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use contract::Position;
use contract::limits::CLOCK_TOLERANCE_MS;

use crate::classify::Classifier;
use crate::fact::{DedupReach, IdHash, KeyHash};
use crate::reconciliation::{PartitionFacts, Typed};
use crate::report::{FindingKind, Topic};

/// Maximum time in milliseconds after which a producer knows an added partition: five minutes, the default of
/// librdkafka's `topic.metadata.refresh.interval.ms`, plus the tolerated difference between clocks.
const NOTICED_AFTER: i64 = 5 * 60 * 1000 + CLOCK_TOLERANCE_MS;

/// A typed record and its partition.
#[derive(Clone, Copy)]
struct Copied<'b> {
    partition: i32,
    typed: &'b Typed,
}

/// Reasons why an event was mapped again in another partition within the dedup window. The most serious one is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Elsewhere {
    AfterGrowth,
    WithoutKey,
    Unexplained,
}

impl Classifier<'_> {
    /// Classifies the repeats of all events, over all partitions.
    pub(crate) fn repeats(&mut self) {
        let reconciliation = self.reconciliation;
        let history = History::of(&reconciliation.partitions, reconciliation.dedup);
        let mut all: Vec<(IdHash, Copied<'_>)> = Vec::new();
        for (&partition, facts) in &reconciliation.partitions {
            let made = facts.typed.iter().filter(|typed| !typed.replay);
            all.extend(made.map(|typed| (typed.id, Copied { partition, typed })));
        }
        all.sort_unstable_by_key(|(id, copied)| {
            let Copied { partition, typed } = copied;
            (*id, typed.time, *partition, typed.raw_offset, typed.offset)
        });
        for same in all.chunk_by(|one, other| one.0 == other.0).filter(|same| same.len() > 1) {
            let mut seen: HashSet<(i32, i64)> = HashSet::new();
            let mut newest: BTreeMap<i32, &Typed> = BTreeMap::new();
            for &(_, copied) in same {
                let another = seen.insert((copied.partition, copied.typed.raw_offset)) && seen.len() > 1;
                if another {
                    self.repeat(copied, &newest, &history);
                }
                newest.insert(copied.partition, copied.typed);
            }
        }
    }

    /// Classifies one repeat. `newest` contains, for each partition, the last earlier record of the same event.
    fn repeat(&mut self, copied: Copied<'_>, newest: &BTreeMap<i32, &Typed>, history: &History<'_>) {
        let Copied { partition: number, typed } = copied;
        let Some(scope) = self.reconciliation.scopes.get(&number) else { return };
        if !scope.typed.contains(&typed.offset) && !scope.raw.contains(&typed.raw_offset) {
            return;
        }
        let raw = &self.reconciliation.partitions[&number].raw;
        let found = raw.binary_search_by_key(&typed.raw_offset, |raw| raw.offset).ok().map(|index| raw[index]);
        if found.is_some_and(|raw| raw.reprocess) {
            self.report.typed.reprocessed += 1;
            return;
        }
        if found.is_none_or(|raw| raw.replay) {
            self.report.typed.repeats += 1;
            return;
        }
        let columns = &mut self.report.typed;
        let position = Position::new(number, typed.offset);
        if newest.get(&number).is_some_and(|before| self.reconciliation.dedup.covers(before, typed)) {
            columns.repeats_within += 1;
            self.find(FindingKind::Repeated, Topic::Typed, position, Some(typed.id));
            return;
        }
        let others = newest.iter().filter(|(other, _)| **other != number);
        match others.filter_map(|(&partition, &typed)| history.elsewhere(Copied { partition, typed }, copied)).max() {
            None => columns.repeats += 1,
            Some(Elsewhere::AfterGrowth) => columns.repeats_after_growth += 1,
            Some(Elsewhere::WithoutKey) => {
                columns.repeats_without_key += 1;
                self.find(FindingKind::RepeatedWithoutKey, Topic::Typed, position, Some(typed.id));
            }
            Some(Elsewhere::Unexplained) => {
                columns.repeats_elsewhere += 1;
                self.find(FindingKind::RepeatedElsewhere, Topic::Typed, position, Some(typed.id));
            }
        }
    }
}

impl DedupReach {
    fn covers_times(self, one: &Typed, other: &Typed) -> bool {
        // The transformer compares receive times in whole seconds.
        one.received.abs_diff(other.received) + 1000 < self.window.unsigned_abs()
    }

    /// Whether the dedup window still contained `one` when the transformer wrote `other` to the same partition.
    fn covers(self, one: &Typed, other: &Typed) -> bool {
        self.covers_times(one, other) && one.offset.abs_diff(other.offset) < self.ids.unsigned_abs()
    }
}

/// The history of the partitions, as far as the records show it.
struct History<'b> {
    partitions: &'b BTreeMap<i32, PartitionFacts>,
    dedup: DedupReach,
    /// Partition and time of the first known record, for each partition.
    first_times: OnceCell<Vec<(i32, i64)>>,
    /// For each partition, the offsets of its typed records in ascending order. Each offset is paired with the time by
    /// which its record and all earlier records were written.
    written: OnceCell<HashMap<i32, Vec<(i64, i64)>>>,
}

impl<'b> History<'b> {
    fn of(partitions: &'b BTreeMap<i32, PartitionFacts>, dedup: DedupReach) -> Self {
        Self { partitions, dedup, first_times: OnceCell::new(), written: OnceCell::new() }
    }

    /// Returns why `later` was mapped although `earlier`, a record of the same event in another partition, is within
    /// the dedup window; `None` if `earlier` is outside the window.
    fn elsewhere(&self, earlier: Copied<'_>, later: Copied<'_>) -> Option<Elsewhere> {
        if !self.dedup.covers_times(earlier.typed, later.typed) || !self.covers_offsets(earlier, later) {
            return None;
        }
        Some(match (earlier.typed.key, later.typed.key) {
            (Some(one), Some(other)) if one == other && self.growth_explains(earlier, later, one) => {
                Elsewhere::AfterGrowth
            }
            (Some(_), Some(_)) => Elsewhere::Unexplained,
            (None, _) | (_, None) => Elsewhere::WithoutKey,
        })
    }

    /// Whether the partition of `earlier` grew by fewer than [`DedupReach::ids`] offsets between `earlier` and the time
    /// of `later`.
    fn covers_offsets(&self, earlier: Copied<'_>, later: Copied<'_>) -> bool {
        let written = self.written.get_or_init(|| {
            let offsets = |facts: &PartitionFacts| {
                let mut offsets: Vec<(i64, i64)> = facts.typed.iter().map(|typed| (typed.offset, typed.time)).collect();
                offsets.sort_unstable();
                let mut latest = i64::MIN;
                offsets.iter_mut().for_each(|(_, time)| {
                    latest = latest.max(*time);
                    *time = latest;
                });
                offsets
            };
            self.partitions.iter().map(|(&number, facts)| (number, offsets(facts))).collect()
        });
        let Some(offsets) = written.get(&earlier.partition) else { return true };
        let behind = offsets.partition_point(|&(_, time)| time <= later.typed.time);
        let last = behind.checked_sub(1).map_or(earlier.typed.offset, |index| offsets[index].0);
        last.saturating_sub(earlier.typed.offset) < self.dedup.ids
    }

    /// Whether the key led to both partitions because the raw topic got more partitions between the two deliveries.
    fn growth_explains(&self, one: Copied<'_>, other: Copied<'_>, key: KeyHash) -> bool {
        let now = self.dedup.partitions;
        let grew = |first: Copied<'_>, second: Copied<'_>| {
            let before = (self.at_least(first)..now).find(|&count| key.partition(count) == Some(first.partition));
            before.is_some_and(|before| {
                let from = self.at_least(second).max(before + 1);
                (from..=now).any(|count| key.partition(count) == Some(second.partition))
            })
        };
        match one.typed.received.cmp(&other.typed.received) {
            std::cmp::Ordering::Less => grew(one, other),
            std::cmp::Ordering::Greater => grew(other, one),
            std::cmp::Ordering::Equal => grew(one, other) || grew(other, one),
        }
    }

    /// Returns the minimum number of partitions that the producer of the record knew. The producer knew the partition
    /// of the record, each partition that had a record [`NOTICED_AFTER`] earlier, and all lower partitions.
    fn at_least(&self, record: Copied<'_>) -> u32 {
        let first_times = self.first_times.get_or_init(|| {
            let first = |facts: &PartitionFacts| {
                let raw = facts.raw.iter().map(|raw| raw.time);
                raw.chain(facts.typed.iter().map(|typed| typed.received)).min()
            };
            self.partitions.iter().filter_map(|(&number, facts)| Some((number, first(facts)?))).collect()
        });
        let noticed = record.typed.received.saturating_sub(NOTICED_AFTER);
        let existed = first_times.iter().filter(|(_, first)| *first <= noticed).map(|(number, _)| *number).max();
        u32::try_from(existed.unwrap_or(0).max(record.partition)).unwrap_or(0) + 1
    }
}
