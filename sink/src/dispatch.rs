//! Decides which batch is sent at which time, and applies Platform's responses. This is a plain value without I/O.
//!
//! A batch is offered, sent and answered. Then each of its records is accepted, becomes a dead letter, or is still
//! pending. Callers pass in time, randomness and responses, so that tests can run every sequence of responses. [`gate`]
//! decides when a request may be sent, [`queue`] which batch it contains, and [`policy`] applies the response.
//!
//! A refused record becomes a dead letter only after a confirmed rejection: Platform refuses this record and accepts
//! another one. While Platform accepts nothing else, the cause may be a wrong setting, and the record waits.

mod gate;
mod over_limit;
mod policy;
mod queue;

use std::time::Instant;

use crate::work::{DeadLetterReason, Sourced};

pub(crate) use gate::{Hold, Limits};

use gate::Gate;
use over_limit::OverLimit;
use queue::{Batch, Past, Queue};

/// The records of a batch that have a verdict. Their outcome is not durable yet, and the other records of the batch are
/// still pending.
#[derive(Debug)]
pub(crate) struct Decided<T> {
    /// Records that Platform accepted, each with Platform's transaction id (`xactionId`).
    pub(crate) accepted: Vec<(T, Option<String>)>,
    /// Records to write to the dead-letter topic.
    pub(crate) dead_letters: Vec<(T, DeadLetterReason)>,
    pub(crate) inlet_id: Option<String>,
    pub(crate) batch_id: Option<String>,
}

impl<T> Decided<T> {
    fn nothing() -> Self {
        Self::without_response(Vec::new())
    }

    /// Creates the value for records that become dead letters independently of a response.
    pub(crate) fn without_response(dead_letters: Vec<(T, DeadLetterReason)>) -> Self {
        Self { accepted: Vec::new(), dead_letters, inlet_id: None, batch_id: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.accepted.len() + self.dead_letters.len()
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &T> {
        let accepted = self.accepted.iter().map(|(item, _)| item);
        accepted.chain(self.dead_letters.iter().map(|(item, _)| item))
    }
}

/// A batch in flight.
#[derive(Debug)]
pub(crate) struct Sending<T> {
    items: Vec<T>,
    past: Past,
    number: u64,
    /// Whether this request reached the limit on requests in flight.
    bound: bool,
}

impl<T> Sending<T> {
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

/// The next step.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Send(Sending<T>),
    /// Nothing can be sent before this time, unless a response or a new batch arrives earlier; `None` if only these can
    /// change that.
    Wait(Option<Instant>),
}

/// Holds all batches that are not in flight, and decides which of them is sent next.
#[derive(Debug)]
pub(crate) struct Dispatch<T> {
    limits: Limits,
    gate: Gate,
    queue: Queue<T>,
    over_limit: OverLimit<T>,
    /// Number of requests with an accepted record.
    successes: u64,
    /// Number of the newest request with an accepted record.
    last_success: Option<u64>,
}

impl<T: Sourced> Dispatch<T> {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            gate: Gate::new(&limits, now),
            queue: Queue::new(),
            over_limit: OverLimit::new(&limits, now),
            successes: 0,
            last_success: None,
            limits,
        }
    }

    /// Prevents requests before this time.
    pub(crate) fn begin_at(&mut self, time: Instant) {
        self.gate.begin_at(time);
    }

    /// Sets this instance's share of the group's rates: `assigned` of `all` partitions.
    pub(crate) fn set_share(&mut self, assigned: usize, all: usize) {
        self.gate.set_share(assigned, all);
    }

    /// Adds a new batch.
    pub(crate) fn offer(&mut self, items: Vec<T>) {
        self.queue.push(Batch::new(items));
    }

    /// Whether no batch is ready, so that the caller should offer another one.
    pub(crate) fn is_hungry(&self) -> bool {
        self.queue.is_hungry()
    }

    /// Returns the maximum number of requests in flight.
    pub(crate) fn allowed(&self) -> usize {
        self.gate.allowed()
    }

    /// Returns the number of requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Returns the reason why nothing or only a part is delivered; `None` if everything is delivered.
    pub(crate) fn held(&self) -> Option<Hold> {
        self.gate.held().or(self.over_limit.is_holding().then_some(Hold::DeadLetterLimit))
    }

    /// Returns the next step.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        if let Err(until) = self.gate.check(self.queue.has_news(), now) {
            return Next::Wait(until);
        }
        let condition = self.gate.condition();
        match self.over_limit.pick(now).or_else(|| self.queue.pick(condition, now)) {
            Some(Batch { items, past }) => {
                let (number, bound) = self.gate.sent(items.len(), now);
                Next::Send(Sending { items, past, number, bound })
            }
            None => Next::Wait(self.queue.next_due().into_iter().chain(self.over_limit.next_due()).min()),
        }
    }

    /// Returns the rejected records that may become dead letters now, and holds the others.
    pub(crate) fn dead_letter(
        &mut self,
        rejected: Vec<(T, DeadLetterReason)>,
        now: Instant,
    ) -> Vec<(T, DeadLetterReason)> {
        self.over_limit.dead_letter(rejected, now)
    }

    /// Removes and returns the records of revoked partitions, for which `stays` returns false.
    pub(crate) fn remove(&mut self, mut stays: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = self.queue.remove(&mut stays);
        removed.extend(self.over_limit.remove(&mut stays));
        removed
    }
}

#[cfg(test)]
mod tests;
