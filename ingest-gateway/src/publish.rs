//! Where accepted bodies go. Behind a trait, so that every answer can be tested without Kafka.

use std::future::Future;
use std::sync::Arc;

use kafka::producer::{DurableProducer, NewRecord, ProduceError};
use kafka::{Headers, TopicName};

use crate::budget::Share;

/// A body to be stored, with what is written beside it.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) body: &'a [u8],
    pub(crate) headers: Headers,
}

/// Stores bodies durably.
pub(crate) trait Publish: Send + Sync + 'static {
    /// Hands a record over; the future resolves once its fate is known. `share` is held until then, whoever waits.
    fn publish(
        &self,
        record: RawRecord<'_>,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError>;
}

/// Writes to the raw topic.
#[derive(Debug)]
pub(crate) struct KafkaPublisher {
    producer: Arc<DurableProducer<Share>>,
    topic: TopicName,
}

impl KafkaPublisher {
    pub(crate) fn new(producer: Arc<DurableProducer<Share>>, topic: TopicName) -> Self {
        Self { producer, topic }
    }
}

impl Publish for KafkaPublisher {
    fn publish(
        &self,
        record: RawRecord<'_>,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError> {
        let record = NewRecord {
            topic: &self.topic,
            partition: None,
            key: record.key,
            value: Some(record.body),
            headers: record.headers,
        };
        let delivery = self.producer.send(record, share)?;
        Ok(async move { delivery.await.map(|_| ()) })
    }
}
