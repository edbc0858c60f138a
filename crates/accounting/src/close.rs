//! Closing the books: one outcome for each record.

use std::collections::{HashMap, HashSet};

use crate::books::{Books, Partition, Raw, Typed};
use crate::fact::{Evidence, Frame, IdHash, LetterOrigin, Place, Receipts, ResolutionKind, Stage};
use crate::report::{Finding, FindingKind, LetterCounts, Report, Topic};

#[cfg(test)]
mod tests;

/// The outcome of a raw record that neither a typed record nor a dead letter names.
enum Unnamed {
    Ahead,
    Duplicate,
    Expired,
    Unexplained,
}

pub(crate) struct Closing<'b> {
    pub(crate) books: &'b Books,
    pub(crate) report: Report,
    /// Dead letters by the record they were made of.
    transformer_letters: HashMap<Place, Vec<Place>>,
    sink_letters: HashMap<Place, Vec<Place>>,
    platform_letters: HashMap<Place, Vec<Place>>,
}

impl<'b> Closing<'b> {
    pub(crate) fn of(books: &'b mut Books) -> Self {
        for partition in books.partitions.values_mut() {
            partition.raw.sort_unstable_by_key(|raw| raw.offset);
            partition.typed.sort_unstable_by_key(|typed| (typed.raw_offset, typed.offset));
            partition.accepted.sort_unstable();
        }
        Self {
            report: Report::default(),
            transformer_letters: books.by_origin(Stage::Transformer),
            sink_letters: books.by_origin(Stage::Sink),
            platform_letters: books.by_origin(Stage::Platform),
            books,
        }
    }

    pub(crate) fn missing(mut self) -> HashSet<IdHash> {
        let books = self.books;
        let mut missing = HashSet::new();
        for (&number, frame) in &books.frames {
            if let Some(partition) = books.partitions.get(&number) {
                self.raw_records(number, frame, partition, &mut |raw, outcome| {
                    if matches!(outcome, Unnamed::Unexplained | Unnamed::Expired) {
                        missing.extend(raw.id);
                    }
                });
            }
        }
        missing
    }

    pub(crate) fn report(mut self) -> Report {
        let books = self.books;
        let empty = Partition::default();
        for (&number, frame) in &books.frames {
            let partition = books.partitions.get(&number).unwrap_or(&empty);
            let unread =
                |read: Option<i64>, log_start: i64| read.map_or(0, |read| u64::try_from(log_start - read).unwrap_or(0));
            let read = frame.transformer.or_else(|| transformer_has_read(frame, partition));
            self.report.raw.expired_unread += unread(read, frame.raw_log_start);
            let read = frame.sink.or_else(|| self.sink_has_read(number, partition));
            self.report.typed.expired_unread += unread(read, frame.typed_log_start);
            self.raw_records(number, frame, partition, &mut |_, _| {});
            self.typed_records(number, frame, partition);
        }
        self.repeats();
        self.other_letters();
        self.report.findings.sort_unstable_by_key(|finding| (finding.topic, finding.place, finding.kind));
        self.report
    }

    /// How far a sink without committed offset has come, as far as receipts and dead letters tell.
    fn sink_has_read(&self, number: i32, partition: &Partition) -> Option<i64> {
        let accepted = partition.accepted.iter().map(|(offset, _)| *offset);
        let refused = partition.refused.iter().copied();
        let letters = self.sink_letters.keys().filter(|place| place.partition == number).map(|place| place.offset);
        let nothing = (self.books.receipts == Receipts::Kept(Evidence::Whole)).then_some(0);
        accepted.chain(refused).chain(letters).max().map(|offset| offset + 1).or(nothing)
    }

    pub(crate) fn find(&mut self, kind: FindingKind, topic: Topic, place: Place, id: Option<IdHash>) {
        self.report.findings.push(Finding { kind, topic, place, id });
    }

