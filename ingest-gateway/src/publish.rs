//! Writes accepted bodies to Kafka. The publisher is a trait, so that tests can cover every response without Kafka.

use std::future::Future;
use std::sync::Arc;

use kafka::producer::{DurableProducer, NewRecord, ProduceError};
use kafka::{Headers, KafkaHealth, TopicName};

use crate::budget::Share;

/// The topic of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The raw topic, for webhooks as they were received.
    Raw,
    DeadLetters,
}

/// A body to be stored, with its key and headers.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: Destination,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
    pub(crate) headers: Headers,
}

/// Whether a record may share its batch with other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// The record may be in a batch with other records.
    Shared,
    /// The record is the only one in its batch, so that a refusal because of the batch's size refers to this record.
    Own,
}

/// Stores bodies durably.
pub(crate) trait Publish: Send + Sync + 'static {
    /// Queues a record; the future resolves once the record is stored or has failed. `share` is kept until then, even
    /// if the request no longer waits.
    fn publish(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError>;

    /// Reports the result of a record to the health checks. A record that was not acknowledged before the response was
    /// due counts as a timeout.
    fn report(&self, to: Destination, stored: &Result<(), ProduceError>);
}

/// Publishes records to Kafka.
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
