//! The interface through which a processor writes output.

use contract::{Position, TopicName};

use super::oversized::Oversized;
use super::producer::{InputNumber, TransactionalProducer};
use crate::producer::NewRecord;

/// Receives the output of a record during [`Processor::process`](super::Processor::process).
pub struct Outbox<'p> {
    producer: &'p TransactionalProducer,
    oversized: &'p Oversized,
    position: Position,
    /// Number of the input record in the transaction.
    input: InputNumber,
    /// The reason why an output record could not be queued.
    pub(super) failure: Option<String>,
}

impl std::fmt::Debug for Outbox<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("failure", &self.failure).finish_non_exhaustive()
    }
}

impl<'p> Outbox<'p> {
    pub(super) fn new(
        producer: &'p TransactionalProducer,
        oversized: &'p Oversized,
        position: Position,
        input: InputNumber,
    ) -> Self {
        Self { producer, oversized, position, input, failure: None }
    }

    /// Adds a record to the transaction. A failure aborts the transaction after the current record.
    pub fn send(&mut self, record: NewRecord<'_>) {
        if self.failure.is_none()
            && let Err(reason) = self.producer.send(record, self.input)
        {
            self.failure = Some(reason);
        }
    }

    /// Number of outputs of this record that `topic` has refused in earlier transactions because of their size. After a
    /// refusal, the processor writes a smaller output than before, writes to another topic, or holds.
    #[must_use]
    pub fn refusals(&self, topic: &TopicName) -> u32 {
        self.oversized.refusals(self.position, topic)
    }
}
