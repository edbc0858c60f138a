//! Tests that the records over `DEAD_LETTER_LIMIT` wait and that all other records do not.

use super::*;

#[test]
fn records_over_the_limit_wait_until_enough_records_of_their_source_are_accepted() {
    let mut harness = Harness::new(LIMITS);
    (0..7).for_each(|batch| harness.dispatch.offer((batch * 100..batch * 100 + 100).collect()));
    let bad: Vec<u32> = (0..300).filter(|item| item % 100 != 0).collect();
    for _ in 0..3 {
        let (sending, _) = harness.wait();
        harness.accept_all_but(sending, &bad);
    }
    assert_eq!(harness.dispatch.held(), Some(Hold::DeadLetterLimit));
    assert_eq!(harness.dead_letters.len(), 198);
    for _ in 0..1000 {
        if harness.accepted.len() + harness.dead_letters.len() == 700 {
            break;
        }
        let (sending, _) = harness.wait();
        harness.accept_all_but(sending, &bad);
    }
    assert_eq!(harness.dead_letters.len(), 297, "their share fell below the limit");
    assert_eq!(harness.dispatch.held(), None);
}

#[test]
fn a_source_over_the_limit_does_not_hold_other_sources_or_other_codes() {
    let mut harness = Harness::new(LIMITS);
    let bad: Vec<u32> = (0..1000).filter(|item| item % 100 != 0).collect();
    (0..10).for_each(|batch| harness.dispatch.offer((batch * 100..batch * 100 + 100).collect()));
    for _ in 0..10 {
        let (sending, _) = harness.wait();
        harness.accept_all_but(sending, &bad);
    }
    assert_eq!((harness.dispatch.held(), harness.dead_letters.len()), (Some(Hold::DeadLetterLimit), 198));
    // Another source is delivered at once, and its few refused records become dead letters. Counted together with those
    // of the first source, they would exceed the limit.
    harness.dispatch.offer((OTHER..OTHER + 10).collect());
    let sending = harness.send();
    let bad_of_other: Vec<u32> = (OTHER..OTHER + 4).collect();
    harness.accept_all_but(sending, &bad_of_other);
    assert!(harness.accepted.contains(&(OTHER + 9)));
    assert!(bad_of_other.iter().all(|item| harness.dead_letters.contains(item)), "{:?}", harness.dispatch.held());
    // Records of the first source with another code become dead letters too.
    let unsendable =
        |count| (0..count).map(|item| (item, DeadLetterReason::Unsendable(Code::Undecodable, String::new()))).collect();
    assert_eq!(harness.dispatch.dead_letter(unsendable(50), harness.now).len(), 50);
    // The held records wait, and one batch of them is sent at each probe.
    assert!(harness.try_send().is_none());
    harness.now += LIMITS.hold_probe;
    let probe = harness.send();
    assert!(harness.try_send().is_none(), "only one probe at a time");
    harness.accept_all_but(probe, &bad);
    assert_eq!((harness.dispatch.held(), harness.dead_letters.len()), (Some(Hold::DeadLetterLimit), 202));
    // Platform accepts these records now: the next probe ends the hold for all of them.
    harness.now += LIMITS.hold_probe;
    for _ in 0..8 {
        let (sending, waited) = harness.wait();
        assert_eq!(waited, Duration::ZERO);
        harness.accept_all_but(sending, &[]);
    }
    assert_eq!(harness.dispatch.held(), None);
    assert_eq!((harness.accepted.len(), harness.dead_letters.len()), (10 + 6 + 8 * 99, 202));
}

#[test]
fn records_over_the_limit_are_removed_when_their_partition_is_revoked() {
    let mut harness = Harness::new(LIMITS);
    let rejected =
        |range: std::ops::Range<u32>| range.map(|item| (item, DeadLetterReason::Refused(400, String::new()))).collect();
    assert!(harness.dispatch.dead_letter(rejected(0..300), harness.now).is_empty());
    let mut gone = harness.dispatch.remove(|item| *item >= 100);
    gone.sort_unstable();
    assert_eq!(gone, (0..100).collect::<Vec<_>>());
    assert_eq!(harness.dispatch.remove(|_| false).len(), 200);
    assert_eq!(harness.dispatch.held(), None);
}
