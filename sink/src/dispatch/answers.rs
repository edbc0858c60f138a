//! Applies Platform's responses: what each verdict leads to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use platform::{HoldReason, RecordVerdict, RetryReason, Verdict};

use super::{DeadLetterReason, Decided, Dispatch, Hold, OUTAGE, Past, Sending, Sourced, Unconfirmed, Waiting};

/// The maximum time by which a batch is deferred.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// The same if Platform is overloaded, so that the batch is not the cause.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(3);

impl<T: Sourced> Dispatch<T> {
    /// Applies the verdict on a batch. `jitter` is uniform in `[0, 1)`.
    pub(crate) fn answered(&mut self, sending: Sending<T>, verdict: Verdict, now: Instant, jitter: f64) -> Decided<T> {
        self.in_flight -= 1;
        self.new_first = true;
        let mut decided = Decided { accepted: Vec::new(), dead_letters: Vec::new(), ids: (None, None) };
        let Sending { items, past, number, bound } = sending;
        let waiting = Waiting { items, past };
        match verdict {
            Verdict::Records { inlet_id, batch_id, records } => {
                decided.ids = (inlet_id, batch_id);
                self.records(waiting, records, (number, bound), now, jitter, &mut decided);
            }
            // This is not the response of a batch endpoint.
            Verdict::RetryAll { after, reason: RetryReason::Undeterminable } if waiting.items.len() > 1 => {
                self.again(waiting, RetryReason::Unavailable, after, number, now, jitter);
            }
            Verdict::RetryAll { after, reason } => self.again(waiting, reason, after, number, now, jitter),
            Verdict::Bisect { .. } | Verdict::Halve { reason: RetryReason::TooLarge } => self.halve(waiting),
            Verdict::Halve { reason } => self.again(waiting, reason, None, number, now, jitter),
            Verdict::Hold(reason) => self.held_by(waiting, reason, number, now, jitter),
        }
        decided
    }

