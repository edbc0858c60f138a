//! `DEAD_LETTER_LIMIT`: what is over it waits, and nothing else does.

use super::*;

#[test]
fn too_many_dead_letters_wait_and_good_records_of_their_source_end_it() {
    let mut desk = Desk::new(LIMITS);
    (0..7).for_each(|batch| desk.dispatch.offer((batch * 100..batch * 100 + 100).collect()));
    let bad: Vec<u32> = (0..300).filter(|item| item % 100 != 0).collect();
    for _ in 0..3 {
        let (sending, _) = desk.wait();
        desk.accept_all_but(sending, &bad);
    }
    assert_eq!(desk.dispatch.held(), Some(Hold::DeadLetterLimit));
    assert_eq!(desk.condemned.len(), 198);
    while desk.accepted.len() + desk.condemned.len() < 700 {
        let (sending, _) = desk.wait();
        desk.accept_all_but(sending, &bad);
    }
    assert_eq!(desk.condemned.len(), 297, "among enough good ones they are no longer too many");
    assert_eq!(desk.dispatch.held(), None);
}

#[test]
fn one_source_over_the_limit_holds_no_other_and_no_other_code() {
    let mut desk = Desk::new(LIMITS);
    let bad: Vec<u32> = (0..1000).filter(|item| item % 100 != 0).collect();
    (0..10).for_each(|batch| desk.dispatch.offer((batch * 100..batch * 100 + 100).collect()));
    for _ in 0..10 {
        let (sending, _) = desk.wait();
        desk.accept_all_but(sending, &bad);
    }
    assert_eq!((desk.dispatch.held(), desk.condemned.len()), (Some(Hold::DeadLetterLimit), 198));
    // Another source is delivered at once, and its own few refusals become dead letters.
    desk.dispatch.offer((OTHER..OTHER + 10).collect());
    let sending = desk.send();
    desk.accept_all_but(sending, &[OTHER + 3]);
    assert!(desk.accepted.contains(&(OTHER + 9)) && desk.condemned.contains(&(OTHER + 3)));
    // So do those of the same source with another code.
    let unsendable =
        |count| (0..count).map(|item| (item, Sentence::Unsendable(Code::Undecodable, String::new()))).collect();
    assert_eq!(desk.dispatch.condemn(unsendable(50), desk.now).len(), 50);
    // The others wait, and are asked for once in a while.
    assert!(desk.try_send().is_none());
    desk.now += LIMITS.hold_probe;
    let probe = desk.send();
    assert!(desk.try_send().is_none(), "one at a time");
    desk.accept_all_but(probe, &bad);
    assert_eq!((desk.dispatch.held(), desk.condemned.len()), (Some(Hold::DeadLetterLimit), 199));
    // Platform is put right: the next probe ends it for all of them.
    desk.now += LIMITS.hold_probe;
    for _ in 0..8 {
        let (sending, waited) = desk.wait();
        assert_eq!(waited, Duration::ZERO);
        desk.accept_all_but(sending, &[]);
    }
    assert_eq!(desk.dispatch.held(), None);
    assert_eq!((desk.accepted.len(), desk.condemned.len()), (10 + 9 + 8 * 99, 199));
}

#[test]
fn what_waits_for_the_limit_leaves_with_its_partition() {
    let mut desk = Desk::new(LIMITS);
    let judged =
        |range: std::ops::Range<u32>| range.map(|item| (item, Sentence::Refused(400, String::new()))).collect();
    assert!(desk.dispatch.condemn(judged(0..300), desk.now).is_empty());
    let mut gone = desk.dispatch.remove(|item| *item >= 100);
    gone.sort_unstable();
    assert_eq!(gone, (0..100).collect::<Vec<_>>());
    assert_eq!(desk.dispatch.remove(|_| false).len(), 200);
    assert_eq!(desk.dispatch.held(), None);
}
