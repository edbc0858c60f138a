//! Holds the batches that are not in flight, and decides which of them is sent next.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::gate::Condition;

/// The history of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// Number of failures with 500: the first one, and each later one if another request had succeeded before it.
    pub(super) failures: u32,
    pub(super) first_failure: Option<Instant>,
    /// Value of `Dispatch::successes` at the last failure.
    pub(super) successes: u64,
    /// Whether Platform has refused the whole batch and has accepted another record since.
    pub(super) others_accepted: bool,
    pub(super) deferrals: u32,
    /// Whether the batch was held because of the dead-letter limit.
    pub(super) over_limit: bool,
}

/// Records that are sent together.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) items: Vec<T>,
    pub(super) past: Past,
}

impl<T> Batch<T> {
    pub(super) fn new(items: Vec<T>) -> Self {
        Self { items, past: Past::default() }
    }

    /// Whether this is a single record that failed with 500 while others succeeded, so that the record is the likely
    /// cause.
    pub(super) fn is_suspect(&self) -> bool {
        self.items.len() == 1 && self.past.failures > 1
    }

    /// Removes and returns the second half, with the same past. The second half is empty if there is only one record.
    pub(super) fn split(&mut self) -> Self {
        let items = self.items.split_off(self.items.len().div_ceil(2));
        Self { items, past: self.past }
    }
}

/// A batch whose rejection is unconfirmed.
#[derive(Debug)]
struct Unconfirmed<T> {
    batch: Batch<T>,
    /// Number of the batch's request. If a later request has an accepted record, the batch is sent once more.
    number: u64,
    /// Time at which the batch is sent again if no other record is accepted before.
    ask_at: Instant,
}

