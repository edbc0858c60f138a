#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};

use contract::receipt::ReceiptVerdict;
use proptest::prelude::*;

use super::*;
use crate::fact::{DeadLetter, DedupReach, KeyHash, RawRecord, Receipt, Resolution, TypedRecord};
use crate::report::TypedColumns;

mod dead_letters;
mod expired;
mod late;
mod repeats;

/// All facts of one history. A test can change them before it classifies them.
#[derive(Debug, Clone)]
struct Facts {
    scopes: BTreeMap<i32, PartitionScope>,
    receipts_kept: Receipts,
    raw: Vec<RawRecord>,
    typed: Vec<TypedRecord>,
    dead_letters: Vec<DeadLetter>,
    resolutions: Vec<Resolution>,
    receipts: Vec<Receipt>,
}

impl Facts {
    fn classify(&self) -> Report {
        let mut reconciliation = Reconciliation::new(self.scopes.clone(), self.receipts_kept, DEDUP);
        self.raw.iter().for_each(|&raw| reconciliation.raw(raw));
        self.typed.iter().for_each(|&typed| reconciliation.typed(typed));
        self.dead_letters.iter().for_each(|&dead_letter| reconciliation.dead_letter(dead_letter));
        self.resolutions.iter().for_each(|&resolution| reconciliation.resolution(resolution));
        self.receipts.iter().for_each(|&receipt| reconciliation.receipt(receipt));
        reconciliation.classify()
    }
}

/// The dedup window of the tests: two seconds, ten records, twelve partitions.
const DEDUP: DedupReach = DedupReach { window: 2000, ids: 10, partitions: 12 };

/// Returns a key whose records go to this partition.
fn key(partition: i32) -> Option<KeyHash> {
    Some(KeyHash(u32::try_from(partition).unwrap() + DEDUP.partitions * 1000))
}

fn id(number: u32) -> IdHash {
    IdHash::of(number.to_string().as_bytes())
}

fn position(partition: i32, offset: i64) -> Position {
    Position::new(partition, offset)
}

/// The outcome that the simulated pipeline gives one raw record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Refused,
    Rejected,
    /// The transformer has processed the record, the sink has not.
    TypedOnly,
    /// No service has processed the record yet.
    Waiting,
}

/// One webhook: the number of its event, its outcome, and how many offsets before it contain no record.
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

/// Simulates the pipeline. It maps or rejects all webhooks of one event the same way, and writes at most one typed
/// record of an event to each partition.
fn play(partitions: &[Vec<Webhook>], resolved: u32) -> Facts {
    let mut facts = Facts {
        scopes: BTreeMap::new(),
        receipts_kept: Receipts::Kept(Retained::Whole),
        raw: Vec::new(),
        typed: Vec::new(),
        dead_letters: Vec::new(),
        resolutions: Vec::new(),
        receipts: Vec::new(),
    };
    for (number, webhooks) in (0..).zip(partitions) {
        let (mut raw_end, mut typed_end, mut dead_letters_end) = (0, 0, 0);
        let (mut transformer, mut sink) = (0, 0);
        let mut seen: HashMap<u32, bool> = HashMap::new();
        for &(event, fate, gap) in webhooks {
            // Makes the event numbers of different partitions distinct.
            let event = event + 1000 * u32::try_from(number).unwrap();
            let raw = position(number, raw_end + gap);
            raw_end = raw.offset.0 + 1;
            let known = seen.get(&event).copied();
            let rejected = known == Some(true) || known.is_none() && fate == Fate::Rejected;
            let hash = (!rejected).then(|| id(event));
            facts.raw.push(RawRecord {
                position: raw,
                id: hash,
                time: raw.offset.0,
                reprocess: false,
                replay: false,
                check: false,
            });
            if fate == Fate::Waiting {
                continue;
            }
            transformer = raw_end;
            seen.entry(event).or_insert(rejected);
            let mut dead_letter = |stage, origin| {
                let at = position(number, dead_letters_end);
                dead_letters_end += 1;
                facts.dead_letters.push(DeadLetter { position: at, stage, origin, rejection: None });
                if at.offset.0 % 3 < i64::from(resolved) {
                    let kind = if at.offset.0 % 2 == 0 { ResolutionKind::Replayed } else { ResolutionKind::Discarded };
                    facts.resolutions.push(Resolution { dead_letter: at, kind });
                }
            };
            if rejected {
                dead_letter(Stage::Transformer, DeadLetterOrigin::Raw(raw));
            } else if known.is_none() {
                let typed = position(number, typed_end + gap);
                typed_end = typed.offset.0 + 1;
                facts.typed.push(TypedRecord {
                    position: typed,
                    raw_offset: Some(raw.offset.0),
                    id: id(event),
                    time: raw.offset.0,
                    received: raw.offset.0,
                    key: key(number),
                    replay: false,
                });
                let mut receipt = |verdict| facts.receipts.push(Receipt { typed, id: id(event), verdict });
                match fate {
                    Fate::Accepted | Fate::Rejected => receipt(ReceiptVerdict::Accepted),
                    Fate::Refused => {
                        receipt(ReceiptVerdict::Refused);
                        dead_letter(Stage::Sink, DeadLetterOrigin::Typed(typed));
                    }
                    Fate::TypedOnly | Fate::Waiting => continue,
                }
                sink = typed_end;
            }
        }
        facts.scopes.insert(number, scope(raw_end, typed_end, transformer, sink));
    }
    facts
}

