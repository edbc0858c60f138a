//! What follows from a verdict: who is done, who is condemned, who is sent again, and how long to wait before that.
//! A pure function over any kind of item.

use std::time::Duration;

use platform::{HoldReason, RecordVerdict, RetryReason, Verdict};

/// What to do with a batch after its answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan<T> {
    /// Platform has them.
    pub(crate) accepted: Vec<(T, Option<String>)>,
    /// Platform refuses them: status and words.
    pub(crate) refused: Vec<(T, u16, String)>,
    /// To be sent again, batch by batch, in order.
    pub(crate) again: Vec<Vec<T>>,
    /// When.
    pub(crate) pause: Pause,
    /// Platform's ids of inlet and batch.
    pub(crate) ids: (Option<String>, Option<String>),
}

/// How long to wait before the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Not at all.
    None,
    /// Back off, not less than `after`.
    BackOff {
        /// What Platform asked for.
        after: Option<Duration>,
        /// Why.
        reason: RetryReason,
    },
    /// Until somebody or something changes.
    Hold(HoldReason),
}

/// Applies a verdict to its batch.
pub(crate) fn plan<T>(verdict: Verdict, batch: Vec<T>) -> Plan<T> {
    let mut plan =
        Plan { accepted: Vec::new(), refused: Vec::new(), again: Vec::new(), pause: Pause::None, ids: (None, None) };
    match verdict {
        Verdict::Records { inlet_id, batch_id, records } => {
            plan.ids = (inlet_id, batch_id);
            let mut again = Vec::new();
            let mut records = records.into_iter();
            for item in batch {
                // A record that the verdict does not speak of is not done.
                match records.next().unwrap_or(RecordVerdict::Retry(RetryReason::Undeterminable)) {
                    RecordVerdict::Accepted { xaction_id } => plan.accepted.push((item, xaction_id)),
                    RecordVerdict::Refused { status, message } => plan.refused.push((item, status, message)),
                    RecordVerdict::Retry(reason) => {
                        plan.pause = Pause::BackOff { after: None, reason };
                        again.push(item);
                    }
                }
            }
            if !again.is_empty() {
                plan.again.push(again);
            }
        }
        Verdict::RetryAll { after, reason } => {
            plan.pause = Pause::BackOff { after, reason };
            plan.again.push(batch);
        }
        Verdict::Bisect { .. } => plan.again = halves(batch),
        Verdict::Halve { reason } => {
            // Halving a batch of one would send the same again at once.
            if batch.len() == 1 {
                plan.pause = Pause::BackOff { after: None, reason };
            }
            plan.again = halves(batch);
        }
        Verdict::Hold(reason) => {
            plan.pause = Pause::Hold(reason);
            plan.again.push(batch);
        }
    }
    plan
}

fn halves<T>(mut batch: Vec<T>) -> Vec<Vec<T>> {
    let second = batch.split_off(batch.len().div_ceil(2));
    if second.is_empty() { vec![batch] } else { vec![batch, second] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> impl Strategy<Value = Verdict> {
        let record = prop_oneof![
            Just(RecordVerdict::Accepted { xaction_id: None }),
            Just(RecordVerdict::Refused { status: 400, message: String::new() }),
            Just(RecordVerdict::Retry(RetryReason::Throttled)),
        ];
        prop_oneof![
            prop::collection::vec(record, 0..12).prop_map(|records| Verdict::Records {
                inlet_id: None,
                batch_id: None,
                records
            }),
            Just(Verdict::RetryAll { after: None, reason: RetryReason::Unavailable }),
            Just(Verdict::Bisect { message: String::new() }),
            Just(Verdict::Halve { reason: RetryReason::TooLarge }),
            Just(Verdict::Hold(HoldReason::Unauthorized)),
        ]
    }

    proptest! {
        #[test]
        fn each_record_is_done_condemned_or_still_owed_exactly_once(verdict in verdict(), count in 1..12usize) {
            let plan = plan(verdict, (0..count).collect());
            let mut all: Vec<usize> = plan.accepted.iter().map(|(item, _)| *item).collect();
            all.extend(plan.refused.iter().map(|(item, _, _)| *item));
            all.extend(plan.again.iter().flatten());
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            prop_assert!(plan.again.iter().all(|batch| !batch.is_empty()));
        }

        #[test]
        fn any_sequence_of_answers_ends_with_each_record_done_or_condemned_once(
            verdicts in prop::collection::vec(verdict(), 0..60),
            count in 1..20usize,
        ) {
            let mut owed: std::collections::VecDeque<Vec<usize>> = [(0..count).collect()].into();
            let mut ended = Vec::new();
            for verdict in verdicts {
                let Some(batch) = owed.pop_front() else { break };
                let plan = plan(verdict, batch);
                ended.extend(plan.accepted.into_iter().map(|(item, _)| item));
                ended.extend(plan.refused.into_iter().map(|(item, _, _)| item));
                for batch in plan.again.into_iter().rev() {
                    owed.push_front(batch);
                }
            }
            ended.extend(owed.into_iter().flatten());
            ended.sort_unstable();
            prop_assert_eq!(ended, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_bisected_batch_ends_in_single_records() {
        let mut owed = vec![(0..7).collect::<Vec<_>>()];
        for _ in 0..10 {
            owed = owed
                .into_iter()
                .flat_map(|batch| match batch.len() {
                    1 => vec![batch],
                    _ => plan(Verdict::Bisect { message: String::new() }, batch).again,
                })
                .collect();
        }
        assert_eq!(owed.len(), 7);
    }
}
