//! Tests of unverifiable outcomes, and of records that expired before they were read.

use super::*;

#[test]
fn a_possible_duplicate_of_an_expired_record_is_unverifiable() {
    let mut facts = three();
    let again =
        RawRecord { position: position(0, 3), id: Some(id(9)), time: 3, reprocess: false, replay: false, check: false };
    facts.raw.push(again);
    *facts.scopes.get_mut(&0).unwrap() = scope(4, 3, 4, 3);
    let mut reconciliation = Reconciliation::new(facts.scopes.clone(), facts.receipts_kept, DEDUP);
    facts.raw.iter().for_each(|&raw| reconciliation.raw(raw));
    facts.typed.iter().for_each(|&typed| reconciliation.typed(typed));
    assert_eq!(reconciliation.missing(), HashSet::from([id(9)]));
    // Older typed records have expired: the raw record may be a duplicate of one of them.
    facts.scopes.get_mut(&0).unwrap().typed_retained = Retained::Since(-500);
    let report = facts.classify();
    assert_eq!((report.raw.expired, report.raw.unexplained), (1, 0));
    // The expired typed records are older than the dedup window, so the raw record cannot be a duplicate of one of
    // them.
    facts.scopes.get_mut(&0).unwrap().typed_retained = Retained::Since(-2500);
    assert_eq!(facts.classify().raw.unexplained, 1);
    // A dead letter of the raw record may have expired.
    facts.scopes.get_mut(&0).unwrap().dead_letters_retained = Retained::Since(4);
    assert_eq!(facts.classify().raw.expired, 1);
}

#[test]
fn a_record_is_unverifiable_only_if_typed_records_of_its_time_may_have_expired() {
    let mut facts = three();
    facts.raw.iter_mut().for_each(|raw| raw.time += 10_000);
    facts.typed.iter_mut().for_each(|typed| typed.time += 10_000);
    facts.typed.remove(0);
    facts.receipts.remove(0);
    facts.scopes.get_mut(&0).unwrap().typed_log_start = 1;
    let since = |facts: &mut Facts, since| {
        facts.scopes.get_mut(&0).unwrap().typed_retained = Retained::Since(since);
        facts.classify()
    };
    let report = since(&mut facts, 10_001);
    assert_eq!((report.raw.expired, report.raw.typed), (1, 2));
    assert!(report.balances());
    // Without typed records, the outcomes are unverifiable if typed records of that time may have expired, and
    // otherwise unexplained.
    facts.typed.clear();
    facts.receipts.clear();
    assert_eq!(since(&mut facts, 10_003).raw.expired, 3);
    assert_eq!(since(&mut facts, 8_000).raw.unexplained, 3);
}

#[test]
fn expired_records_count_as_lost_unless_typed_records_or_receipts_prove_that_they_were_read() {
    // No group has committed an offset: the gateway wrote records long before the other services started.
    let mut facts = Facts { receipts_kept: Receipts::Kept(Retained::Whole), ..play(&[vec![(1, Fate::Waiting, 5)]], 0) };
    facts
        .scopes
        .insert(0, PartitionScope { raw: 5..6, raw_log_start: 5, transformer: None, sink: None, ..scope(6, 0, 0, 0) });
    let report = facts.classify();
    assert_eq!((report.raw.expired_unread, report.typed.expired_unread, report.raw.ahead), (5, 0, 1));
    // The sink has never read, and the first typed record has expired.
    let mut facts = three();
    facts.receipts.clear();
    facts.typed.remove(0);
    facts.scopes.insert(0, PartitionScope { typed: 1..3, typed_log_start: 1, sink: None, ..scope(3, 3, 3, 0) });
    facts.scopes.get_mut(&0).unwrap().typed_retained = Retained::Since(1);
    assert_eq!(facts.classify().typed.expired_unread, 1);
    // The groups' committed offsets were deleted, but typed records and receipts show how far the services have read.
    let mut facts = three();
    facts.scopes.insert(
        0,
        PartitionScope { raw_log_start: 1, typed_log_start: 1, transformer: None, sink: None, ..scope(3, 3, 3, 3) },
    );
    let report = facts.classify();
    assert_eq!((report.raw.expired_unread, report.typed.expired_unread), (0, 0), "{report:?}");
    // Without receipts, the audit does not know how far a sink without a committed offset has read.
    let mut facts = three();
    facts.receipts_kept = Receipts::Off;
    facts.receipts.clear();
    facts.scopes.insert(0, PartitionScope { typed_log_start: 1, sink: None, ..scope(3, 3, 3, 3) });
    assert_eq!(facts.classify().typed.expired_unread, 0);
}

#[test]
fn offsets_that_expired_before_they_were_committed_count_as_lost() {
    let mut facts = three();
    facts.raw.remove(0);
    facts.typed.remove(0);
    facts.scopes.insert(0, PartitionScope { raw: 1..3, raw_log_start: 1, transformer: Some(0), ..scope(3, 3, 3, 3) });
    let report = facts.classify();
    assert_eq!(report.raw.expired_unread, 1);
    assert!(!report.balances());
    facts.scopes.insert(
        0,
        PartitionScope { raw: 1..3, raw_log_start: 1, typed_log_start: 2, sink: Some(1), ..scope(3, 3, 3, 3) },
    );
    assert_eq!(facts.classify().typed.expired_unread, 1);
}