fn scope(raw_end: i64, typed_end: i64, transformer: i64, sink: i64) -> PartitionScope {
    PartitionScope {
        raw: 0..raw_end,
        typed: 0..typed_end,
        raw_log_start: 0,
        typed_log_start: 0,
        transformer: Some(transformer),
        sink: Some(sink),
        typed_retained: Retained::Whole,
        typed_ever: typed_end > 0,
        dead_letters_retained: Retained::Whole,
    }
}

fn assert_sums(report: &Report) {
    let raw = report.raw;
    let parts = [raw.typed, raw.dead_lettered.total(), raw.duplicates, raw.ahead, raw.expired, raw.unexplained];
    assert_eq!(raw.records, parts.iter().sum::<u64>(), "{raw:?}");
    let typed = report.typed;
    let dead_letters = [typed.dead_lettered, typed.rejected_later].map(DeadLetterCounts::total);
    let others = [typed.accepted, typed.inferred, typed.ahead, typed.expired, typed.unexplained];
    let parts = [&dead_letters[..], &others].concat();
    assert_eq!(typed.records, parts.iter().sum::<u64>(), "{typed:?}");
}

/// Checks that the report has exactly one finding, and returns its kind, topic and position.
fn only(report: &Report) -> (FindingKind, Topic, Position) {
    assert_sums(report);
    assert!(!report.balances());
    let [finding] = report.findings.as_slice() else { panic!("one finding: {:?}", report.findings) };
    (finding.kind, finding.topic, finding.position)
}

