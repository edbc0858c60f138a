//! Tests single rules; `any_answers` contains the property test with random sequences of responses.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::{HoldReason, RecordVerdict, RetryReason, Verdict};
use service::DeadLetterLimit;

use super::*;
use crate::work::Code;

mod over_limit;

mod any_answers;

const LIMITS: Limits = Limits {
    in_flight: 8,
    requests_per_second: 0,
    records_per_second: 0,
    dead_letter_after: Duration::from_secs(60),
    hold_probe: Duration::from_secs(30),
    dead_letters: DeadLetterLimit::HALF,
};

impl Sourced for u32 {
    fn source(&self) -> &str {
        if *self < OTHER { "default" } else { "other" }
    }
}

/// Records with this number or a higher one belong to another source.
const OTHER: u32 = 1_000_000;

#[test]
fn no_request_is_sent_before_platform_not_before() {
    let mut harness = Harness::new(LIMITS);
    let begin = harness.now + Duration::from_secs(900);
    harness.dispatch.begin_at(begin);
    harness.dispatch.offer(vec![1]);
    assert!(matches!(harness.dispatch.next(harness.now), Next::Wait(Some(until)) if until == begin));
    assert!(matches!(harness.dispatch.next(begin), Next::Send(_)));
}

/// A dispatch with a simulated clock.
struct Harness {
    dispatch: Dispatch<u32>,
    now: Instant,
    jitter: f64,
    accepted: Vec<u32>,
    dead_letters: Vec<u32>,
}

