#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::{
    DedupReach, KeyHash, Letter, LetterOrigin, RawRecord, Receipt, Resolution, TypedColumns, TypedRecord, Verdict,
};

mod expired;
mod repeats;

/// Every fact of one history, so that one can be taken away or forged before the books are closed.
#[derive(Debug, Clone)]
struct Facts {
    frames: BTreeMap<i32, Frame>,
    receipts_kept: Receipts,
    raw: Vec<RawRecord>,
    typed: Vec<TypedRecord>,
    letters: Vec<Letter>,
    resolutions: Vec<Resolution>,
    receipts: Vec<Receipt>,
}

impl Facts {
    fn close(&self) -> Report {
        let mut books = Books::new(self.frames.clone(), self.receipts_kept, DEDUP);
        self.raw.iter().for_each(|&raw| books.raw(raw));
        self.typed.iter().for_each(|&typed| books.typed(typed));
        self.letters.iter().for_each(|&letter| books.letter(letter));
        self.resolutions.iter().for_each(|&resolution| books.resolution(resolution));
        self.receipts.iter().for_each(|&receipt| books.receipt(receipt));
        books.close()
    }
}

/// Two seconds, ten records, twelve partitions.
const DEDUP: DedupReach = DedupReach { window: 2000, ids: 10, partitions: 12 };

/// A key whose records go to this partition.
fn key(partition: i32) -> Option<KeyHash> {
    Some(KeyHash(u32::try_from(partition).unwrap() + DEDUP.partitions * 1000))
}

fn id(number: u32) -> IdHash {
    IdHash::of(number.to_string().as_bytes())
}

fn place(partition: i32, offset: i64) -> Place {
    Place { partition, offset }
}

/// What becomes of one raw record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Refused,
    Rejected,
    /// The transformer is there, the sink is not.
    TypedOnly,
    /// Nobody is there yet.
    Waiting,
}

/// One webhook: the number of its event, its fate, and how many offsets before it hold no record.
type Webhook = (u32, Fate, i64);

fn webhooks() -> impl Strategy<Value = Vec<Webhook>> {
    let done = prop_oneof![5 => Just(Fate::Accepted), 1 => Just(Fate::Refused), 1 => Just(Fate::Rejected)];
    let gap = prop_oneof![8 => Just(0i64), 1 => 1..5i64];
    (prop::collection::vec((0..40u32, done, gap), 0..60), prop::collection::vec((0..40u32, 0..4i64), 0..6), 0..6usize)
        .prop_map(|(done, rest, waiting)| {
            let typed_only = rest.len().saturating_sub(waiting);
            let rest = rest.into_iter().enumerate().map(|(index, (event, gap))| {
                (event + 100, if index < typed_only { Fate::TypedOnly } else { Fate::Waiting }, gap)
            });
            done.into_iter().chain(rest).collect()
        })
}