proptest! {
    #[test]
    fn the_outcomes_of_any_history_add_up_to_the_number_of_records(partitions in prop::collection::vec(webhooks(), 1..4), resolved in 0..4u32) {
        let facts = play(&partitions, resolved);
        let report = facts.classify();
        assert_sums(&report);
        prop_assert!(report.balances(), "{report:?}");
        prop_assert_eq!(report.raw.records, facts.raw.len() as u64);
        prop_assert_eq!(report.raw.typed, facts.typed.len() as u64);
        prop_assert_eq!(report.typed.records, facts.typed.len() as u64);
        let dead_letters = report.raw.dead_lettered.total() + report.typed.dead_lettered.total();
        prop_assert_eq!(dead_letters, facts.dead_letters.len() as u64);
        prop_assert_eq!(report.typed.repeats + report.typed.inferred + report.raw.expired, 0);
        let accepted = facts.receipts.iter().filter(|receipt| receipt.verdict == ReceiptVerdict::Accepted).count();
        prop_assert_eq!(report.typed.accepted, accepted as u64);
        let open = facts.dead_letters.len() - facts.resolutions.len();
        prop_assert_eq!(report.raw.dead_lettered.open + report.typed.dead_lettered.open, open as u64);
    }

    #[test]
    fn the_report_does_not_depend_on_the_order_of_the_facts(partitions in prop::collection::vec(webhooks(), 1..4), seed in any::<u64>()) {
        let facts = play(&partitions, 2);
        let mut mixed = facts.clone();
        let turn = |length: usize| usize::try_from(seed % (length.max(1) as u64)).unwrap();
        let middle = turn(mixed.raw.len());
        mixed.raw.rotate_left(middle);
        let middle = turn(mixed.typed.len());
        mixed.typed.rotate_left(middle);
        mixed.receipts.reverse();
        mixed.dead_letters.reverse();
        prop_assert_eq!(facts.classify(), mixed.classify());
    }

    #[test]
    fn a_single_missing_record_is_always_reported(partitions in prop::collection::vec(webhooks(), 1..4), which in any::<prop::sample::Index>()) {
        let facts = play(&partitions, 1);
        let duplicated = |raw_offset: i64, partition: i32, hash: IdHash| {
            facts.raw.iter().any(|raw| raw.position.partition.0 == partition && raw.position.offset.0 > raw_offset && raw.id == Some(hash))
        };
        // Removes the typed record of an event without duplicates, because the duplicates would be unexplained as well.
        let committed = |position: Position, group: fn(&PartitionScope) -> Option<i64>| Some(position.offset.0) < group(&facts.scopes[&position.partition.0]);
        let typed: Vec<usize> = (0..facts.typed.len())
            .filter(|&index| {
                let typed = facts.typed[index];
                !duplicated(typed.raw_offset.unwrap(), typed.position.partition.0, typed.id)
            })
            .collect();
        if !typed.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.typed.remove(typed[which.index(typed.len())]);
            let raw = position(lost.position.partition.0, lost.raw_offset.unwrap());
            prop_assert_eq!(only(&broken.classify()), (FindingKind::Unexplained, Topic::Raw, raw));
        }
        // Removes a dead letter.
        if !facts.dead_letters.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.dead_letters.remove(which.index(facts.dead_letters.len()));
            let expected = match lost.origin {
                DeadLetterOrigin::Raw(position) => (FindingKind::Unexplained, Topic::Raw, position),
                DeadLetterOrigin::Typed(position) => (FindingKind::RefusedWithoutDeadLetter, Topic::Typed, position),
                DeadLetterOrigin::None | DeadLetterOrigin::Elsewhere => unreachable!("play writes none"),
            };
            prop_assert_eq!(only(&broken.classify()), expected);
        }
        // Removes the receipt of an accepted record.
        let accepted: Vec<usize> =
            (0..facts.receipts.len()).filter(|&index| facts.receipts[index].verdict == ReceiptVerdict::Accepted).collect();
        if !accepted.is_empty() {
            let mut broken = facts.clone();
            let lost = broken.receipts.remove(accepted[which.index(accepted.len())]);
            prop_assert_eq!(only(&broken.classify()), (FindingKind::Unexplained, Topic::Typed, lost.typed));
        }
        // Moves a group's committed offset past a record that it has not processed.
        let waiting = facts.raw.iter().filter(|raw| !committed(raw.position, |scope| scope.transformer)).min_by_key(|raw| raw.position);
        if let Some(raw) = waiting {
            let mut broken = facts.clone();
            broken.scopes.get_mut(&raw.position.partition.0).unwrap().transformer = Some(raw.position.offset.0 + 1);
            let known = facts.typed.iter().any(|typed| typed.position.partition.0 == raw.position.partition.0 && Some(typed.id) == raw.id);
            if !known {
                prop_assert_eq!(only(&broken.classify()), (FindingKind::Unexplained, Topic::Raw, raw.position));
            }
        }
    }

    #[test]
    fn a_second_outcome_or_an_orphan_typed_record_is_always_reported(partitions in prop::collection::vec(webhooks(), 1..4), which in any::<prop::sample::Index>()) {
        let facts = play(&partitions, 1);
        prop_assume!(!facts.typed.is_empty());
        let typed = facts.typed[which.index(facts.typed.len())];
        let raw = position(typed.position.partition.0, typed.raw_offset.unwrap());
        let behind = position(typed.position.partition.0, facts.scopes[&typed.position.partition.0].typed.end);
        // Adds a second typed record of the same raw record.
        let mut broken = facts.clone();
        broken.typed.push(TypedRecord { position: behind, ..typed });
        let report = broken.classify();
        prop_assert_eq!(only(&report), (FindingKind::Doubled, Topic::Raw, raw));
        prop_assert_eq!(report.raw.doubled, 1);
        // Adds a dead letter of a raw record that has a typed record.
        let mut broken = facts.clone();
        let (at, origin) = (position(raw.partition.0, 10_000), DeadLetterOrigin::Raw(raw));
        broken.dead_letters.push(DeadLetter {
            position: at,
            stage: Stage::Transformer,
            origin,
            rejection: None,
        });
        prop_assert_eq!(only(&broken.classify()), (FindingKind::Doubled, Topic::Raw, raw));
        // Adds a typed record whose raw record does not exist.
        let mut broken = facts;
        broken.scopes.get_mut(&raw.partition.0).unwrap().raw.end += 1;
        let nowhere = broken.scopes[&raw.partition.0].raw.end - 1;
        broken.typed.push(TypedRecord { position: behind, raw_offset: Some(nowhere), id: id(9999), ..typed });
        prop_assert_eq!(only(&broken.classify()), (FindingKind::Orphan, Topic::Typed, behind));
    }
}

