//! What cannot be proven any more, and what expired before it was read.

use super::*;

#[test]
fn what_may_be_a_duplicate_of_an_expired_record_is_asked_for_and_not_called_lost() {
    let mut facts = three();
    let again = RawRecord { place: place(0, 3), id: Some(id(9)), time: 3, reprocess: false, replay: false };
    facts.raw.push(again);
    *facts.frames.get_mut(&0).unwrap() = frame(4, 3, 4, 3);
    let mut books = Books::new(facts.frames.clone(), facts.receipts_kept, DEDUP);
    facts.raw.iter().for_each(|&raw| books.raw(raw));
    facts.typed.iter().for_each(|&typed| books.typed(typed));
    assert_eq!(books.missing(), HashSet::from([id(9)]));
    // Older typed records have expired: it may have been a duplicate of one of them.
    facts.frames.get_mut(&0).unwrap().typed_evidence = Evidence::Since(-500);
    let report = facts.close();
    assert_eq!((report.raw.expired, report.raw.unexplained), (1, 0));
    // They lie further back than the dedup window reaches.
    facts.frames.get_mut(&0).unwrap().typed_evidence = Evidence::Since(-2500);
    assert_eq!(facts.close().raw.unexplained, 1);
    // A dead letter may have expired.
    facts.frames.get_mut(&0).unwrap().letter_evidence = Evidence::Since(4);
    assert_eq!(facts.close().raw.expired, 1);
}

#[test]
fn what_lies_before_the_oldest_typed_record_is_lost_unless_typed_records_of_its_time_have_expired() {
    let mut facts = three();
    facts.raw.iter_mut().for_each(|raw| raw.time += 10_000);
    facts.typed.iter_mut().for_each(|typed| typed.time += 10_000);
    facts.typed.remove(0);
    facts.receipts.remove(0);
    facts.frames.get_mut(&0).unwrap().typed_log_start = 1;
    let since = |facts: &mut Facts, since| {
        facts.frames.get_mut(&0).unwrap().typed_evidence = Evidence::Since(since);
        facts.close()
    };
    let report = since(&mut facts, 10_001);
    assert_eq!((report.raw.expired, report.raw.typed), (1, 2));
    assert!(report.balances());
    // All that was written in its time is still there, nothing at all among it.
    facts.typed.clear();
    facts.receipts.clear();
    assert_eq!(since(&mut facts, 10_003).raw.expired, 3);
    assert_eq!(since(&mut facts, 8_000).raw.unexplained, 3);
}

#[test]
fn what_expired_before_a_group_committed_anything_is_a_loss_if_nothing_says_that_it_had_been_read() {
    // Nobody has ever read: the gateway was there long before the others.
    let mut facts = Facts { receipts_kept: Receipts::Kept(Evidence::Whole), ..play(&[vec![(1, Fate::Waiting, 5)]], 0) };
    facts.frames.insert(0, Frame { raw: 5..6, raw_log_start: 5, transformer: None, sink: None, ..frame(6, 0, 0, 0) });
    let report = facts.close();
    assert_eq!((report.raw.expired_unread, report.typed.expired_unread, report.raw.ahead), (5, 0, 1));
    // A sink that came late.
    let mut facts = three();
    facts.receipts.clear();
    facts.typed.remove(0);
    facts.frames.insert(0, Frame { typed: 1..3, typed_log_start: 1, sink: None, ..frame(3, 3, 3, 0) });
    facts.frames.get_mut(&0).unwrap().typed_evidence = Evidence::Since(1);
    assert_eq!(facts.close().typed.expired_unread, 1);
    // One whose group was forgotten has left receipts.
    let mut facts = three();
    facts
        .frames
        .insert(0, Frame { raw_log_start: 1, typed_log_start: 1, transformer: None, sink: None, ..frame(3, 3, 3, 3) });
    let report = facts.close();
    assert_eq!((report.raw.expired_unread, report.typed.expired_unread), (0, 0), "{report:?}");
    // Without receipts nobody can tell.
    let mut facts = three();
    facts.receipts_kept = Receipts::Off;
    facts.receipts.clear();
    facts.frames.insert(0, Frame { typed_log_start: 1, sink: None, ..frame(3, 3, 3, 3) });
    assert_eq!(facts.close().typed.expired_unread, 0);
}

#[test]
fn records_that_expired_before_they_were_read_are_a_loss() {
    let mut facts = three();
    facts.raw.remove(0);
    facts.typed.remove(0);
    facts.frames.insert(0, Frame { raw: 1..3, raw_log_start: 1, transformer: Some(0), ..frame(3, 3, 3, 3) });
    let report = facts.close();
    assert_eq!(report.raw.expired_unread, 1);
    assert!(!report.balances());
    facts
        .frames
        .insert(0, Frame { raw: 1..3, raw_log_start: 1, typed_log_start: 2, sink: Some(1), ..frame(3, 3, 3, 3) });
    assert_eq!(facts.close().typed.expired_unread, 1);
}