/// The pipeline, played: each event number is mapped or rejected alike each time, and typed once within the partition.
fn play(partitions: &[Vec<Webhook>], resolved: u32) -> Facts {
    let mut facts = Facts {
        frames: BTreeMap::new(),
        receipts_kept: Receipts::Kept(Evidence::Whole),
        raw: Vec::new(),
        typed: Vec::new(),
        letters: Vec::new(),
        resolutions: Vec::new(),
        receipts: Vec::new(),
    };
    for (number, webhooks) in (0..).zip(partitions) {
        let (mut raw_end, mut typed_end, mut letters_end) = (0, 0, 0);
        let (mut transformer, mut sink) = (0, 0);
        let mut seen: HashMap<u32, bool> = HashMap::new();
        for &(event, fate, gap) in webhooks {
            // Events of different partitions differ.
            let event = event + 1000 * u32::try_from(number).unwrap();
            let raw = place(number, raw_end + gap);
            raw_end = raw.offset + 1;
            let known = seen.get(&event).copied();
            let rejected = known == Some(true) || known.is_none() && fate == Fate::Rejected;
            let hash = (!rejected).then(|| id(event));
            facts.raw.push(RawRecord { place: raw, id: hash, time: raw.offset, reprocess: false, replay: false });
            if fate == Fate::Waiting {
                continue;
            }
            transformer = raw_end;
            seen.entry(event).or_insert(rejected);
            let mut letter = |stage, origin| {
                let letter = Letter { place: place(number, letters_end), stage, origin };
                letters_end += 1;
                facts.letters.push(letter);
                if letter.place.offset % 3 < i64::from(resolved) {
                    let kind =
                        if letter.place.offset % 2 == 0 { ResolutionKind::Replayed } else { ResolutionKind::Discarded };
                    facts.resolutions.push(Resolution { letter: letter.place, kind });
                }
            };
            if rejected {
                letter(Stage::Transformer, LetterOrigin::Raw(raw));
            } else if known.is_none() {
                let typed = place(number, typed_end + gap);
                typed_end = typed.offset + 1;
                facts.typed.push(TypedRecord {
                    place: typed,
                    raw_offset: Some(raw.offset),
                    id: id(event),
                    time: raw.offset,
                    received: raw.offset,
                    key: key(number),
                    replay: false,
                });
                let mut receipt = |verdict| facts.receipts.push(Receipt { typed, id: id(event), verdict });
                match fate {
                    Fate::Accepted | Fate::Rejected => receipt(Verdict::Accepted),
                    Fate::Refused => {
                        receipt(Verdict::Refused);
                        letter(Stage::Sink, LetterOrigin::Typed(typed));
                    }
                    Fate::TypedOnly | Fate::Waiting => continue,
                }
                sink = typed_end;
            }
        }
        facts.frames.insert(number, frame(raw_end, typed_end, transformer, sink));
    }
    facts
}

fn frame(raw_end: i64, typed_end: i64, transformer: i64, sink: i64) -> Frame {
    Frame {
        raw: 0..raw_end,
        typed: 0..typed_end,
        raw_log_start: 0,
        typed_log_start: 0,
        transformer: Some(transformer),
        sink: Some(sink),
        typed_evidence: Evidence::Whole,
        typed_ever: typed_end > 0,
        letter_evidence: Evidence::Whole,
    }
}

fn assert_sums(report: &Report) {
    let raw = report.raw;
    let parts = [raw.typed, raw.dead_lettered.total(), raw.duplicates, raw.ahead, raw.expired, raw.unexplained];
    assert_eq!(raw.records, parts.iter().sum::<u64>(), "{raw:?}");
    let typed = report.typed;
    let parts =
        [typed.accepted, typed.inferred, typed.dead_lettered.total(), typed.ahead, typed.expired, typed.unexplained];
    assert_eq!(typed.records, parts.iter().sum::<u64>(), "{typed:?}");
}

/// The one finding there is.
fn only(report: &Report) -> (FindingKind, Topic, Place) {
    assert_sums(report);
    assert!(!report.balances());
    let [finding] = report.findings.as_slice() else { panic!("one finding: {:?}", report.findings) };
    (finding.kind, finding.topic, finding.place)
}