/// Three webhooks of three events, all accepted.
fn three() -> Facts {
    play(&[vec![(1, Fate::Accepted, 0), (2, Fate::Accepted, 0), (3, Fate::Accepted, 0)]], 0)
}

#[test]
fn a_typed_record_with_another_event_id_is_reported_as_other_event() {
    let mut facts = three();
    facts.typed[1].id = id(77);
    let report = facts.classify();
    assert_sums(&report);
    // The receipt contains the original event id, so it does not count for the changed typed record.
    let kinds: Vec<_> = report.findings.iter().map(|finding| (finding.kind, finding.position.offset.0)).collect();
    assert_eq!(kinds, [(FindingKind::OtherEvent, 1), (FindingKind::Unexplained, 1)]);
}

#[test]
fn without_receipts_records_before_the_committed_offset_count_as_inferred() {
    let mut facts = three();
    facts.receipts.clear();
    assert_eq!(facts.classify().typed.unexplained, 3);
    facts.receipts_kept = Receipts::Kept(Retained::Since(2));
    let report = facts.classify();
    assert_eq!((report.typed.inferred, report.typed.unexplained), (2, 1));
    facts.receipts_kept = Receipts::Off;
    facts.scopes.get_mut(&0).unwrap().sink = Some(2);
    let report = facts.classify();
    assert_eq!((report.typed.inferred, report.typed.ahead), (2, 1));
    facts.scopes.get_mut(&0).unwrap().sink = None;
    assert_eq!(facts.classify().typed.ahead, 3);
}

#[test]
fn a_repeated_event_is_a_duplicate_unless_its_record_has_the_reprocess_header() {
    let mut facts = three();
    let again =
        RawRecord { position: position(0, 3), id: Some(id(1)), time: 3, reprocess: false, replay: false, check: false };
    facts.raw.push(again);
    *facts.scopes.get_mut(&0).unwrap() = PartitionScope { raw: 3..4, typed: 3..3, ..scope(4, 3, 4, 3) };
    let report = facts.classify();
    assert_eq!((report.raw.records, report.raw.duplicates, report.typed.records), (1, 1, 0));
    assert!(report.balances());
    facts.raw[3].reprocess = true;
    assert_eq!(only(&facts.classify()), (FindingKind::Unexplained, Topic::Raw, position(0, 3)));
    facts.raw[3].reprocess = false;
    // A typed record of a later raw record does not make the record a duplicate.
    facts.typed[0].raw_offset = Some(4);
    assert_eq!(facts.classify().raw.unexplained, 1);
}

#[test]
fn an_event_that_is_mapped_twice_is_reported_only_within_the_dedup_window() {
    let again = |received: i64, typed_offset: i64| {
        let mut facts = three();
        facts.raw.push(RawRecord {
            position: position(0, 3),
            id: Some(id(1)),
            time: received,
            reprocess: false,
            replay: false,
            check: false,
        });
        let typed = TypedRecord {
            position: position(0, typed_offset),
            raw_offset: Some(3),
            time: received,
            received,
            ..facts.typed[0]
        };
        facts.typed.push(typed);
        facts.receipts.push(Receipt { typed: typed.position, id: typed.id, verdict: ReceiptVerdict::Accepted });
        facts.scopes.insert(0, scope(4, typed_offset + 1, 4, typed_offset + 1));
        facts
    };
    assert_eq!(only(&again(900, 3).classify()), (FindingKind::Repeated, Topic::Typed, position(0, 3)));
    for beyond in [again(2100, 3), again(900, 12)] {
        let report = beyond.classify();
        assert!(report.balances(), "{report:?}");
        assert_eq!((report.typed.repeats, report.typed.repeats_within), (1, 0));
    }
}