    /// Counts letters by their state: an outcome is open as long as one of its letters is.
    fn count(&self, letters: &[Place], counts: &mut LetterCounts) {
        let states: Vec<_> = letters.iter().map(|letter| self.books.resolutions.get(letter)).collect();
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
        frame: &Frame,
        partition: &Partition,
        unnamed: &mut dyn FnMut(&Raw, &Unnamed),
    ) {
        let mut open: Vec<&Raw> = Vec::new();
        for raw in in_range(&partition.raw, frame) {
            let place = Place { partition: number, offset: raw.offset };
            let made = made_of(&partition.typed, raw.offset);
            let made: Vec<&Typed> = made.iter().filter(|typed| !typed.replay).collect();
            let letters = self.transformer_letters.remove(&place).unwrap_or_default();
            self.report.raw.records += 1;
            self.report.raw.replays += u64::from(raw.replay);
            let outcomes = made.len() + letters.len();
            if outcomes > 1 {
                self.report.raw.doubled += outcomes as u64 - 1;
                self.find(FindingKind::Doubled, Topic::Raw, place, raw.id);
            }
            if let Some(typed) = made.first() {
                if raw.id.is_some_and(|id| id != typed.id) {
                    self.report.raw.unexplained += 1;
                    self.find(FindingKind::OtherEvent, Topic::Raw, place, raw.id);
                } else {
                    self.report.raw.typed += 1;
                }
            } else if !letters.is_empty() {
                let mut counts = self.report.raw.dead_lettered;
                self.count(&letters, &mut counts);
                self.report.raw.dead_lettered = counts;
            } else {
                open.push(raw);
            }
        }
        let earliest = earliest(&partition.typed, &open);
        for raw in open {
            let outcome = self.unnamed(raw, frame, &earliest);
            unnamed(raw, &outcome);
            let columns = &mut self.report.raw;
            match outcome {
                Unnamed::Ahead => {
                    columns.ahead += 1;
                    if raw.time < self.books.late_before {
                        columns.late += 1;
                        let place = Place { partition: number, offset: raw.offset };
                        self.find(FindingKind::Late, Topic::Raw, place, raw.id);
                    }
                }
                Unnamed::Duplicate => columns.duplicates += 1,
                Unnamed::Expired => columns.expired += 1,
                Unnamed::Unexplained => {
                    columns.unexplained += 1;
                    let place = Place { partition: number, offset: raw.offset };
                    self.find(FindingKind::Unexplained, Topic::Raw, place, raw.id);
                }
            }
        }
    }

    fn unnamed(&self, raw: &Raw, frame: &Frame, earliest: &HashMap<IdHash, i64>) -> Unnamed {
        let earlier = raw.id.and_then(|id| earliest.get(&id)).is_some_and(|&offset| offset < raw.offset);
        // Its typed record is no older than itself; that of an event it is a duplicate of, no older than the window.
        let oldest_proof = raw.time - if raw.reprocess { 0 } else { self.books.dedup.window };
        if frame.transformer.is_none_or(|committed| raw.offset >= committed) {
            Unnamed::Ahead
        } else if earlier && !raw.reprocess {
            Unnamed::Duplicate
        } else if frame.typed_evidence.may_lack(oldest_proof) || frame.letter_evidence.may_lack(raw.time) {
            Unnamed::Expired
        } else {
            Unnamed::Unexplained
        }
    }

    fn typed_records(&mut self, number: i32, frame: &Frame, partition: &Partition) {
        for typed in &partition.typed {
            let of_range = frame.raw.contains(&typed.raw_offset);
            if !frame.typed.contains(&typed.offset) && !of_range {
                continue;
            }
            let place = Place { partition: number, offset: typed.offset };
            self.report.typed.records += 1;
            self.report.typed.replays += u64::from(typed.replay);
            self.report.typed.rejected_later += u64::from(self.platform_letters.contains_key(&place));
            let made_of_nothing =
                of_range && partition.raw.binary_search_by_key(&typed.raw_offset, |raw| raw.offset).is_err();
            if typed.raw_offset < 0 || made_of_nothing && !typed.replay {
                self.report.typed.orphans += 1;
                self.find(FindingKind::Orphan, Topic::Typed, place, Some(typed.id));
            }
            self.delivery(place, typed, frame, partition);
        }
    }