proptest! {
    #[test]
    fn any_history_balances(partitions in prop::collection::vec(webhooks(), 1..4), resolved in 0..4u32) {
        let facts = play(&partitions, resolved);
        let report = facts.close();
        assert_sums(&report);
        prop_assert!(report.balances(), "{report:?}");
        prop_assert_eq!(report.raw.records, facts.raw.len() as u64);
        prop_assert_eq!(report.raw.typed, facts.typed.len() as u64);
        prop_assert_eq!(report.typed.records, facts.typed.len() as u64);
        let letters = report.raw.dead_lettered.total() + report.typed.dead_lettered.total();
        prop_assert_eq!(letters, facts.letters.len() as u64);
        prop_assert_eq!(report.typed.repeats + report.typed.inferred + report.raw.expired, 0);
        let accepted = facts.receipts.iter().filter(|receipt| receipt.verdict == Verdict::Accepted).count();
        prop_assert_eq!(report.typed.accepted, accepted as u64);
        let open = facts.letters.len() - facts.resolutions.len();
        prop_assert_eq!(report.raw.dead_lettered.open + report.typed.dead_lettered.open, open as u64);
    }

    #[test]
    fn the_order_of_the_facts_does_not_matter(partitions in prop::collection::vec(webhooks(), 1..4), seed in any::<u64>()) {
        let facts = play(&partitions, 2);
        let mut mixed = facts.clone();
        let turn = |length: usize| usize::try_from(seed % (length.max(1) as u64)).unwrap();
        let middle = turn(mixed.raw.len());
        mixed.raw.rotate_left(middle);
        let middle = turn(mixed.typed.len());
        mixed.typed.rotate_left(middle);
        mixed.receipts.reverse();
        mixed.letters.reverse();
        prop_assert_eq!(facts.close(), mixed.close());
    }

    #[test]
    fn one_loss_is_always_named(partitions in prop::collection::vec(webhooks(), 1..4), which in any::<prop::sample::Index>()) {
        let facts = play(&partitions, 1);
        let duplicated = |raw_offset: i64, partition: i32, hash: IdHash| {
            facts.raw.iter().any(|raw| raw.place.partition == partition && raw.place.offset > raw_offset && raw.id == Some(hash))
        };
        // A typed record is missing. Duplicates of it would be unexplained as well.
        let committed = |place: Place, group: fn(&Frame) -> Option<i64>| Some(place.offset) < group(&facts.frames[&place.partition]);
        let typed: Vec<usize> = (0..facts.typed.len())
            .filter(|&index| {
                let typed = facts.typed[index];
                !duplicated(typed.raw_offset.unwrap(), typed.place.partition, typed.id)
            })
            .collect();
        if !typed.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.typed.remove(typed[which.index(typed.len())]);
            let raw = place(lost.place.partition, lost.raw_offset.unwrap());
            prop_assert_eq!(only(&broken.close()), (FindingKind::Unexplained, Topic::Raw, raw));
        }
        // A dead letter is missing.
        if !facts.letters.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.letters.remove(which.index(facts.letters.len()));
            let expected = match lost.origin {
                LetterOrigin::Raw(place) => (FindingKind::Unexplained, Topic::Raw, place),
                LetterOrigin::Typed(place) => (FindingKind::RefusedWithoutLetter, Topic::Typed, place),
                LetterOrigin::None | LetterOrigin::Elsewhere => unreachable!("play writes none"),
            };
            prop_assert_eq!(only(&broken.close()), expected);
        }
        // A receipt of an accepted record is missing.
        let accepted: Vec<usize> =
            (0..facts.receipts.len()).filter(|&index| facts.receipts[index].verdict == Verdict::Accepted).collect();
        if !accepted.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.receipts.remove(accepted[which.index(accepted.len())]);
            prop_assert_eq!(only(&broken.close()), (FindingKind::Unexplained, Topic::Typed, lost.typed));
        }
        // A group stands behind a record it has not worked on.
        let waiting = facts.raw.iter().filter(|raw| !committed(raw.place, |frame| frame.transformer)).min_by_key(|raw| raw.place);
        if let Some(raw) = waiting {
            let mut broken = facts.clone();
            broken.frames.get_mut(&raw.place.partition).unwrap().transformer = Some(raw.place.offset + 1);
            let known = facts.typed.iter().any(|typed| typed.place.partition == raw.place.partition && Some(typed.id) == raw.id);
            if !known {
                prop_assert_eq!(only(&broken.close()), (FindingKind::Unexplained, Topic::Raw, raw.place));
            }
        }
    }

    #[test]
    fn one_double_is_always_named(partitions in prop::collection::vec(webhooks(), 1..4), which in any::<prop::sample::Index>()) {
        let facts = play(&partitions, 1);
        prop_assume!(!facts.typed.is_empty());
        let typed = facts.typed[which.index(facts.typed.len())];
        let raw = place(typed.place.partition, typed.raw_offset.unwrap());
        let behind = place(typed.place.partition, facts.frames[&typed.place.partition].typed.end);
        // Typed twice.
        let mut broken = facts.clone();
        broken.typed.push(TypedRecord { place: behind, ..typed });
        let report = broken.close();
        prop_assert_eq!(only(&report), (FindingKind::Doubled, Topic::Raw, raw));
        prop_assert_eq!(report.raw.doubled, 1);
        // Typed and dead-lettered.
        let mut broken = facts.clone();
        let letter = Letter { place: place(raw.partition, 10_000), stage: Stage::Transformer, origin: LetterOrigin::Raw(raw) };
        broken.letters.push(letter);
        prop_assert_eq!(only(&broken.close()), (FindingKind::Doubled, Topic::Raw, raw));
        // Made of a record that is not there.
        let mut broken = facts;
        broken.frames.get_mut(&raw.partition).unwrap().raw.end += 1;
        let nowhere = broken.frames[&raw.partition].raw.end - 1;
        broken.typed.push(TypedRecord { place: behind, raw_offset: Some(nowhere), id: id(9999), ..typed });
        prop_assert_eq!(only(&broken.close()), (FindingKind::Orphan, Topic::Typed, behind));
    }
}

