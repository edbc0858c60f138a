//! Tests of records that wait too long for their reader.

use super::*;

#[test]
fn an_unprocessed_record_written_before_late_before_is_reported_as_late() {
    let facts = play(&[vec![(1, Fate::Accepted, 0), (101, Fate::TypedOnly, 0), (102, Fate::Waiting, 0)]], 0);
    let close = |late_before| {
        let mut reconciliation =
            Reconciliation::new(facts.scopes.clone(), facts.receipts_kept, DEDUP).late_before(late_before);
        facts.raw.iter().for_each(|&raw| reconciliation.raw(raw));
        facts.typed.iter().for_each(|&typed| reconciliation.typed(typed));
        facts.receipts.iter().for_each(|&receipt| reconciliation.receipt(receipt));
        reconciliation.classify()
    };
    let young = close(0);
    assert_eq!((young.raw.ahead, young.typed.ahead), (1, 1));
    assert!(young.balances(), "{young:?}");
    let late = close(i64::MAX);
    assert_eq!((late.raw.late, late.typed.late), (1, 1));
    assert_eq!(late.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Late; 2]);
    assert!(!late.balances());
}