/// The batches that are not in flight.
#[derive(Debug)]
pub(super) struct Queue<T> {
    ready: VecDeque<Batch<T>>,
    /// Batches that wait, each with the time at which it is due.
    deferred: Vec<(Instant, Batch<T>)>,
    /// Batches that Platform refused as a whole while it accepted nothing else.
    unconfirmed: VecDeque<Unconfirmed<T>>,
    /// Whether the last response was not a success. New batches are then sent before batches that have failed;
    /// otherwise the sink might send nothing but a few bad records.
    new_first: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { ready: VecDeque::new(), deferred: Vec::new(), unconfirmed: VecDeque::new(), new_first: false }
    }

    /// Appends a batch that can be sent at once.
    pub(super) fn push(&mut self, batch: Batch<T>) {
        self.ready.push_back(batch);
    }

    /// Whether no batch is ready.
    pub(super) fn is_hungry(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether a ready batch can show that Platform does not refuse every record. If only one batch is unconfirmed,
    /// that batch may be the only bad one.
    pub(super) fn has_news(&self) -> bool {
        self.unconfirmed.len() == 1 && !self.ready.is_empty()
    }

    pub(super) fn set_new_first(&mut self, new_first: bool) {
        self.new_first = new_first;
    }

    /// Removes and returns the batch to send now.
    pub(super) fn pick(&mut self, condition: Condition, now: Instant) -> Option<Batch<T>> {
        let held = condition == Condition::Held;
        let new = if self.new_first || held { self.ready.pop_front() } else { None };
        if new.is_some() {
            return new;
        }
        if let Some(due) = self.deferred.iter().position(|(time, _)| *time <= now) {
            return Some(self.deferred.swap_remove(due).1);
        }
        self.ready.pop_front().or_else(|| self.pick_unconfirmed(held, now)).or_else(|| match condition {
            Condition::Works => None,
            Condition::Outage | Condition::Held => self.pick_probe(),
        })
    }

    fn pick_unconfirmed(&mut self, held: bool, now: Instant) -> Option<Batch<T>> {
        let due = self.unconfirmed.front().is_some_and(|unconfirmed| held || unconfirmed.ask_at <= now);
        if due { self.unconfirmed.pop_front().map(|unconfirmed| unconfirmed.batch) } else { None }
    }

    /// Removes and returns the deferred batch that is due next, before it is due. In an outage and during a hold, any
    /// batch can show that Platform works again, so one is sent whenever the pause or the probe interval ends.
    fn pick_probe(&mut self) -> Option<Batch<T>> {
        let deferred = self.deferred.iter().enumerate().filter(|(_, (_, batch))| !batch.is_suspect());
        let (next, _) = deferred.min_by_key(|(_, (time, _))| *time)?;
        Some(self.deferred.swap_remove(next).1)
    }

    /// Returns the time at which the next of the waiting batches is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let deferred = self.deferred.iter().map(|(time, _)| *time);
        deferred.chain(self.unconfirmed.front().map(|unconfirmed| unconfirmed.ask_at)).min()
    }

    /// Defers only this batch. Each deferral is longer than the one before, up to `longest`.
    pub(super) fn defer(&mut self, mut batch: Batch<T>, longest: Duration, now: Instant, jitter: f64) {
        let wait = Duration::from_millis(200).saturating_mul(1 << batch.past.deferrals.min(8)).min(longest);
        batch.past.deferrals += 1;
        self.deferred.push((now + wait.mul_f64(0.5 + jitter / 2.0), batch));
    }

    /// Splits a batch and puts its halves first in the queue.
    pub(super) fn halve(&mut self, mut batch: Batch<T>) {
        let second = batch.split();
        if !second.items.is_empty() {
            self.ready.push_front(second);
        }
        self.ready.push_front(batch);
    }

    /// Keeps a batch whose rejection is unconfirmed; returns the number of such batches.
    pub(super) fn push_unconfirmed(&mut self, batch: Batch<T>, number: u64, ask_at: Instant) -> usize {
        self.unconfirmed.push_back(Unconfirmed { batch, number, ask_at });
        self.unconfirmed.len()
    }

    /// Notes that a record of this request was accepted. Unconfirmed batches that were sent before the request are sent
    /// once more, and their next response decides.
    pub(super) fn others_accepted(&mut self, number: u64) {
        let (unconfirmed, still): (Vec<_>, Vec<_>) =
            self.unconfirmed.drain(..).partition(|unconfirmed| unconfirmed.number < number);
        self.unconfirmed = VecDeque::from(still);
        for mut unconfirmed in unconfirmed.into_iter().rev() {
            unconfirmed.batch.past.others_accepted = true;
            self.ready.push_front(unconfirmed.batch);
        }
    }

    /// Makes all deferred batches due now, because an outage is over. Only records that are the likely cause of a 500
    /// still wait.
    pub(super) fn outage_ended(&mut self, now: Instant) {
        let waiting = self.deferred.iter_mut().filter(|(_, batch)| !batch.is_suspect());
        waiting.for_each(|(time, _)| *time = now.min(*time));
    }

    /// Removes and returns a deferred batch for which the condition holds.
    pub(super) fn take_deferred(&mut self, condition: impl Fn(&Batch<T>) -> bool) -> Option<Batch<T>> {
        let index = self.deferred.iter().position(|(_, batch)| condition(batch))?;
        Some(self.deferred.swap_remove(index).1)
    }

    /// Removes and returns the records of revoked partitions, for which `stays` returns false.
    pub(super) fn remove(&mut self, stays: &mut impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        let mut sift = |batch: &mut Batch<T>| {
            let items = std::mem::take(&mut batch.items);
            let (stay, gone): (Vec<T>, Vec<T>) = items.into_iter().partition(&mut *stays);
            batch.items = stay;
            removed.extend(gone);
            !batch.items.is_empty()
        };
        self.ready.retain_mut(&mut sift);
        self.deferred.retain_mut(|(_, batch)| sift(batch));
        self.unconfirmed.retain_mut(|unconfirmed| sift(&mut unconfirmed.batch));
        removed
    }
}
