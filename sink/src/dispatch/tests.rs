//! Single rules, and (in `any_answers`) what holds for every sequence of answers.

use std::collections::BTreeSet;

use platform::{RecordVerdict, RetryReason, Verdict};

use super::*;

mod over_limit;

mod any_answers;

const LIMITS: Limits = Limits {
    in_flight: 8,
    requests_per_second: 0,
    records_per_second: 0,
    condemn_after: Duration::from_secs(60),
    hold_probe: Duration::from_secs(30),
    dead_letters: DeadLetterLimit::HALF,
};

impl Sourced for u32 {
    fn source(&self) -> &str {
        if *self < OTHER { "default" } else { "other" }
    }
}

/// Records from this one on are of another source.
const OTHER: u32 = 1_000_000;

/// A dispatch with a clock.
struct Desk {
    dispatch: Dispatch<u32>,
    now: Instant,
    dice: f64,
    accepted: Vec<u32>,
    condemned: Vec<u32>,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self { dispatch: Dispatch::new(limits, now), now, dice: 0.5, accepted: Vec::new(), condemned: Vec::new() }
    }

    fn with(batches: &[&[u32]]) -> Self {
        let mut desk = Self::new(LIMITS);
        batches.iter().for_each(|batch| desk.dispatch.offer(batch.to_vec()));
        desk
    }

    fn try_send(&mut self) -> Option<Sending<u32>> {
        match self.dispatch.next(self.now) {
            Next::Send(sending) => Some(sending),
            Next::Wait(_) => None,
        }
    }

    fn send(&mut self) -> Sending<u32> {
        self.try_send().expect("a batch to send")
    }

    /// Waits until something can be sent; how long that took.
    fn wait(&mut self) -> (Sending<u32>, Duration) {
        let start = self.now;
        for _ in 0..10_000 {
            self.convict();
            match self.dispatch.next(self.now) {
                Next::Send(sending) => return (sending, self.now - start),
                Next::Wait(Some(until)) => self.now = until.max(self.now + Duration::from_micros(1)),
                Next::Wait(None) => panic!("nothing to send and nothing to wait for"),
            }
        }
        panic!("it waits for ever");
    }

    fn convict(&mut self) {
        self.condemned.extend(self.dispatch.convicts(self.now).into_iter().map(|(item, _)| item));
    }

    fn answer(&mut self, sending: Sending<u32>, verdict: Verdict) {
        let settled = self.dispatch.answered(sending, verdict, self.now, self.dice);
        self.accepted.extend(settled.accepted.into_iter().map(|(item, _)| item));
        self.condemned.extend(settled.condemned.into_iter().map(|(item, _)| item));
    }

    /// Answers like a Platform that accepts all but these.
    fn accept_all_but(&mut self, sending: Sending<u32>, bad: &[u32]) {
        let verdicts = sending.items().iter().map(|item| if bad.contains(item) { refused() } else { accepted() });
        let verdict = records(verdicts.collect());
        self.answer(sending, verdict);
    }
}

fn accepted() -> RecordVerdict {
    RecordVerdict::Accepted { xaction_id: None }
}

fn refused() -> RecordVerdict {
    RecordVerdict::Refused { status: 400, message: String::new() }
}

fn records(records: Vec<RecordVerdict>) -> Verdict {
    Verdict::Records { inlet_id: None, batch_id: None, records }
}

fn all(reason: RetryReason) -> Verdict {
    Verdict::RetryAll { after: None, reason }
}

#[test]
fn a_refused_record_is_condemned_when_others_of_its_batch_are_accepted() {
    let mut desk = Desk::with(&[&[1, 2, 3]]);
    let sending = desk.send();
    desk.accept_all_but(sending, &[2]);
    assert_eq!((desk.accepted, desk.condemned), (vec![1, 3], vec![2]));
}

