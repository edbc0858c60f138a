//! What an answer leads to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use platform::{HoldReason, RecordVerdict, RetryReason, Verdict};

use super::{Dispatch, Doubted, Hold, OUTAGE, Past, Sending, Sentence, Settled, Sourced, Waiting};

/// The longest that a batch is put off.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// The same where Platform has no room for it, which is not the batch's doing.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(3);

impl<T: Sourced> Dispatch<T> {
    /// Takes the answer to a batch. `dice` is uniform in `[0, 1)`.
    pub(crate) fn answered(&mut self, sending: Sending<T>, verdict: Verdict, now: Instant, dice: f64) -> Settled<T> {
        self.in_flight -= 1;
        self.new_first = true;
        let mut settled = Settled { accepted: Vec::new(), condemned: Vec::new(), ids: (None, None) };
        let Sending { items, past, number, bound } = sending;
        let waiting = Waiting { items, past };
        match verdict {
            Verdict::Records { inlet_id, batch_id, records } => {
                settled.ids = (inlet_id, batch_id);
                self.records(waiting, records, (number, bound), now, dice, &mut settled);
            }
            // Not the answer of a batch endpoint at all.
            Verdict::RetryAll { after, reason: RetryReason::Undeterminable } if waiting.items.len() > 1 => {
                self.again(waiting, RetryReason::Unavailable, after, number, now, dice);
            }
            Verdict::RetryAll { after, reason } => self.again(waiting, reason, after, number, now, dice),
            Verdict::Bisect { .. } | Verdict::Halve { reason: RetryReason::TooLarge } => self.halve(waiting),
            Verdict::Halve { reason } => self.again(waiting, reason, None, number, now, dice),
            Verdict::Hold(reason) => self.held_by(waiting, reason, number, now, dice),
        }
        settled
    }

