//! Takes the output of a record.

use contract::{Position, TopicName};

use super::oversized::Oversized;
use super::producer::{InputNumber, TransactionalProducer};
use crate::producer::NewRecord;

/// Takes the output of a record during [`Processor::process`](super::Processor::process).
pub struct Outbox<'p> {
    producer: &'p TransactionalProducer,
    oversized: &'p Oversized,
    position: Position,
    /// The number of the record in the transaction.
    input: InputNumber,
    pub(super) result: Processed,
}

/// The result of processing one record.
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
        position: Position,
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

    /// How many outputs of this record `topic` has refused in earlier transactions because of their size. The processor
    /// then writes less than the last time, writes to another topic, or holds.
    #[must_use]
    pub fn refusals(&self, topic: &TopicName) -> u32 {
        self.oversized.refusals(self.position, topic)
    }

    /// Stops before this record, which must have had no effect. The records before it are committed; then the worker
    /// holds: it stays alive and reads nothing until it is restarted. `reason` says what to do.
    pub fn hold(&mut self, reason: String) {
        self.result.held = Some(reason);
    }

    /// Defers this record and continues with those after it; the record must have had no effect. It is processed when
    /// its partition is assigned again, for example after a restart. If too many records of the partition are deferred
    /// already, the partition stops before this one, and the others continue; `reason` then says why.
    pub fn defer(&mut self, reason: String) {
        self.result.deferred = Some(reason);
    }

    /// Ends the worker: this record can neither be turned into output nor be skipped until a person has changed
    /// something; `reason` says what. Nothing of the open transaction becomes visible.
    pub fn give_up(&mut self, reason: String) {
        self.result.given_up = Some(reason);
    }
}