    /// Applies one verdict for each record.
    fn records(
        &mut self,
        batch: Waiting<T>,
        verdicts: Vec<RecordVerdict>,
        (number, bound): (u64, bool),
        now: Instant,
        jitter: f64,
        decided: &mut Decided<T>,
    ) {
        let (mut refused, mut pending) = (Vec::new(), Vec::<(RetryReason, Vec<T>)>::new());
        let mut verdicts = verdicts.into_iter();
        for item in batch.items {
            // A record without an entry in the response has no outcome yet.
            match verdicts.next().unwrap_or(RecordVerdict::Retry(RetryReason::Undeterminable)) {
                RecordVerdict::Accepted { xaction_id } => decided.accepted.push((item, xaction_id)),
                RecordVerdict::Refused { status, message } => {
                    refused.push((item, DeadLetterReason::Refused(status, message)))
                }
                RecordVerdict::Retry(reason) => match pending.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, items)) => items.push(item),
                    None => pending.push((reason, vec![item])),
                },
            }
        }
        if !decided.accepted.is_empty() {
            decided.accepted.iter().for_each(|(item, _)| self.recent.note_good(item.source(), 1));
            self.succeeded(number, bound, now);
            if batch.past.over_limit {
                self.retry_over_limit();
            }
        }
        self.classify_refused(refused, batch.past, number, now, decided);
        for (reason, items) in pending {
            let pending = Waiting { items, past: batch.past };
            if reason == RetryReason::Unauthorized {
                // If others were accepted with the same token, the token is valid.
                if decided.accepted.is_empty() {
                    self.refused_by(HoldReason::Unauthorized, number, now);
                }
                self.defer(pending, LONGEST_WAIT, now, jitter);
            } else {
                self.again(pending, reason, None, number, now, jitter);
            }
        }
    }

    /// A record was accepted, so Platform works, and the token and the settings are valid.
    fn succeeded(&mut self, number: u64, bound: bool, now: Instant) {
        self.successes += 1;
        self.last_success = self.last_success.max(Some(number));
        if std::mem::take(&mut self.failures_in_row) >= OUTAGE {
            // The outage is over: every batch that was deferred because of it is due now.
            let waiting = self.deferred.iter_mut().filter(|(_, batch)| !batch.is_suspect());
            waiting.for_each(|(time, _)| *time = now.min(*time));
        }
        self.new_first = false;
        self.concurrency.succeeded(bound);
        self.fresh_token = None;
        if number >= self.round {
            self.backoff.reset();
            self.held = None;
        }
        // Unconfirmed batches that were sent before this request are sent once more, and that response counts.
        let (unconfirmed, still): (Vec<_>, Vec<_>) =
            self.unconfirmed.drain(..).partition(|unconfirmed| unconfirmed.number < number);
        self.unconfirmed = VecDeque::from(still);
        for mut unconfirmed in unconfirmed.into_iter().rev() {
            unconfirmed.waiting.past.others_accepted = true;
            self.ready.push_front(unconfirmed.waiting);
        }
    }

    /// Refused records become dead letters if other records are accepted. Otherwise they wait until one is.
    fn classify_refused(
        &mut self,
        refused: Vec<(T, DeadLetterReason)>,
        past: Past,
        number: u64,
        now: Instant,
        decided: &mut Decided<T>,
    ) {
        if refused.is_empty() {
            return;
        }
        // Another record was accepted in this request, in a later one, or while the batch was unconfirmed.
        let confirmed = past.others_accepted || self.last_success.is_some_and(|success| success >= number);
        if confirmed {
            decided.dead_letters.extend(self.dead_letter(refused, now));
            return;
        }
        let items = refused.into_iter().map(|(item, _)| item).collect();
        let again = past.deferrals > 0;
        let past = Past { deferrals: past.deferrals + 1, ..past };
        let ask_at = now + self.limits.hold_probe;
        self.unconfirmed.push_back(Unconfirmed { waiting: Waiting { items, past }, number, ask_at });
        if again || self.unconfirmed.len() > 1 {
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
        jitter: f64,
    ) {
        match reason {
            RetryReason::Throttled | RetryReason::Unavailable => {
                self.failures_in_row += 1;
                self.pause(after, number, now, jitter);
                // Defer the batch: if only this one gets such responses, it must not delay all the others.
                self.defer(batch, WAIT_FOR_ROOM, now, jitter);
            }
            RetryReason::Timeout | RetryReason::Connection => {
                self.failures_in_row += 1;
                if self.failures_in_row >= OUTAGE || after.is_some() {
                    self.pause(after, number, now, jitter);
                } else if number >= self.round {
                    self.concurrency.congested();
                    self.round = self.next_number;
                }
                self.defer(batch, LONGEST_WAIT, now, jitter);
            }
            RetryReason::ServerError => self.server_error(batch, after, number, now, jitter),
            RetryReason::TooLarge | RetryReason::Undeterminable | RetryReason::Unauthorized => {
                self.failures_in_row += u32::from(reason == RetryReason::Undeterminable);
                if self.failures_in_row >= OUTAGE {
                    self.pause(after, number, now, jitter);
                }
                if batch.items.len() > 1 { self.halve(batch) } else { self.defer(batch, LONGEST_WAIT, now, jitter) }
            }
        }
    }

    /// Handles a 500, which either Platform or one record can cause. If others succeed meanwhile, one of these records
    /// is the cause: the batch is halved until that record is alone. It then waits until it has failed often enough and
    /// long enough.
    fn server_error(&mut self, mut batch: Waiting<T>, after: Option<Duration>, number: u64, now: Instant, jitter: f64) {
        // The failure of a suspect says nothing about Platform.
        let suspect = batch.is_suspect();
        self.failures_in_row += u32::from(!suspect);
        let first = batch.past.first_failure.is_none();
        let others_succeed = !first && self.successes > batch.past.successes;
        batch.past.first_failure.get_or_insert(now);
        batch.past.successes = self.successes;
        if self.failures_in_row >= OUTAGE || after.is_some() {
            self.pause(after, number, now, jitter);
            // Defer the batch: if it is the cause after all, the success of another batch shows that.
            self.defer(batch, LONGEST_WAIT, now, jitter);
        } else if batch.items.len() > 1 && others_succeed {
            self.halve(Waiting { items: batch.items, past: Past::default() });
        } else {
            batch.past.failures += u32::from(others_succeed || first);
            self.defer(batch, LONGEST_WAIT, now, jitter);
        }
    }

    /// Pauses the whole instance for at least as long as Platform asks. A response to a request from before the pause
    /// only counts with its own `Retry-After`; otherwise a burst of such responses would multiply the pause.
    fn pause(&mut self, after: Option<Duration>, number: u64, now: Instant, jitter: f64) {
        let asked = now + after.unwrap_or_default();
        let until = if number >= self.round {
            self.concurrency.stopped();
            self.round = self.next_number;
            asked.max(now + self.backoff.next_wait(jitter))
        } else {
            asked
        };
        self.begin_at(until);
    }

    /// Defers this batch alone, longer each time.
    fn defer(&mut self, mut batch: Waiting<T>, longest: Duration, now: Instant, jitter: f64) {
        let wait = Duration::from_millis(200).saturating_mul(1 << batch.past.deferrals.min(8)).min(longest);
        batch.past.deferrals += 1;
        self.deferred.push((now + wait.mul_f64(0.5 + jitter / 2.0), batch));
    }

    fn halve(&mut self, mut batch: Waiting<T>) {
        let second = batch.items.split_off(batch.items.len().div_ceil(2));
        if !second.is_empty() {
            self.ready.push_front(Waiting { items: second, past: batch.past });
        }
        self.ready.push_front(batch);
    }

    /// Handles a response that blames the credential or the address. If others are accepted between two such responses,
    /// neither is the cause: something between here and Platform rejects one record, and only that record waits.
    fn held_by(&mut self, mut batch: Waiting<T>, reason: HoldReason, number: u64, now: Instant, jitter: f64) {
        let others_succeed = batch.past.deferrals > 0 && self.successes > batch.past.successes;
        batch.past.successes = self.successes;
        if !others_succeed {
            self.refused_by(reason, number, now);
        } else if batch.items.len() > 1 {
            let half = batch.items.split_off(batch.items.len().div_ceil(2));
            self.defer(Waiting { items: half, past: batch.past }, LONGEST_WAIT, now, jitter);
        }
        self.defer(batch, LONGEST_WAIT, now, jitter);
    }

    /// Handles 401, 403 and similar responses. The first refused token may only have expired: the client drops it, and
    /// the next request carries a new one.
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