impl Harness {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self { dispatch: Dispatch::new(limits, now), now, jitter: 0.5, accepted: Vec::new(), dead_letters: Vec::new() }
    }

    fn with(batches: &[&[u32]]) -> Self {
        let mut harness = Self::new(LIMITS);
        batches.iter().for_each(|batch| harness.dispatch.offer(batch.to_vec()));
        harness
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

    /// Advances the clock until a batch can be sent; returns the batch and the time that passed.
    fn wait(&mut self) -> (Sending<u32>, Duration) {
        let start = self.now;
        for _ in 0..10_000 {
            self.collect_due();
            match self.dispatch.next(self.now) {
                Next::Send(sending) => return (sending, self.now - start),
                Next::Wait(Some(until)) => self.now = until.max(self.now + Duration::from_micros(1)),
                Next::Wait(None) => panic!("nothing to send and nothing to wait for"),
            }
        }
        panic!("nothing was sent after 10,000 waits");
    }

    fn collect_due(&mut self) {
        self.dead_letters.extend(self.dispatch.due_dead_letters(self.now).into_iter().map(|(item, _)| item));
    }

    fn answer(&mut self, sending: Sending<u32>, verdict: Verdict) {
        let decided = self.dispatch.answered(sending, verdict, self.now, self.jitter);
        self.accepted.extend(decided.accepted.into_iter().map(|(item, _)| item));
        self.dead_letters.extend(decided.dead_letters.into_iter().map(|(item, _)| item));
    }

    /// Responds as Platform does when it accepts all records except these.
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
fn a_refused_record_in_a_batch_with_accepted_records_becomes_a_dead_letter() {
    let mut harness = Harness::with(&[&[1, 2, 3]]);
    let sending = harness.send();
    harness.accept_all_but(sending, &[2]);
    assert_eq!((harness.accepted, harness.dead_letters), (vec![1, 3], vec![2]));
}

#[test]
fn a_wholly_refused_batch_is_sent_once_more_after_another_batch_is_accepted() {
    let mut harness = Harness::with(&[&[1], &[2]]);
    let sending = harness.send();
    harness.accept_all_but(sending, &[1]);
    assert!(harness.dead_letters.is_empty() && harness.dispatch.held().is_none());
    let sending = harness.send();
    assert_eq!(sending.items(), [2]);
    harness.accept_all_but(sending, &[1]);
    let sending = harness.send();
    assert_eq!(sending.items(), [1], "sent once more");
    harness.accept_all_but(sending, &[1]);
    assert_eq!(harness.dead_letters, [1]);
}

#[test]
fn an_acceptance_in_a_later_request_confirms_a_rejection_at_once() {
    let mut harness = Harness::with(&[&[1], &[2]]);
    let (bad, good) = (harness.send(), harness.send());
    harness.accept_all_but(good, &[]);
    harness.accept_all_but(bad, &[1]);
    assert_eq!(harness.dead_letters, [1]);
}

#[test]
fn while_platform_refuses_every_record_all_records_are_held() {
    let mut harness = Harness::with(&[&[1, 2], &[3, 4], &[5, 6], &[7, 8]]);
    for _ in 0..2 {
        let sending = harness.send();
        harness.accept_all_but(sending, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert_eq!(harness.dispatch.held(), Some(Hold::RefusedAlike));
    // A setting is wrong for an hour: the sink sends probes, and no record becomes a dead letter.
    for _ in 0..120 {
        let (sending, waited) = harness.wait();
        assert_eq!(waited, LIMITS.hold_probe);
        assert!(harness.try_send().is_none(), "only one probe at a time");
        harness.accept_all_but(sending, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert!(harness.dead_letters.is_empty());
    // The setting is corrected. One record is refused even then.
    while harness.accepted.len() + harness.dead_letters.len() < 8 {
        let (sending, _) = harness.wait();
        harness.accept_all_but(sending, &[3]);
    }
    assert_eq!(harness.dead_letters, [3]);
    assert_eq!(harness.dispatch.held(), None);
}

#[test]
fn a_single_refused_record_does_not_delay_the_records_after_it() {
    let mut harness = Harness::with(&[&[1]]);
    for _ in 0..3 {
        let (sending, _) = harness.wait();
        harness.accept_all_but(sending, &[1]);
    }
    assert_eq!(harness.dispatch.held(), Some(Hold::RefusedAlike));
    harness.dispatch.offer(vec![2]);
    let sending = harness.send();
    harness.accept_all_but(sending, &[1]);
    let sending = harness.send();
    harness.accept_all_but(sending, &[1]);
    assert_eq!((harness.accepted, harness.dead_letters), (vec![2], vec![1]));
}

#[test]
fn a_retry_after_header_pauses_the_instance_which_resumes_with_one_request() {
    let batches: Vec<Vec<u32>> = (0..20).map(|number| vec![number]).collect();
    let mut harness = Harness::new(LIMITS);
    batches.into_iter().for_each(|batch| harness.dispatch.offer(batch));
    let sent: Vec<_> = (0..4).map(|_| harness.send()).collect();
    for sending in sent {
        let verdict = Verdict::RetryAll { after: Some(Duration::from_secs(7)), reason: RetryReason::Throttled };
        harness.answer(sending, verdict);
    }
    let (sending, waited) = harness.wait();
    assert_eq!(waited, Duration::from_secs(7));
    assert!(harness.try_send().is_none(), "only one request at first");
    harness.accept_all_but(sending, &[]);
    let two = [harness.send(), harness.send()];
    assert!(harness.try_send().is_none());
    two.into_iter().for_each(|sending| harness.accept_all_but(sending, &[]));
    assert_eq!(harness.dispatch.allowed(), 2, "the limit grows slowly");
}

#[test]
fn the_success_of_a_request_sent_before_a_pause_does_not_raise_the_lowered_limit() {
    let batches: Vec<Vec<u32>> = (0..20).map(|number| vec![number]).collect();
    let mut harness = Harness::new(LIMITS);
    batches.into_iter().for_each(|batch| harness.dispatch.offer(batch));
    let mut sent: Vec<_> = (0..4).map(|_| harness.send()).collect();
    // The last of these requests reached the limit.
    let last = sent.pop().unwrap();
    let verdict = Verdict::RetryAll { after: Some(Duration::from_secs(7)), reason: RetryReason::Throttled };
    harness.answer(sent.remove(0), verdict);
    sent.into_iter().chain([last]).for_each(|sending| harness.accept_all_but(sending, &[]));
    let (sending, waited) = harness.wait();
    assert_eq!((waited, harness.dispatch.allowed()), (Duration::from_secs(7), 1));
    assert!(harness.try_send().is_none(), "only one request at first");
    harness.accept_all_but(sending, &[]);
    assert_eq!(harness.dispatch.allowed(), 2, "a success after the pause raises the limit");
}

#[test]
fn a_burst_of_throttled_responses_causes_one_pause() {
    let batches: Vec<Vec<u32>> = (0..20).map(|number| vec![number]).collect();
    let mut harness = Harness::new(LIMITS);
    batches.into_iter().for_each(|batch| harness.dispatch.offer(batch));
    let sent: Vec<_> = (0..4).map(|_| harness.send()).collect();
    sent.into_iter().for_each(|sending| harness.answer(sending, all(RetryReason::Throttled)));
    let (_, waited) = harness.wait();
    assert!(waited <= Duration::from_millis(200), "{waited:?}");
}

#[test]
fn delivery_resumes_within_two_seconds_after_a_long_outage() {
    const SECONDS: Duration = Duration::from_secs(2);
    for reason in [RetryReason::Connection, RetryReason::Timeout, RetryReason::ServerError, RetryReason::Unavailable] {
        let mut harness = Harness::new(LIMITS);
        // This jitter makes every wait as long as possible.
        harness.jitter = 0.999;
        let (mut offered, start) = (0, harness.now);
        while harness.now - start < Duration::from_secs(600) {
            if harness.dispatch.is_hungry() && offered < 40 {
                harness.dispatch.offer(vec![offered, offered + 1]);
                offered += 2;
            }
            let (sending, waited) = harness.wait();
            assert!(waited <= SECONDS, "{reason:?}: {waited:?} without a try");
            harness.answer(sending, all(reason));
        }
        assert!(harness.dead_letters.is_empty());
        let over = harness.now;
        while harness.accepted.len() < offered as usize {
            let (sending, _) = harness.wait();
            harness.accept_all_but(sending, &[]);
        }
        assert!(
            harness.now - over <= SECONDS,
            "{reason:?}: the last record was accepted {:?} after the outage",
            harness.now - over
        );
    }
}

#[test]
fn a_record_that_never_gets_an_outcome_delays_no_other_record() {
    let strange: Vec<Verdict> = HoldReason::ALL
        .iter()
        .map(|reason| Verdict::Hold(*reason))
        .chain(RetryReason::ALL.iter().map(|reason| all(*reason)))
        .chain(RetryReason::ALL.iter().map(|reason| records(vec![RecordVerdict::Retry(*reason)])))
        .collect();
    for verdict in strange {
        let mut harness = Harness::with(&[&[1, 2, 3, 4]]);
        let mut next = 1000;
        // Other records arrive for ten minutes, one batch every half second.
        for _ in 0..1200 {
            harness.now += Duration::from_millis(500);
            if harness.dispatch.is_hungry() {
                harness.dispatch.offer(vec![next]);
                next += 1;
            }
            while let Some(sending) = harness.try_send() {
                if sending.items().contains(&3) {
                    harness.answer(sending, verdict.clone());
                } else {
                    harness.accept_all_but(sending, &[]);
                }
            }
        }
        let others = harness.accepted.iter().filter(|item| **item >= 1000).count();
        assert!(others > 900, "{verdict:?}: only {others} others in ten minutes");
    }
}

#[test]
fn an_instance_uses_its_share_of_the_groups_rates() {
    for (requests, records) in [(400, 0), (0, 4000)] {
        let limits = Limits { requests_per_second: requests, records_per_second: records, ..LIMITS };
        let mut harness = Harness::new(limits);
        harness.dispatch.set_share(3, 12);
        let start = harness.now;
        let mut sent = 0;
        while harness.now - start < Duration::from_secs(10) {
            if harness.dispatch.is_hungry() {
                harness.dispatch.offer((0..10).collect());
            }
            let (sending, _) = harness.wait();
            harness.accept_all_but(sending, &[]);
            sent += 1;
        }
        assert!((1000..=1020).contains(&sent), "{sent} requests of 10 records in 10 s");
    }
}

#[test]
fn only_the_refusal_of_a_new_token_holds_the_sink() {
    let mut harness = Harness::with(&[&[1], &[2], &[3]]);
    let sent = [harness.send(), harness.send()];
    sent.into_iter().for_each(|sending| harness.answer(sending, Verdict::Hold(HoldReason::Unauthorized)));
    assert_eq!(harness.dispatch.held(), None, "both requests had the old token");
    let sending = harness.send();
    harness.answer(sending, Verdict::Hold(HoldReason::Unauthorized));
    assert_eq!(harness.dispatch.held(), Some(Hold::Platform(HoldReason::Unauthorized)));
    let (sending, waited) = harness.wait();
    assert_eq!(waited, LIMITS.hold_probe);
    harness.accept_all_but(sending, &[]);
    assert_eq!(harness.dispatch.held(), None);
}

#[test]
fn a_record_that_always_gets_500_is_dead_lettered_after_the_configured_time() {
    let bad = 13;
    let mut harness = Harness::new(LIMITS);
    harness.dispatch.offer((0..16).collect());
    let start = harness.now;
    let mut others = 1000;
    while harness.dead_letters.is_empty() {
        if harness.dispatch.is_hungry() {
            harness.dispatch.offer(vec![others]);
            others += 1;
        }
        let (sending, _) = harness.wait();
        harness.now += Duration::from_millis(50);
        if sending.items().contains(&bad) {
            harness.answer(sending, all(RetryReason::ServerError));
        } else {
            harness.accept_all_but(sending, &[]);
        }
        assert!(harness.now - start < Duration::from_secs(600), "the record never becomes a dead letter");
        harness.collect_due();
    }
    assert_eq!(harness.dead_letters, [bad]);
    assert!(harness.now - start >= LIMITS.dead_letter_after);
    let healthy: BTreeSet<u32> = harness.accepted.iter().copied().filter(|item| *item < 16).collect();
    assert_eq!(healthy.len(), 15, "the others were accepted meanwhile");
}

#[test]
fn records_that_always_get_500_do_not_delay_other_records() {
    let mut harness = Harness::new(LIMITS);
    let is_bad = |item: &u32| (1..=5).contains(item);
    (1..=5).for_each(|bad| harness.dispatch.offer(vec![bad]));
    let mut next = 1000;
    let mut slowest = Duration::ZERO;
    let mut last_good = harness.now;
    let start = harness.now;
    while harness.dead_letters.len() < 5 {
        assert!(harness.now - start < Duration::from_secs(600), "not dead-lettered: {:?}", harness.dispatch);
        if harness.dispatch.is_hungry() {
            harness.dispatch.offer(vec![next]);
            next += 1;
        }
        let (sending, _) = harness.wait();
        harness.now += Duration::from_millis(20);
        if sending.items().iter().any(is_bad) {
            harness.answer(sending, all(RetryReason::ServerError));
        } else {
            harness.accept_all_but(sending, &[]);
            slowest = slowest.max(harness.now - last_good);
            last_good = harness.now;
        }
        harness.collect_due();
    }
    assert!(slowest < Duration::from_secs(2), "the others waited {slowest:?}");
    assert_eq!(harness.dead_letters.len(), 5);
}

#[test]
fn an_outage_with_500_neither_dead_letters_a_record_nor_splits_a_batch() {
    let mut harness = Harness::with(&[&[1, 2, 3], &[4, 5, 6]]);
    for _ in 0..200 {
        let (sending, _) = harness.wait();
        assert_eq!(sending.items().len(), 3);
        harness.answer(sending, all(RetryReason::ServerError));
    }
    assert!(harness.dead_letters.is_empty());
}

#[test]
fn a_batch_that_platform_refuses_as_a_whole_is_bisected_down_to_the_bad_record() {
    let mut harness = Harness::new(LIMITS);
    harness.dispatch.offer((0..100).collect());
    let mut requests = 0;
    while harness.accepted.len() + harness.dead_letters.len() < 100 {
        let (sending, _) = harness.wait();
        requests += 1;
        assert!(requests < 1000, "bisecting does not end");
        match sending.items() {
            [_] | [..] if !sending.items().contains(&42) => harness.accept_all_but(sending, &[]),
            [_] => harness.accept_all_but(sending, &[42]),
            _ => harness.answer(sending, Verdict::Bisect { message: String::new() }),
        }
    }
    assert_eq!(harness.dead_letters, [42]);
    assert!(requests <= 20, "{requests} requests");
}