    /// Takes a verdict for each record.
    fn records(
        &mut self,
        batch: Waiting<T>,
        verdicts: Vec<RecordVerdict>,
        (number, bound): (u64, bool),
        now: Instant,
        dice: f64,
        settled: &mut Settled<T>,
    ) {
        let (mut refused, mut owed) = (Vec::new(), Vec::<(RetryReason, Vec<T>)>::new());
        let mut verdicts = verdicts.into_iter();
        for item in batch.items {
            // A record that the answer does not speak of is not done.
            match verdicts.next().unwrap_or(RecordVerdict::Retry(RetryReason::Undeterminable)) {
                RecordVerdict::Accepted { xaction_id } => settled.accepted.push((item, xaction_id)),
                RecordVerdict::Refused { status, message } => refused.push((item, Sentence::Refused(status, message))),
                RecordVerdict::Retry(reason) => match owed.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, items)) => items.push(item),
                    None => owed.push((reason, vec![item])),
                },
            }
        }
        if !settled.accepted.is_empty() {
            settled.accepted.iter().for_each(|(item, _)| self.recent.note_good(item.source(), 1));
            self.succeeded(number, bound, now);
            if batch.past.over_limit {
                self.retry_over_limit();
            }
        }
        self.judge_refused(refused, batch.past, number, now, settled);
        for (reason, items) in owed {
            let owed = Waiting { items, past: batch.past };
            if reason == RetryReason::Unauthorized {
                // A token that others were accepted with is not at fault.
                if settled.accepted.is_empty() {
                    self.refused_by(HoldReason::Unauthorized, number, now);
                }
                self.put_off(owed, LONGEST_WAIT, now, dice);
            } else {
                self.again(owed, reason, None, number, now, dice);
            }
        }
    }

    /// Something was accepted: Platform works, the token and the settings are right.
    fn succeeded(&mut self, number: u64, bound: bool, now: Instant) {
        self.successes += 1;
        self.last_success = self.last_success.max(Some(number));
        if std::mem::take(&mut self.failures_in_row) >= OUTAGE {
            // An outage is over: what it put off need not sit out its time.
            let waiting = self.put_off.iter_mut().filter(|(_, batch)| !batch.is_suspect());
            waiting.for_each(|(time, _)| *time = now.min(*time));
        }
        self.new_first = false;
        self.concurrency.succeeded(bound);
        self.fresh_token = None;
        if number >= self.round {
            self.backoff.reset();
            self.held = None;
        }
        // What was sent before this request has its evidence now: it is asked for once more, and then that counts.
        let (doubted, still): (Vec<_>, Vec<_>) = self.doubted.drain(..).partition(|doubted| doubted.number < number);
        self.doubted = VecDeque::from(still);
        for mut doubted in doubted.into_iter().rev() {
            doubted.waiting.past.evidence = true;
            self.ready.push_front(doubted.waiting);
        }
    }

    /// Refused records are condemned if others are accepted; if not, they wait for that.
    fn judge_refused(
        &mut self,
        refused: Vec<(T, Sentence)>,
        past: Past,
        number: u64,
        now: Instant,
        settled: &mut Settled<T>,
    ) {
        if refused.is_empty() {
            return;
        }
        // This request's own acceptances, those of a later one, or those that were waited for.
        let guilty = past.evidence || self.last_success.is_some_and(|success| success >= number);
        if guilty {
            settled.condemned.extend(self.condemn(refused, now));
            return;
        }
        let items = refused.into_iter().map(|(item, _)| item).collect();
        let again = past.put_off > 0;
        let past = Past { put_off: past.put_off + 1, ..past };
        let ask_at = now + self.limits.hold_probe;
        self.doubted.push_back(Doubted { waiting: Waiting { items, past }, number, ask_at });
        if again || self.doubted.len() > 1 {
            self.hold(Hold::RefusedAlike, now);
        }
    }

    /// Sends a batch again, at a time that fits the reason.
    fn again(
        &mut self,
        batch: Waiting<T>,
        reason: RetryReason,
        after: Option<Duration>,
        number: u64,
        now: Instant,
        dice: f64,
    ) {
        match reason {
            RetryReason::Throttled | RetryReason::Unavailable => {
                self.failures_in_row += 1;
                self.pause(after, number, now, dice);
                // Out of the way: were it only this batch that is answered so, it would hold up all the others.
                self.put_off(batch, WAIT_FOR_ROOM, now, dice);
            }
            RetryReason::Timeout | RetryReason::Connection => {
                self.failures_in_row += 1;
                if self.failures_in_row >= OUTAGE || after.is_some() {
                    self.pause(after, number, now, dice);
                } else if number >= self.round {
                    self.concurrency.congested();
                    self.round = self.next_number;
                }
                self.put_off(batch, LONGEST_WAIT, now, dice);
            }
            RetryReason::ServerError => self.server_error(batch, after, number, now, dice),
            RetryReason::TooLarge | RetryReason::Undeterminable | RetryReason::Unauthorized => {
                self.failures_in_row += u32::from(reason == RetryReason::Undeterminable);
                if self.failures_in_row >= OUTAGE {
                    self.pause(after, number, now, dice);
                }
                if batch.items.len() > 1 { self.halve(batch) } else { self.put_off(batch, LONGEST_WAIT, now, dice) }
            }
        }
    }

    /// 500 may be Platform's trouble or a record's. If others succeed meanwhile it is one of these records: halves show which,
    /// and a lone one waits by itself until enough speaks against it.
    fn server_error(&mut self, mut batch: Waiting<T>, after: Option<Duration>, number: u64, now: Instant, dice: f64) {
        // A suspect's failure says nothing about Platform.
        let suspect = batch.is_suspect();
        self.failures_in_row += u32::from(!suspect);
        let first = batch.past.first_failure.is_none();
        let others_succeed = !first && self.successes > batch.past.successes;
        batch.past.first_failure.get_or_insert(now);
        batch.past.successes = self.successes;
        if self.failures_in_row >= OUTAGE || after.is_some() {
            self.pause(after, number, now, dice);
            // Out of the way: if it is this batch after all, another one has to show it.
            self.put_off(batch, LONGEST_WAIT, now, dice);
        } else if batch.items.len() > 1 && others_succeed {
            self.halve(Waiting { items: batch.items, past: Past::default() });
        } else {
            batch.past.failures += u32::from(others_succeed || first);
            self.put_off(batch, LONGEST_WAIT, now, dice);
        }
    }

    /// The whole instance waits, at least as long as Platform says. Answers to older requests only lengthen it by what
    /// they say, or a burst of them would multiply it.
    fn pause(&mut self, after: Option<Duration>, number: u64, now: Instant, dice: f64) {
        let asked = now + after.unwrap_or_default();
        let until = if number >= self.round {
            self.concurrency.stopped();
            self.round = self.next_number;
            asked.max(now + self.backoff.next_wait(dice))
        } else {
            asked
        };
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }

    /// This batch alone waits, longer with each time.
    fn put_off(&mut self, mut batch: Waiting<T>, longest: Duration, now: Instant, dice: f64) {
        let wait = Duration::from_millis(200).saturating_mul(1 << batch.past.put_off.min(8)).min(longest);
        batch.past.put_off += 1;
        self.put_off.push((now + wait.mul_f64(0.5 + dice / 2.0), batch));
    }

    fn halve(&mut self, mut batch: Waiting<T>) {
        let second = batch.items.split_off(batch.items.len().div_ceil(2));
        if !second.is_empty() {
            self.ready.push_front(Waiting { items: second, past: batch.past });
        }
        self.ready.push_front(batch);
    }

    /// An answer that speaks of the credential or the address. If others are accepted from one time to the next it is neither:
    /// something on the way takes offence at a record, and only that one waits.
    fn held_by(&mut self, mut batch: Waiting<T>, reason: HoldReason, number: u64, now: Instant, dice: f64) {
        let others_succeed = batch.past.put_off > 0 && self.successes > batch.past.successes;
        batch.past.successes = self.successes;
        if !others_succeed {
            self.refused_by(reason, number, now);
        } else if batch.items.len() > 1 {
            let half = batch.items.split_off(batch.items.len().div_ceil(2));
            self.put_off(Waiting { items: half, past: batch.past }, LONGEST_WAIT, now, dice);
        }
        self.put_off(batch, LONGEST_WAIT, now, dice);
    }

    /// 401, 403 and the like. The first refused token may only have expired: the client drops it, and the next request
    /// brings a new one.
    fn refused_by(&mut self, reason: HoldReason, number: u64, now: Instant) {
        if reason == HoldReason::Unauthorized && self.held.is_none() {
            match self.fresh_token {
                None => {
                    self.fresh_token = Some(self.next_number);
                    return;
                }
                Some(since) if number < since => return,
                Some(_) => {}
            }
        }
        self.hold(Hold::Platform(reason), now);
    }
}