#[test]
fn a_batch_that_is_refused_whole_waits_for_evidence_and_is_asked_once_more() {
    let mut desk = Desk::with(&[&[1], &[2]]);
    let sending = desk.send();
    desk.accept_all_but(sending, &[1]);
    assert!(desk.condemned.is_empty() && desk.dispatch.held().is_none());
    let sending = desk.send();
    assert_eq!(sending.items(), [2]);
    desk.accept_all_but(sending, &[1]);
    let sending = desk.send();
    assert_eq!(sending.items(), [1], "asked once more");
    desk.accept_all_but(sending, &[1]);
    assert_eq!(desk.condemned, [1]);
}

#[test]
fn a_success_of_a_later_request_is_evidence_at_once() {
    let mut desk = Desk::with(&[&[1], &[2]]);
    let (bad, good) = (desk.send(), desk.send());
    desk.accept_all_but(good, &[]);
    desk.accept_all_but(bad, &[1]);
    assert_eq!(desk.condemned, [1]);
}

#[test]
fn when_everything_is_refused_everything_is_held_until_something_is_accepted() {
    let mut desk = Desk::with(&[&[1, 2], &[3, 4], &[5, 6], &[7, 8]]);
    for _ in 0..2 {
        let sending = desk.send();
        desk.accept_all_but(sending, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert_eq!(desk.dispatch.held(), Some(Hold::RefusedAlike));
    // A wrong setting stays wrong for an hour; it is probed, nothing is condemned.
    for _ in 0..120 {
        let (sending, waited) = desk.wait();
        assert_eq!(waited, LIMITS.hold_probe);
        assert!(desk.try_send().is_none(), "one probe at a time");
        desk.accept_all_but(sending, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert!(desk.condemned.is_empty());
    // It is put right, and one record was really bad.
    while desk.accepted.len() + desk.condemned.len() < 8 {
        let (sending, _) = desk.wait();
        desk.accept_all_but(sending, &[3]);
    }
    assert_eq!(desk.condemned, [3]);
    assert_eq!(desk.dispatch.held(), None);
}

#[test]
fn a_lone_bad_record_does_not_delay_what_comes_after_it() {
    let mut desk = Desk::with(&[&[1]]);
    for _ in 0..3 {
        let (sending, _) = desk.wait();
        desk.accept_all_but(sending, &[1]);
    }
    assert_eq!(desk.dispatch.held(), Some(Hold::RefusedAlike), "it is shown");
    desk.dispatch.offer(vec![2]);
    let sending = desk.send();
    desk.accept_all_but(sending, &[1]);
    let sending = desk.send();
    desk.accept_all_but(sending, &[1]);
    assert_eq!((desk.accepted, desk.condemned), (vec![2], vec![1]));
}

#[test]
fn retry_after_pauses_the_whole_instance_and_recovery_begins_with_one_request() {
    let batches: Vec<Vec<u32>> = (0..20).map(|number| vec![number]).collect();
    let mut desk = Desk::new(LIMITS);
    batches.into_iter().for_each(|batch| desk.dispatch.offer(batch));
    let sent: Vec<_> = (0..4).map(|_| desk.send()).collect();
    for sending in sent {
        let verdict = Verdict::RetryAll { after: Some(Duration::from_secs(7)), reason: RetryReason::Throttled };
        desk.answer(sending, verdict);
    }
    let (sending, waited) = desk.wait();
    assert_eq!(waited, Duration::from_secs(7));
    assert!(desk.try_send().is_none(), "one at first");
    desk.accept_all_but(sending, &[]);
    let two = [desk.send(), desk.send()];
    assert!(desk.try_send().is_none());
    two.into_iter().for_each(|sending| desk.accept_all_but(sending, &[]));
    assert_eq!(desk.dispatch.allowed(), 2, "then carefully");
}

#[test]
fn a_burst_of_throttled_answers_is_one_signal() {
    let batches: Vec<Vec<u32>> = (0..20).map(|number| vec![number]).collect();
    let mut desk = Desk::new(LIMITS);
    batches.into_iter().for_each(|batch| desk.dispatch.offer(batch));
    let sent: Vec<_> = (0..4).map(|_| desk.send()).collect();
    sent.into_iter().for_each(|sending| desk.answer(sending, all(RetryReason::Throttled)));
    let (_, waited) = desk.wait();
    assert!(waited <= Duration::from_millis(200), "{waited:?}");
}

#[test]
fn however_long_an_outage_was_it_is_over_within_seconds() {
    const SECONDS: Duration = Duration::from_secs(2);
    for reason in [RetryReason::Connection, RetryReason::Timeout, RetryReason::ServerError, RetryReason::Unavailable] {
        let mut desk = Desk::new(LIMITS);
        // The worst luck.
        desk.dice = 0.999;
        let (mut offered, start) = (0, desk.now);
        while desk.now - start < Duration::from_secs(600) {
            if desk.dispatch.is_hungry() && offered < 40 {
                desk.dispatch.offer(vec![offered, offered + 1]);
                offered += 2;
            }
            let (sending, waited) = desk.wait();
            assert!(waited <= SECONDS, "{reason:?}: {waited:?} without a try");
            desk.answer(sending, all(reason));
        }
        assert!(desk.condemned.is_empty());
        let over = desk.now;
        while desk.accepted.len() < offered as usize {
            let (sending, _) = desk.wait();
            desk.accept_all_but(sending, &[]);
        }
        assert!(desk.now - over <= SECONDS, "{reason:?}: the last one came {:?} after it", desk.now - over);
    }
}

#[test]
fn one_record_that_is_always_answered_strangely_holds_nobody_up() {
    let strange: Vec<Verdict> = HoldReason::ALL
        .iter()
        .map(|reason| Verdict::Hold(*reason))
        .chain(RetryReason::ALL.iter().map(|reason| all(*reason)))
        .chain(RetryReason::ALL.iter().map(|reason| records(vec![RecordVerdict::Retry(*reason)])))
        .collect();
    for verdict in strange {
        let mut desk = Desk::with(&[&[1, 2, 3, 4]]);
        let mut next = 1000;
        // Ten minutes of others, one batch every half a second.
        for _ in 0..1200 {
            desk.now += Duration::from_millis(500);
            if desk.dispatch.is_hungry() {
                desk.dispatch.offer(vec![next]);
                next += 1;
            }
            while let Some(sending) = desk.try_send() {
                if sending.items().contains(&3) {
                    desk.answer(sending, verdict.clone());
                } else {
                    desk.accept_all_but(sending, &[]);
                }
            }
        }
        let others = desk.accepted.iter().filter(|item| **item >= 1000).count();
        assert!(others > 900, "{verdict:?}: only {others} others in ten minutes");
    }
}

#[test]
fn this_instance_takes_its_part_of_the_groups_rates() {
    for (requests, records) in [(400, 0), (0, 4000)] {
        let limits = Limits { requests_per_second: requests, records_per_second: records, ..LIMITS };
        let mut desk = Desk::new(limits);
        desk.dispatch.set_share(3, 12);
        let start = desk.now;
        let mut sent = 0;
        while desk.now - start < Duration::from_secs(10) {
            if desk.dispatch.is_hungry() {
                desk.dispatch.offer((0..10).collect());
            }
            let (sending, _) = desk.wait();
            desk.accept_all_but(sending, &[]);
            sent += 1;
        }
        assert!((1000..=1020).contains(&sent), "{sent} requests of 10 records in 10 s");
    }
}

#[test]
fn an_expired_token_costs_one_try_and_a_refused_one_holds() {
    let mut desk = Desk::with(&[&[1], &[2], &[3]]);
    let sent = [desk.send(), desk.send()];
    sent.into_iter().for_each(|sending| desk.answer(sending, Verdict::Hold(HoldReason::Unauthorized)));
    assert_eq!(desk.dispatch.held(), None, "both had the old token");
    let sending = desk.send();
    desk.answer(sending, Verdict::Hold(HoldReason::Unauthorized));
    assert_eq!(desk.dispatch.held(), Some(Hold::Platform(HoldReason::Unauthorized)));
    let (sending, waited) = desk.wait();
    assert_eq!(waited, LIMITS.hold_probe);
    desk.accept_all_but(sending, &[]);
    assert_eq!(desk.dispatch.held(), None);
}

#[test]
fn a_record_that_platform_fails_on_is_found_and_condemned_only_after_its_time() {
    let bad = 13;
    let mut desk = Desk::new(LIMITS);
    desk.dispatch.offer((0..16).collect());
    let start = desk.now;
    let mut others = 1000;
    while desk.condemned.is_empty() {
        if desk.dispatch.is_hungry() {
            desk.dispatch.offer(vec![others]);
            others += 1;
        }
        let (sending, _) = desk.wait();
        desk.now += Duration::from_millis(50);
        if sending.items().contains(&bad) {
            desk.answer(sending, all(RetryReason::ServerError));
        } else {
            desk.accept_all_but(sending, &[]);
        }
        assert!(desk.now - start < Duration::from_secs(600), "it is never condemned");
        desk.convict();
    }
    assert_eq!(desk.condemned, [bad]);
    assert!(desk.now - start >= LIMITS.condemn_after);
    let healthy: BTreeSet<u32> = desk.accepted.iter().copied().filter(|item| *item < 16).collect();
    assert_eq!(healthy.len(), 15, "the others went through meanwhile");
}

#[test]
fn records_that_platform_fails_on_do_not_hold_the_others_up() {
    let mut desk = Desk::new(LIMITS);
    let is_bad = |item: &u32| (1..=5).contains(item);
    (1..=5).for_each(|bad| desk.dispatch.offer(vec![bad]));
    let mut next = 1000;
    let mut slowest = Duration::ZERO;
    let mut last_good = desk.now;
    let start = desk.now;
    while desk.condemned.len() < 5 {
        assert!(desk.now - start < Duration::from_secs(600), "not condemned: {:?}", desk.dispatch);
        if desk.dispatch.is_hungry() {
            desk.dispatch.offer(vec![next]);
            next += 1;
        }
        let (sending, _) = desk.wait();
        desk.now += Duration::from_millis(20);
        if sending.items().iter().any(is_bad) {
            desk.answer(sending, all(RetryReason::ServerError));
        } else {
            desk.accept_all_but(sending, &[]);
            slowest = slowest.max(desk.now - last_good);
            last_good = desk.now;
        }
        desk.convict();
    }
    assert!(slowest < Duration::from_secs(2), "the others waited {slowest:?}");
    assert_eq!(desk.condemned.len(), 5);
}

#[test]
fn an_outage_of_500_condemns_nobody_and_splits_nothing() {
    let mut desk = Desk::with(&[&[1, 2, 3], &[4, 5, 6]]);
    for _ in 0..200 {
        let (sending, _) = desk.wait();
        assert_eq!(sending.items().len(), 3);
        desk.answer(sending, all(RetryReason::ServerError));
    }
    assert!(desk.condemned.is_empty());
}

#[test]
fn a_request_that_is_unacceptable_as_a_whole_is_bisected_to_the_guilty() {
    let mut desk = Desk::new(LIMITS);
    desk.dispatch.offer((0..100).collect());
    let mut requests = 0;
    while desk.accepted.len() + desk.condemned.len() < 100 {
        let (sending, _) = desk.wait();
        requests += 1;
        assert!(requests < 1000, "it does not end");
        match sending.items() {
            [_] | [..] if !sending.items().contains(&42) => desk.accept_all_but(sending, &[]),
            [_] => desk.accept_all_but(sending, &[42]),
            _ => desk.answer(sending, Verdict::Bisect { message: String::new() }),
        }
    }
    assert_eq!(desk.condemned, [42]);
    assert!(requests <= 20, "{requests} requests");
}
