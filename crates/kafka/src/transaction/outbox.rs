//! Where a record's output goes.

use super::oversized::Oversized;
use super::producer::{InputNumber, TransactionalProducer};
use crate::producer::NewRecord;
use crate::topic::TopicName;

/// Where a record's output goes during [`Processor::process`](super::Processor::process).
pub struct Outbox<'p> {
    producer: &'p TransactionalProducer,
    oversized: &'p Oversized,
    /// The record's partition and offset, and its number in the transaction.
    position: (i32, i64),
    input: InputNumber,
    pub(super) result: Processed,
}

/// What came of processing one record, as far as the worker is concerned.
#[derive(Debug, Default)]
pub(super) struct Processed {
    pub(super) failure: Option<String>,
    pub(super) given_up: Option<String>,
    pub(super) held: Option<String>,
    pub(super) deferred: Option<String>,
}

impl std::fmt::Debug for Outbox<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("result", &self.result).finish_non_exhaustive()
    }
}

impl<'p> Outbox<'p> {
    pub(super) fn new(
        producer: &'p TransactionalProducer,
        oversized: &'p Oversized,
        position: (i32, i64),
        input: InputNumber,
    ) -> Self {
        Self { producer, oversized, position, input, result: Processed::default() }
    }

    /// Adds a record to the transaction. A failure aborts the transaction after the current record.
    pub fn send(&mut self, record: NewRecord<'_>) {
        if self.result.failure.is_none()
            && let Err(reason) = self.producer.send(record, self.input)
        {
            self.result.failure = Some(reason);
        }
    }

    /// How many outputs of this record `topic` has refused because of their size, in earlier transactions: write less
    /// than the last time, write to another topic, or hold.
    #[must_use]
    pub fn refusals(&self, topic: &TopicName) -> u32 {
        self.oversized.refusals(self.position.0, self.position.1, topic)
    }

    /// Stops before this record, which must have had no effect: what was processed before it is committed, and the worker
    /// then holds, alive and reading nothing, until it is restarted. `reason` says what to do.
    pub fn hold(&mut self, reason: String) {
        self.result.held = Some(reason);
    }

    /// Leaves this record where it is and goes on with those after it; it must have had no effect. It is processed when its
    /// partition is assigned anew, as after a restart. If too many records of the partition are left like this already, the
    /// partition stops before this one, and the others go on; `reason` then says why.
    pub fn defer(&mut self, reason: String) {
        self.result.deferred = Some(reason);
    }

    /// Ends the worker: this record can neither be turned into output nor be passed over until a person has changed
    /// something, which `reason` says. Nothing of the open transaction becomes visible.
    pub fn give_up(&mut self, reason: String) {
        self.result.given_up = Some(reason);
    }
}