/// Three webhooks of three events, all accepted.
fn three() -> Facts {
    play(&[vec![(1, Fate::Accepted, 0), (2, Fate::Accepted, 0), (3, Fate::Accepted, 0)]], 0)
}

#[test]
fn a_typed_record_with_another_event_explains_nothing() {
    let mut facts = three();
    facts.typed[1].id = id(77);
    let report = facts.close();
    assert_sums(&report);
    // Its receipt is for the event that was to be there.
    let kinds: Vec<_> = report.findings.iter().map(|finding| (finding.kind, finding.place.offset)).collect();
    assert_eq!(kinds, [(FindingKind::OtherEvent, 1), (FindingKind::Unexplained, 1)]);
}

#[test]
fn without_receipts_acceptance_is_inferred_from_the_committed_offset_only() {
    let mut facts = three();
    facts.receipts.clear();
    assert_eq!(facts.close().typed.unexplained, 3);
    facts.receipts_kept = Receipts::Kept(Evidence::Since(2));
    let report = facts.close();
    assert_eq!((report.typed.inferred, report.typed.unexplained), (2, 1));
    facts.receipts_kept = Receipts::Off;
    facts.frames.get_mut(&0).unwrap().sink = Some(2);
    let report = facts.close();
    assert_eq!((report.typed.inferred, report.typed.ahead), (2, 1));
    facts.frames.get_mut(&0).unwrap().sink = None;
    assert_eq!(facts.close().typed.ahead, 3);
}

#[test]
fn duplicates_count_wherever_the_earlier_record_lies_but_never_with_reprocess() {
    let mut facts = three();
    let again = RawRecord { place: place(0, 3), id: Some(id(1)), time: 3, reprocess: false, replay: false };
    facts.raw.push(again);
    *facts.frames.get_mut(&0).unwrap() = Frame { raw: 3..4, typed: 3..3, ..frame(4, 3, 4, 3) };
    let report = facts.close();
    assert_eq!((report.raw.records, report.raw.duplicates, report.typed.records), (1, 1, 0));
    assert!(report.balances());
    facts.raw[3].reprocess = true;
    assert_eq!(only(&facts.close()), (FindingKind::Unexplained, Topic::Raw, place(0, 3)));
    facts.raw[3].reprocess = false;
    // A later record explains no earlier one.
    facts.typed[0].raw_offset = Some(4);
    assert_eq!(facts.close().raw.unexplained, 1);
}

#[test]
fn what_was_typed_again_is_a_breach_within_the_window_and_a_repeat_beyond_it() {
    let again = |received: i64, typed_offset: i64| {
        let mut facts = three();
        facts.raw.push(RawRecord {
            place: place(0, 3),
            id: Some(id(1)),
            time: received,
            reprocess: false,
            replay: false,
        });
        let typed = TypedRecord {
            place: place(0, typed_offset),
            raw_offset: Some(3),
            time: received,
            received,
            ..facts.typed[0]
        };
        facts.typed.push(typed);
        facts.receipts.push(Receipt { typed: typed.place, id: typed.id, verdict: Verdict::Accepted });
        facts.frames.insert(0, frame(4, typed_offset + 1, 4, typed_offset + 1));
        facts
    };
    assert_eq!(only(&again(900, 3).close()), (FindingKind::Repeated, Topic::Typed, place(0, 3)));
    for beyond in [again(2100, 3), again(900, 12)] {
        let report = beyond.close();
        assert!(report.balances(), "{report:?}");
        assert_eq!((report.typed.repeats, report.typed.repeats_within), (1, 0));
    }
}

