//! Where accepted bodies go. Behind a trait, so that every answer can be tested without Kafka.

use std::future::Future;
use std::sync::Arc;

use kafka::producer::{DurableProducer, NewRecord, ProduceError};
use kafka::{Headers, KafkaHealth, TopicName};

use crate::budget::Share;

/// Which topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Webhooks as they came.
    Raw,
    /// What cannot go on.
    DeadLetters,
}

/// A body to be stored, with what is written beside it.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: Destination,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
    pub(crate) headers: Headers,
}

/// Whether a record may share its batch with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// With whatever is written at the same time.
    Shared,
    /// A batch of its own: only then is a refusal for the batch's size the fault of this record.
    Own,
}

/// Stores bodies durably.
pub(crate) trait Publish: Send + Sync + 'static {
    /// Hands a record over; the future resolves once its fate is known. `share` is held until then, whoever waits.
    fn publish(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError>;

    /// Tells what became of a record, as far as whoever waited for it knows.
    fn report(&self, to: Destination, stored: &Result<(), ProduceError>);
}

/// Writes to the topics of a Kafka.
#[derive(Debug)]
pub(crate) struct KafkaPublisher {
    pub(crate) producer: Arc<DurableProducer<Share>>,
    pub(crate) raw_topic: TopicName,
    pub(crate) dead_letter_topic: TopicName,
    pub(crate) health: KafkaHealth,
}

impl Publish for KafkaPublisher {
    fn publish(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError> {
        let topic = self.topic(record.to);
        let record =
            NewRecord { topic, partition: None, key: record.key, value: Some(record.body), headers: record.headers };
        let delivery = match batch {
            Batch::Shared => self.producer.send(record, share)?,
            Batch::Own => self.producer.send_alone(record, share)?,
        };
        Ok(async move { delivery.await.map(|_| ()) })
    }

    fn report(&self, to: Destination, stored: &Result<(), ProduceError>) {
        self.health.wrote(self.topic(to), stored);
    }
}

impl KafkaPublisher {
    fn topic(&self, to: Destination) -> &TopicName {
        match to {
            Destination::Raw => &self.raw_topic,
            Destination::DeadLetters => &self.dead_letter_topic,
        }
    }
}
