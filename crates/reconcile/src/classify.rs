//! Classification of the facts: finds one outcome for each record.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::Position;
use contract::dead_letter::{ResolutionKind, Stage};

use crate::fact::{DeadLetterOrigin, IdHash, PartitionScope, Receipts, Retained};
use crate::reconciliation::{PartitionFacts, Raw, Reconciliation, Typed};
use crate::report::{DeadLetterCounts, Finding, FindingKind, Report, Topic};

#[cfg(test)]
mod tests;

/// Outcome of a raw record that is not the origin of any typed record or dead letter.
enum Unnamed {
    Ahead,
    Check,
    Duplicate,
    Expired,
    Unexplained,
}

impl Reconciliation {
    /// Returns the events of raw records that would be unexplained or unverifiable now, but may be duplicates of typed
    /// records that have not been added yet.
    #[must_use]
    pub fn missing(&mut self) -> HashSet<IdHash> {
        Classifier::of(self).missing()
    }

    /// Classifies every record in the audited ranges.
    #[must_use]
    pub fn classify(mut self) -> Report {
        Classifier::of(&mut self).report()
    }
}

pub(crate) struct Classifier<'b> {
    pub(crate) reconciliation: &'b Reconciliation,
    pub(crate) report: Report,
    /// Positions of the transformer's dead letters, by the position of their original record.
    transformer_dead_letters: HashMap<Position, Vec<Position>>,
    sink_dead_letters: HashMap<Position, Vec<Position>>,
    platform_dead_letters: HashMap<Position, Vec<Position>>,
}

impl<'b> Classifier<'b> {
    pub(crate) fn of(reconciliation: &'b mut Reconciliation) -> Self {
        for partition in reconciliation.partitions.values_mut() {
            partition.raw.sort_unstable_by_key(|raw| raw.offset);
            partition.typed.sort_unstable_by_key(|typed| (typed.raw_offset, typed.offset));
            partition.accepted.sort_unstable();
        }
        Self {
            report: Report::default(),
            transformer_dead_letters: reconciliation.by_origin(Stage::Transformer),
            sink_dead_letters: reconciliation.by_origin(Stage::Sink),
            platform_dead_letters: reconciliation.by_origin(Stage::Platform),
            reconciliation,
        }
    }

    pub(crate) fn missing(mut self) -> HashSet<IdHash> {
        let reconciliation = self.reconciliation;
        let mut missing = HashSet::new();
        for (&number, scope) in &reconciliation.scopes {
            if let Some(partition) = reconciliation.partitions.get(&number) {
                self.raw_records(number, scope, partition, &mut |raw, outcome| {
                    if matches!(outcome, Unnamed::Unexplained | Unnamed::Expired) {
                        missing.extend(raw.id);
                    }
                });
            }
        }
        missing
    }

    pub(crate) fn report(mut self) -> Report {
        let reconciliation = self.reconciliation;
        let empty = PartitionFacts::default();
        for (&number, scope) in &reconciliation.scopes {
            let partition = reconciliation.partitions.get(&number).unwrap_or(&empty);
            let unread =
                |read: Option<i64>, log_start: i64| read.map_or(0, |read| u64::try_from(log_start - read).unwrap_or(0));
            let read = scope.transformer.or_else(|| transformer_has_read(scope, partition));
            self.report.raw.expired_unread += unread(read, scope.raw_log_start);
            let read = scope.sink.or_else(|| self.sink_has_read(number, partition));
            self.report.typed.expired_unread += unread(read, scope.typed_log_start);
            self.raw_records(number, scope, partition, &mut |_, _| {});
            self.typed_records(number, scope, partition);
        }
        self.repeats();
        self.other_dead_letters();
        self.report.findings.sort_unstable_by_key(|finding| (finding.topic, finding.position, finding.kind));
        self.report
    }

    /// Returns the offset after the last record that a sink without a committed offset has read, according to receipts
    /// and dead letters; `None` if this offset is unknown.
    fn sink_has_read(&self, number: i32, partition: &PartitionFacts) -> Option<i64> {
        let accepted = partition.accepted.iter().map(|(offset, _)| *offset);
        let refused = partition.refused.iter().copied();
        let dead_letters = self
            .sink_dead_letters
            .keys()
            .filter(|position| position.partition.0 == number)
            .map(|position| position.offset.0);
        let nothing = (self.reconciliation.receipts == Receipts::Kept(Retained::Whole)).then_some(0);
        accepted.chain(refused).chain(dead_letters).max().map(|offset| offset + 1).or(nothing)
    }

    pub(crate) fn find(&mut self, kind: FindingKind, topic: Topic, position: Position, id: Option<IdHash>) {
        self.report.findings.push(Finding { kind, topic, position, id });
    }

