//! Applies Platform's verdicts to batches and records.

use std::time::{Duration, Instant};

use platform::{HoldReason, RecordVerdict, RetryReason, Verdict};

use super::gate::{Hold, Reply};
use super::queue::{Batch, Past};
use super::{Decided, Dispatch, Sending};
use crate::work::{DeadLetterReason, Sourced};

/// Maximum time by which a batch is deferred.
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// Maximum time by which a batch is deferred if Platform is overloaded, which is not the fault of the batch.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(3);

/// Minimum number of 500 responses to a record that is sent alone, before the record becomes a dead letter.
const DEAD_LETTER_FAILURES: u32 = 5;

impl<T: Sourced> Dispatch<T> {
    /// Applies the verdict on a batch. `jitter` is uniform in `[0, 1)`.
    pub(crate) fn answered(&mut self, sending: Sending<T>, verdict: Verdict, now: Instant, jitter: f64) -> Decided<T> {
        self.gate.returned();
        self.queue.set_new_first(true);
        let mut decided = Decided::nothing();
        let Sending { items, past, number, bound } = sending;
        let (batch, reply) = (Batch { items, past }, Reply { number, bound, now, jitter });
        match verdict {
            Verdict::Records { inlet_id, batch_id, records } => {
                (decided.inlet_id, decided.batch_id) = (inlet_id, batch_id);
                self.records(batch, records, reply, &mut decided);
            }
            // A batch of several records gets this verdict only for a status that the batch endpoint never returns, so
            // the response counts as [`RetryReason::Unavailable`].
            Verdict::RetryAll { after, reason: RetryReason::Undeterminable } if batch.items.len() > 1 => {
                self.again(batch, RetryReason::Unavailable, after, reply);
            }
            Verdict::RetryAll { after, reason } => self.again(batch, reason, after, reply),
            Verdict::Bisect { .. } | Verdict::Halve { reason: RetryReason::TooLarge } => self.queue.halve(batch),
            Verdict::Halve { reason } => self.again(batch, reason, None, reply),
            Verdict::Hold(reason) => self.held_by(batch, reason, reply),
        }
        decided
    }

    /// Returns the records that must become dead letters now: those that failed with 500 often enough and for long
    /// enough while sent alone, and those that are no longer over the dead-letter limit.
    pub(crate) fn due_dead_letters(&mut self, now: Instant) -> Vec<(T, DeadLetterReason)> {
        let dead_letter_after = self.limits.dead_letter_after;
        let is_confirmed = |batch: &Batch<T>| {
            let past = batch.past;
            let long = past.first_failure.is_some_and(|first| now - first >= dead_letter_after);
            batch.items.len() == 1 && past.failures >= DEAD_LETTER_FAILURES && long
        };
        while let Some(batch) = self.queue.take_deferred(is_confirmed) {
            let rejected = batch.items.into_iter().map(|item| (item, DeadLetterReason::ServerError)).collect();
            let dead_letters = self.dead_letter(rejected, now);
            if !dead_letters.is_empty() {
                return dead_letters;
            }
        }
        self.over_limit.within_limit()
    }

