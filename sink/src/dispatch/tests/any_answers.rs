//! Whatever Platform answers, in whatever order: each record ends once.

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
    fn each_record_ends_once_and_in_the_end_all_do(steps in prop::collection::vec(step(), 0..120)) {
        let mut desk = Desk::new(LIMITS);
        let (mut offered, mut flying, mut gone) = (0, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Offer(count) => {
                    let first = offered;
                    offered += u32::try_from(count).unwrap();
                    desk.dispatch.offer((first..offered).collect());
                }
                Step::Send => {
                    desk.convict();
                    flying.extend(desk.try_send());
                }
                Step::Answer(which, reply) if !flying.is_empty() => {
                    let sending = flying.swap_remove(which % flying.len());
                    desk.answer(sending, verdict_of(reply));
                }
                Step::Answer(..) => {}
                Step::Advance(millis) => desk.now += Duration::from_millis(millis),
                Step::Leave(partition) => gone.extend(desk.dispatch.remove(|item| item % 7 != partition)),
            }
            prop_assert!(flying.len() <= LIMITS.in_flight);
            prop_assert!(desk.condemned.is_empty() || desk.dispatch.successes > 0, "condemned without any evidence");
        }
        // From now on Platform accepts everything: nothing may be stuck, and it does not take for ever.
        let start = desk.now;
        flying.into_iter().for_each(|sending| desk.accept_all_but(sending, &[]));
        while desk.accepted.len() + desk.condemned.len() + gone.len() < offered as usize {
            let (sending, _) = desk.wait();
            desk.accept_all_but(sending, &[]);
        }
        prop_assert!(desk.now - start <= Duration::from_secs(120));
        let mut ended: Vec<u32> = desk.accepted.into_iter().chain(desk.condemned).chain(gone).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (0..offered).collect::<Vec<_>>());
    }
}