#[test]
fn replays_and_repeats_have_columns_of_their_own() {
    // Event 1 came again: beyond the dedup window, then with `reprocess`; event 2's typed record was written again.
    let mut facts = three();
    for (offset, reprocess) in [(3, false), (4, true)] {
        facts.raw.push(RawRecord {
            place: place(0, offset),
            id: Some(id(1)),
            time: offset,
            reprocess,
            replay: reprocess,
        });
        let received = offset * 10_000;
        let typed =
            TypedRecord { place: place(0, offset), raw_offset: Some(offset), time: offset, received, ..facts.typed[0] };
        facts.typed.push(typed);
    }
    facts.typed.push(TypedRecord { place: place(0, 5), replay: true, time: 5, ..facts.typed[1] });
    for offset in 3..6 {
        let of = facts.typed[usize::try_from(offset).unwrap()];
        facts.receipts.push(Receipt { typed: of.place, id: of.id, verdict: Verdict::Accepted });
    }
    facts.frames.insert(0, frame(5, 6, 5, 6));
    let report = facts.close();
    assert_sums(&report);
    assert!(report.balances(), "{report:?}");
    let expected =
        TypedColumns { records: 6, accepted: 6, replays: 1, repeats: 1, reprocessed: 1, ..TypedColumns::default() };
    assert_eq!(report.typed, expected);
    assert_eq!((report.raw.replays, report.raw.doubled), (1, 0));
}

#[test]
fn letters_of_gateway_and_platform_and_second_ones_of_the_sink_are_counted_apart() {
    let mut facts = play(&[vec![(1, Fate::Accepted, 0), (2, Fate::Refused, 0)]], 0);
    let sink_letter = facts.letters[0];
    let letter = |offset, stage, origin| Letter { place: place(0, offset), stage, origin };
    facts.letters.extend([
        Letter { place: place(0, 1), ..sink_letter },
        letter(2, Stage::Platform, LetterOrigin::Typed(place(0, 0))),
        letter(3, Stage::Gateway, LetterOrigin::None),
        letter(4, Stage::Sink, LetterOrigin::Elsewhere),
        letter(5, Stage::Sink, LetterOrigin::Typed(place(0, 0))),
    ]);
    let closed = |offset, kind| Resolution { letter: place(0, offset), kind };
    facts.resolutions.extend([closed(0, ResolutionKind::Replayed), closed(3, ResolutionKind::Discarded)]);
    let report = facts.close();
    assert!(report.balances());
    assert_eq!((report.letters.written_again, report.letters.elsewhere), (1, 1));
    assert_eq!(report.letters.gateway, LetterCounts { discarded: 1, ..LetterCounts::default() });
    assert_eq!((report.typed.rejected_later, report.typed.accepted, report.typed.also_dead_lettered), (1, 1, 1));
    // One of its two letters is open.
    assert_eq!(report.typed.dead_lettered, LetterCounts { open: 1, ..LetterCounts::default() });
    facts.resolutions.push(closed(1, ResolutionKind::Discarded));
    assert_eq!(facts.close().typed.dead_lettered, LetterCounts { replayed: 1, ..LetterCounts::default() });
}

#[test]
fn what_is_ahead_is_late_once_it_was_written_too_long_ago() {
    let facts = play(&[vec![(1, Fate::Accepted, 0), (101, Fate::TypedOnly, 0), (102, Fate::Waiting, 0)]], 0);
    let close = |late_before| {
        let mut books = Books::new(facts.frames.clone(), facts.receipts_kept, DEDUP).late_before(late_before);
        facts.raw.iter().for_each(|&raw| books.raw(raw));
        facts.typed.iter().for_each(|&typed| books.typed(typed));
        facts.receipts.iter().for_each(|&receipt| books.receipt(receipt));
        books.close()
    };
    let young = close(0);
    assert_eq!((young.raw.ahead, young.typed.ahead), (1, 1));
    assert!(young.balances(), "{young:?}");
    let late = close(i64::MAX);
    assert_eq!((late.raw.late, late.typed.late), (1, 1));
    assert_eq!(late.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Late; 2]);
    assert!(!late.balances());
}