    /// Counts one outcome by the state of its dead letters: `open` if one of them is unresolved, else `replayed` if one
    /// of them was replayed, else `discarded`.
    fn count(&self, dead_letters: &[Position], counts: &mut DeadLetterCounts) {
        let states: Vec<_> =
            dead_letters.iter().map(|dead_letter| self.reconciliation.resolutions.get(dead_letter)).collect();
        if states.contains(&None) {
            counts.open += 1;
        } else if states.contains(&Some(&ResolutionKind::Replayed)) {
            counts.replayed += 1;
        } else {
            counts.discarded += 1;
        }
    }

    fn raw_records(
        &mut self,
        number: i32,
        scope: &PartitionScope,
        partition: &PartitionFacts,
        unnamed: &mut dyn FnMut(&Raw, &Unnamed),
    ) {
        let mut open: Vec<&Raw> = Vec::new();
        for raw in in_range(&partition.raw, scope) {
            let position = Position::new(number, raw.offset);
            let made = typed_from(&partition.typed, raw.offset);
            let made: Vec<&Typed> = made.iter().filter(|typed| !typed.replay).collect();
            let dead_letters = self.transformer_dead_letters.remove(&position).unwrap_or_default();
            self.report.raw.records += 1;
            self.report.raw.replays += u64::from(raw.replay);
            let outcomes = made.len() + dead_letters.len();
            if outcomes > 1 {
                self.report.raw.doubled += outcomes as u64 - 1;
                self.find(FindingKind::Doubled, Topic::Raw, position, raw.id);
            }
            if let Some(typed) = made.first() {
                if raw.id.is_some_and(|id| id != typed.id) {
                    self.report.raw.unexplained += 1;
                    self.find(FindingKind::OtherEvent, Topic::Raw, position, raw.id);
                } else {
                    self.report.raw.typed += 1;
                }
            } else if !dead_letters.is_empty() {
                let mut counts = self.report.raw.dead_lettered;
                self.count(&dead_letters, &mut counts);
                self.report.raw.dead_lettered = counts;
            } else {
                open.push(raw);
            }
        }
        let earliest = earliest(&partition.typed, &open);
        for raw in open {
            let outcome = self.unnamed(raw, scope, &earliest);
            unnamed(raw, &outcome);
            let columns = &mut self.report.raw;
            match outcome {
                Unnamed::Ahead => {
                    columns.ahead += 1;
                    if raw.time < self.reconciliation.late_before {
                        columns.late += 1;
                        let position = Position::new(number, raw.offset);
                        self.find(FindingKind::Late, Topic::Raw, position, raw.id);
                    }
                }
                Unnamed::Check => columns.checks += 1,
                Unnamed::Duplicate => columns.duplicates += 1,
                Unnamed::Expired => columns.expired += 1,
                Unnamed::Unexplained => {
                    columns.unexplained += 1;
                    let position = Position::new(number, raw.offset);
                    self.find(FindingKind::Unexplained, Topic::Raw, position, raw.id);
                }
            }
        }
    }

    fn unnamed(&self, raw: &Raw, scope: &PartitionScope, earliest: &HashMap<IdHash, i64>) -> Unnamed {
        let earlier = raw.id.and_then(|id| earliest.get(&id)).is_some_and(|&offset| offset < raw.offset);
        // Earliest time of a typed record that can explain this raw record: the time of the raw record or, if it may be a
        // duplicate, one dedup window earlier.
        let oldest_proof = raw.time - if raw.reprocess { 0 } else { self.reconciliation.dedup.window };
        if scope.transformer.is_none_or(|committed| raw.offset >= committed) {
            Unnamed::Ahead
        } else if raw.check {
            Unnamed::Check
        } else if earlier && !raw.reprocess {
            Unnamed::Duplicate
        } else if scope.typed_retained.may_lack(oldest_proof) || scope.dead_letters_retained.may_lack(raw.time) {
            Unnamed::Expired
        } else {
            Unnamed::Unexplained
        }
    }

    fn typed_records(&mut self, number: i32, scope: &PartitionScope, partition: &PartitionFacts) {
        for typed in &partition.typed {
            let of_range = scope.raw.contains(&typed.raw_offset);
            if !scope.typed.contains(&typed.offset) && !of_range {
                continue;
            }
            let position = Position::new(number, typed.offset);
            self.report.typed.records += 1;
            self.report.typed.replays += u64::from(typed.replay);
            let without_raw =
                of_range && partition.raw.binary_search_by_key(&typed.raw_offset, |raw| raw.offset).is_err();
            if typed.raw_offset < 0 || without_raw && !typed.replay {
                self.report.typed.orphans += 1;
                self.find(FindingKind::Orphan, Topic::Typed, position, Some(typed.id));
            }
            self.delivery(position, typed, scope, partition);
        }
    }

