//! Tests that each record gets exactly one outcome, for random sequences of Platform's responses.

use platform::{RecordVerdict, RetryReason, Verdict};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    Send,
    Answer(usize, Reply),
    Advance(u64),
    Leave(u32),
}

#[derive(Debug, Clone)]
enum Reply {
    Each(Vec<u8>),
    Whole(Verdict),
}

fn reply() -> impl Strategy<Value = Reply> {
    let whole = prop_oneof![
        prop::sample::select(vec![
            RetryReason::Throttled,
            RetryReason::Unavailable,
            RetryReason::ServerError,
            RetryReason::Timeout,
            RetryReason::Connection,
            RetryReason::Undeterminable,
        ])
        .prop_map(all),
        Just(Verdict::Bisect { message: String::new() }),
        Just(Verdict::Halve { reason: RetryReason::TooLarge }),
        Just(Verdict::Halve { reason: RetryReason::Undeterminable }),
        prop::sample::select(HoldReason::ALL).prop_map(Verdict::Hold),
    ];
    prop_oneof![prop::collection::vec(0..8u8, 0..12).prop_map(Reply::Each), whole.prop_map(Reply::Whole)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..12usize).prop_map(Step::Offer),
        Just(Step::Send),
        (0..8usize, reply()).prop_map(|(which, reply)| Step::Answer(which, reply)),
        (1..40_000u64).prop_map(Step::Advance),
        (0..7u32).prop_map(Step::Leave),
    ]
}

fn verdict_of(reply: Reply) -> Verdict {
    match reply {
        Reply::Whole(verdict) => verdict,
        Reply::Each(codes) => records(
            codes
                .into_iter()
                .map(|code| match code {
                    0..=2 => accepted(),
                    3 => refused(),
                    4 => RecordVerdict::Retry(RetryReason::ServerError),
                    5 => RecordVerdict::Retry(RetryReason::Throttled),
                    6 => RecordVerdict::Retry(RetryReason::Unauthorized),
                    _ => RecordVerdict::Retry(RetryReason::Undeterminable),
                })
                .collect(),
        ),
    }
}

proptest! {
    #[test]
    fn every_record_gets_exactly_one_outcome_for_any_responses(steps in prop::collection::vec(step(), 0..120)) {
        let mut harness = Harness::new(LIMITS);
        let (mut offered, mut flying, mut gone) = (0, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Offer(count) => {
                    let first = offered;
                    offered += u32::try_from(count).unwrap();
                    harness.dispatch.offer((first..offered).collect());
                }
                Step::Send => {
                    harness.collect_due();
                    flying.extend(harness.try_send());
                }
                Step::Answer(which, reply) if !flying.is_empty() => {
                    let sending = flying.swap_remove(which % flying.len());
                    harness.answer(sending, verdict_of(reply));
                }
                Step::Answer(..) => {}
                Step::Advance(millis) => harness.now += Duration::from_millis(millis),
                Step::Leave(partition) => gone.extend(harness.dispatch.remove(|item| item % 7 != partition)),
            }
            prop_assert!(flying.len() <= LIMITS.in_flight);
            prop_assert!(harness.dead_letters.is_empty() || harness.dispatch.successes > 0, "dead-lettered although no record was ever accepted");
        }
        // From now on, Platform accepts everything: all records must get an outcome within two minutes.
        let start = harness.now;
        flying.into_iter().for_each(|sending| harness.accept_all_but(sending, &[]));
        while harness.accepted.len() + harness.dead_letters.len() + gone.len() < offered as usize {
            let (sending, _) = harness.wait();
            harness.accept_all_but(sending, &[]);
        }
        prop_assert!(harness.now - start <= Duration::from_secs(120));
        let mut ended: Vec<u32> = harness.accepted.into_iter().chain(harness.dead_letters).chain(gone).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..offered).collect::<Vec<_>>());
    }
}