    fn delivery(&mut self, place: Place, typed: &Typed, frame: &Frame, partition: &Partition) {
        let accepted = partition.accepted.binary_search(&(typed.offset, typed.id)).is_ok();
        let letters = self.sink_letters.remove(&place);
        if let Some(letters) = &letters {
            self.report.letters.written_again += letters.len() as u64 - 1;
        }
        if accepted {
            self.report.typed.accepted += 1;
            self.report.typed.also_dead_lettered += u64::from(letters.is_some());
        } else if let Some(letters) = letters {
            let mut counts = self.report.typed.dead_lettered;
            self.count(&letters, &mut counts);
            self.report.typed.dead_lettered = counts;
        } else if frame.sink.is_none_or(|committed| typed.offset >= committed) {
            self.report.typed.ahead += 1;
            if typed.time < self.books.late_before {
                self.report.typed.late += 1;
                self.find(FindingKind::Late, Topic::Typed, place, Some(typed.id));
            }
        } else if partition.refused.contains(&typed.offset) {
            if frame.letter_evidence.may_lack(typed.time) {
                self.report.typed.expired += 1;
            } else {
                self.report.typed.unexplained += 1;
                self.find(FindingKind::RefusedWithoutLetter, Topic::Typed, place, Some(typed.id));
            }
        } else if match self.books.receipts {
            Receipts::Off => true,
            Receipts::Kept(evidence) => evidence.may_lack(typed.time),
        } {
            self.report.typed.inferred += 1;
        } else {
            self.report.typed.unexplained += 1;
            self.find(FindingKind::Unexplained, Topic::Typed, place, Some(typed.id));
        }
    }

    fn other_letters(&mut self) {
        for letter in &self.books.letters {
            match letter.origin {
                LetterOrigin::None => {
                    let mut counts = self.report.letters.gateway;
                    self.count(&[letter.place], &mut counts);
                    self.report.letters.gateway = counts;
                }
                LetterOrigin::Elsewhere => self.report.letters.elsewhere += 1,
                LetterOrigin::Raw(_) | LetterOrigin::Typed(_) => {}
            }
        }
    }
}

/// How far a transformer without committed offset has come, as far as the typed topic tells.
fn transformer_has_read(frame: &Frame, partition: &Partition) -> Option<i64> {
    let nothing = (!frame.typed_ever).then_some(0);
    let made = partition.typed.iter().filter(|typed| !typed.replay).map(|typed| typed.raw_offset + 1);
    made.max().or(nothing)
}

/// The raw records of the range.
fn in_range<'p>(raw: &'p [Raw], frame: &Frame) -> &'p [Raw] {
    let from = raw.partition_point(|raw| raw.offset < frame.raw.start);
    let to = raw.partition_point(|raw| raw.offset < frame.raw.end);
    &raw[from..to.max(from)]
}

/// The typed records made of a raw record; `typed` is in the order of their raw offsets.
fn made_of(typed: &[Typed], raw_offset: i64) -> &[Typed] {
    let from = typed.partition_point(|typed| typed.raw_offset < raw_offset);
    let count = typed[from..].iter().take_while(|typed| typed.raw_offset == raw_offset).count();
    &typed[from..from + count]
}

/// The lowest raw offset at which each of these records' events was typed.
fn earliest(typed: &[Typed], wanted: &[&Raw]) -> HashMap<IdHash, i64> {
    let wanted: HashSet<IdHash> = wanted.iter().filter_map(|raw| raw.id).collect();
    let mut earliest = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return earliest;
    }
    for typed in typed.iter().filter(|typed| wanted.contains(&typed.id)) {
        // In the order of their raw offsets: the first is the lowest.
        earliest.entry(typed.id).or_insert(typed.raw_offset);
    }
    earliest
}