    /// Applies one verdict for each record.
    fn records(&mut self, batch: Batch<T>, verdicts: Vec<RecordVerdict>, reply: Reply, decided: &mut Decided<T>) {
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
            decided.accepted.iter().for_each(|(item, _)| self.over_limit.note_accepted(item));
            self.succeeded(reply);
            if batch.past.over_limit {
                self.over_limit.take_all().for_each(|held| self.queue.push(held));
            }
        }
        self.classify_refused(refused, batch.past, reply, decided);
        for (reason, items) in pending {
            let pending = Batch { items, past: batch.past };
            if reason == RetryReason::Unauthorized {
                // If other records were accepted with the same token, the token is valid.
                if decided.accepted.is_empty() {
                    self.gate.refused_by(HoldReason::Unauthorized, reply);
                }
                self.defer(pending, LONGEST_WAIT, reply);
            } else {
                self.again(pending, reason, None, reply);
            }
        }
    }

    /// Notes that a record was accepted, so Platform works, and the token and the settings are valid.
    fn succeeded(&mut self, reply: Reply) {
        self.successes += 1;
        self.last_success = self.last_success.max(Some(reply.number));
        if self.gate.succeeded(reply) {
            self.queue.outage_ended(reply.now);
        }
        self.queue.set_new_first(false);
        self.queue.others_accepted(reply.number);
    }

    /// Makes refused records dead letters if another record was accepted; otherwise they wait until one is accepted.
    fn classify_refused(
        &mut self,
        refused: Vec<(T, DeadLetterReason)>,
        past: Past,
        reply: Reply,
        decided: &mut Decided<T>,
    ) {
        if refused.is_empty() {
            return;
        }
        // Another record was accepted in this request, in a later one, or while the batch was unconfirmed.
        let confirmed = past.others_accepted || self.last_success.is_some_and(|success| success >= reply.number);
        if confirmed {
            decided.dead_letters.extend(self.dead_letter(refused, reply.now));
            return;
        }
        let items = refused.into_iter().map(|(item, _)| item).collect();
        let again = past.deferrals > 0;
        let past = Past { deferrals: past.deferrals + 1, ..past };
        let ask_at = reply.now + self.limits.hold_probe;
        let unconfirmed = self.queue.push_unconfirmed(Batch { items, past }, reply.number, ask_at);
        if again || unconfirmed > 1 {
            self.gate.hold(Hold::RefusedAlike, reply.now);
        }
    }

    /// Schedules a batch to be sent again, at a time that depends on the reason.
    fn again(&mut self, batch: Batch<T>, reason: RetryReason, after: Option<Duration>, reply: Reply) {
        match reason {
            RetryReason::Throttled | RetryReason::Unavailable => {
                self.gate.failed();
                self.gate.pause(after, reply);
                // Defer the batch: if only this one gets such responses, it must not delay all the others.
                self.defer(batch, WAIT_FOR_ROOM, reply);
            }
            RetryReason::Timeout | RetryReason::Connection => {
                self.gate.failed();
                if self.gate.is_outage() || after.is_some() {
                    self.gate.pause(after, reply);
                } else {
                    self.gate.congested(reply);
                }
                self.defer(batch, LONGEST_WAIT, reply);
            }
            RetryReason::ServerError => self.server_error(batch, after, reply),
            RetryReason::TooLarge | RetryReason::Undeterminable | RetryReason::Unauthorized => {
                if reason == RetryReason::Undeterminable {
                    self.gate.failed();
                }
                if self.gate.is_outage() {
                    self.gate.pause(after, reply);
                }
                if batch.items.len() > 1 { self.queue.halve(batch) } else { self.defer(batch, LONGEST_WAIT, reply) }
            }
        }
    }

    /// Handles a 500, which either Platform or one record can cause. If other batches succeed meanwhile, one of these
    /// records is the cause: the batch is halved until that record is alone. The record then waits until it has failed
    /// often enough and for long enough to become a dead letter.
    fn server_error(&mut self, mut batch: Batch<T>, after: Option<Duration>, reply: Reply) {
        // A failure of the record that is the likely cause does not indicate an outage.
        if !batch.is_suspect() {
            self.gate.failed();
        }
        let first = batch.past.first_failure.is_none();
        let others_succeed = !first && self.successes > batch.past.successes;
        batch.past.first_failure.get_or_insert(reply.now);
        batch.past.successes = self.successes;
        if self.gate.is_outage() || after.is_some() {
            self.gate.pause(after, reply);
            // Defer the batch: if it is the cause after all, the success of another batch shows that.
            self.defer(batch, LONGEST_WAIT, reply);
        } else if batch.items.len() > 1 && others_succeed {
            self.queue.halve(Batch::new(batch.items));
        } else {
            batch.past.failures += u32::from(others_succeed || first);
            self.defer(batch, LONGEST_WAIT, reply);
        }
    }

    /// Handles a response that indicates a wrong credential or address. If other records are accepted between two such
    /// responses to a batch, credential and address are right: a system between the sink and Platform rejects one
    /// record of the batch, and only that record waits.
    fn held_by(&mut self, mut batch: Batch<T>, reason: HoldReason, reply: Reply) {
        let others_succeed = batch.past.deferrals > 0 && self.successes > batch.past.successes;
        batch.past.successes = self.successes;
        if !others_succeed {
            self.gate.refused_by(reason, reply);
        } else if batch.items.len() > 1 {
            let half = batch.split();
            self.defer(half, LONGEST_WAIT, reply);
        }
        self.defer(batch, LONGEST_WAIT, reply);
    }

    fn defer(&mut self, batch: Batch<T>, longest: Duration, reply: Reply) {
        self.queue.defer(batch, longest, reply.now, reply.jitter);
    }
}