    fn delivery(&mut self, position: Position, typed: &Typed, scope: &PartitionScope, partition: &PartitionFacts) {
        let accepted = partition.accepted.binary_search(&(typed.offset, typed.id)).is_ok();
        let dead_letters = self.sink_dead_letters.remove(&position);
        if let Some(dead_letters) = &dead_letters {
            self.report.dead_letters.written_again += dead_letters.len() as u64 - 1;
        }
        if let Some(rejections) = self.platform_dead_letters.remove(&position) {
            // Platform had accepted the record, even if there is no receipt.
            let mut counts = self.report.typed.rejected_later;
            self.count(&rejections, &mut counts);
            self.report.typed.rejected_later = counts;
            self.report.dead_letters.written_again += rejections.len() as u64 - 1;
            self.report.typed.also_dead_lettered += u64::from(dead_letters.is_some());
        } else if accepted {
            self.report.typed.accepted += 1;
            self.report.typed.also_dead_lettered += u64::from(dead_letters.is_some());
        } else if let Some(dead_letters) = dead_letters {
            let mut counts = self.report.typed.dead_lettered;
            self.count(&dead_letters, &mut counts);
            self.report.typed.dead_lettered = counts;
        } else if scope.sink.is_none_or(|committed| typed.offset >= committed) {
            self.report.typed.ahead += 1;
            if typed.time < self.reconciliation.late_before {
                self.report.typed.late += 1;
                self.find(FindingKind::Late, Topic::Typed, position, Some(typed.id));
            }
        } else if partition.refused.contains(&typed.offset) {
            if scope.dead_letters_retained.may_lack(typed.time) {
                self.report.typed.expired += 1;
            } else {
                self.report.typed.unexplained += 1;
                self.find(FindingKind::RefusedWithoutDeadLetter, Topic::Typed, position, Some(typed.id));
            }
        } else if match self.reconciliation.receipts {
            Receipts::Off => true,
            Receipts::Kept(retained) => retained.may_lack(typed.time),
        } {
            self.report.typed.inferred += 1;
        } else {
            self.report.typed.unexplained += 1;
            self.find(FindingKind::Unexplained, Topic::Typed, position, Some(typed.id));
        }
    }

    fn other_dead_letters(&mut self) {
        let mut rows: BTreeMap<Option<IdHash>, Vec<Position>> = BTreeMap::new();
        for dead_letter in &self.reconciliation.dead_letters {
            match dead_letter.origin {
                DeadLetterOrigin::None if dead_letter.stage == Stage::Platform => {
                    rows.entry(dead_letter.rejection).or_default().push(dead_letter.position);
                }
                DeadLetterOrigin::None => {
                    let mut counts = self.report.dead_letters.gateway;
                    self.count(&[dead_letter.position], &mut counts);
                    self.report.dead_letters.gateway = counts;
                }
                DeadLetterOrigin::Elsewhere => self.report.dead_letters.elsewhere += 1,
                DeadLetterOrigin::Raw(_) | DeadLetterOrigin::Typed(_) => {}
            }
        }
        for dead_letters in rows.into_values() {
            let mut counts = self.report.dead_letters.rejected_rows;
            self.count(&dead_letters, &mut counts);
            self.report.dead_letters.rejected_rows = counts;
            self.report.dead_letters.written_again += dead_letters.len() as u64 - 1;
        }
    }
}

/// Returns the offset after the last record that a transformer without a committed offset has read, according to the
/// typed topic; `None` if this offset is unknown.
fn transformer_has_read(scope: &PartitionScope, partition: &PartitionFacts) -> Option<i64> {
    let nothing = (!scope.typed_ever).then_some(0);
    let made = partition.typed.iter().filter(|typed| !typed.replay).map(|typed| typed.raw_offset + 1);
    made.max().or(nothing)
}

/// Returns the raw records in the audited range.
fn in_range<'p>(raw: &'p [Raw], scope: &PartitionScope) -> &'p [Raw] {
    let from = raw.partition_point(|raw| raw.offset < scope.raw.start);
    let to = raw.partition_point(|raw| raw.offset < scope.raw.end);
    &raw[from..to.max(from)]
}

/// Returns the typed records that were mapped from a raw record; `typed` is sorted by raw offset.
fn typed_from(typed: &[Typed], raw_offset: i64) -> &[Typed] {
    let from = typed.partition_point(|typed| typed.raw_offset < raw_offset);
    let count = typed[from..].iter().take_while(|typed| typed.raw_offset == raw_offset).count();
    &typed[from..from + count]
}

/// Returns, for each event of the wanted raw records, the lowest raw offset from which it was mapped.
fn earliest(typed: &[Typed], wanted: &[&Raw]) -> HashMap<IdHash, i64> {
    let wanted: HashSet<IdHash> = wanted.iter().filter_map(|raw| raw.id).collect();
    let mut earliest = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return earliest;
    }
    for typed in typed.iter().filter(|typed| wanted.contains(&typed.id)) {
        // The records are sorted by raw offset, so the first one has the lowest.
        earliest.entry(typed.id).or_insert(typed.raw_offset);
    }
    earliest
}
