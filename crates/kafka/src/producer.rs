//! A producer that reports for each record whether all in-sync replicas have stored it.
//!
//! The producer is idempotent, with `acks=all`. A value that the caller attaches to a record (for example its share of
//! a memory budget) is kept until librdkafka reports on that record, whether or not a caller still waits. After a fatal
//! error, the client is replaced in place.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use contract::{Partition, Position, TopicName};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use crate::client::{Callbacks, Context, set_default};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::{DeliveryFailure, delivery_failure};
use crate::record::Headers;

/// The partitioner of Java clients, so that other producers choose the same partition for a key as ours.
pub(crate) const PARTITIONER: &str = "murmur2_random";

/// Settings of a [`DurableProducer`].
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// Time limit for the delivery of a record (`message.timeout.ms`).
    pub delivery_timeout: Duration,
    /// Maximum time that a record waits for other records of its batch (`linger.ms`).
    pub linger: Duration,
    /// Maximum size of a record, including headers and key, in bytes.
    pub max_record_bytes: usize,
    /// Maximum bytes in librdkafka's queue.
    pub queue_bytes: usize,
}

/// A record to be written.
#[derive(Debug)]
pub struct NewRecord<'a> {
    /// Topic of the record.
    pub topic: &'a TopicName,
    /// Partition of the record; `None` lets the key decide.
    pub partition: Option<Partition>,
    /// Key of the record. With neither a key nor a partition, librdkafka chooses a random partition.
    pub key: Option<&'a [u8]>,
    /// Value of the record; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
    /// Headers of the record.
    pub headers: Headers,
}

/// The reason why the brokers have not acknowledged a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// librdkafka's queue is full, because the brokers are too slow.
    #[error("the producer's queue is full")]
    QueueFull,
    /// The record is larger than the topic or the producer allows.
    #[error("the record is larger than the topic allows; raise max.message.bytes of the topic")]
    TooLarge,
    /// The topic does not exist.
    #[error("the topic does not exist")]
    NoTopic,
    /// This user may not write to the topic.
    #[error("this user may not write to the topic; give it the ACL Write on the topic")]
    Unauthorized,
    /// No acknowledgement arrived in time. The record may be stored nevertheless.
    #[error("no acknowledgement in time")]
    Unacknowledged,
    /// Any other error of librdkafka.
    #[error("librdkafka: {0}")]
    Other(String),
}

impl ProduceError {
    fn from_code(code: Option<RDKafkaErrorCode>, error: &RdError) -> Self {
        match delivery_failure(code) {
            DeliveryFailure::QueueFull => Self::QueueFull,
            DeliveryFailure::TooLarge => Self::TooLarge,
            DeliveryFailure::NoTopic => Self::NoTopic,
            DeliveryFailure::Unauthorized => Self::Unauthorized,
            DeliveryFailure::Unacknowledged => Self::Unacknowledged,
            DeliveryFailure::Other => Self::Other(error.to_string()),
        }
    }

    /// All values that [`ProduceError::code`] returns.
    pub const CODES: [&'static str; 6] =
        ["queue_full", "too_large", "no_topic", "unauthorized", "unacknowledged", "other"];

    /// A stable short name of the error, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::NoTopic => "no_topic",
            Self::Unauthorized => "unauthorized",
            Self::Unacknowledged => "unacknowledged",
            Self::Other(_) => "other",
        }
    }
}

/// A record without a delivery report: the caller that waits for the report, and the value attached to the record.
struct Pending<H> {
    answer: oneshot::Sender<Result<Position, ProduceError>>,
    held: H,
}

/// Passes each delivery report to the caller that waits for it.
struct Reports<H>(std::marker::PhantomData<fn(H)>);

impl<H: Send + Sync + 'static> Callbacks for Reports<H> {}

impl<H: Send + Sync + 'static> ProducerContext for Context<Reports<H>> {
    type DeliveryOpaque = Box<Pending<H>>;

    fn delivery(&self, report: &DeliveryResult<'_>, pending: Self::DeliveryOpaque) {
        let answer = match report {
            Ok(message) => Ok(Position::new(message.partition(), message.offset())),
            Err((error, _)) => Err(ProduceError::from_code(error.rdkafka_error_code(), error)),
        };
        let Pending { answer: waiting, held } = *pending;
        // Drops the attached value first, so that it no longer exists when the caller gets the report.
        drop(held);
        // The caller may have stopped waiting after its own timeout.
        drop(waiting.send(answer));
    }
}

type Inner<H> = ThreadedProducer<Context<Reports<H>>>;

/// A producer that reports for each record whether it is stored. `H` is the value that is attached to a record until
/// its report.
pub struct DurableProducer<H: Send + Sync + 'static> {
    batching: Replaceable<H>,
    /// A client whose batches have one record each. It is built when it is first needed.
    single: Replaceable<H>,
}

impl<H: Send + Sync + 'static> fmt::Debug for DurableProducer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableProducer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<H: Send + Sync + 'static> DurableProducer<H> {
    /// Creates the producer; it connects in the background.
    ///
    /// # Errors
    /// [`KafkaError::Configuration`].
    pub fn new(connection: &Connection, settings: &ProducerSettings) -> Result<Self, KafkaError> {
        let mut config = connection.config();
        let kilobytes = (settings.queue_bytes / 1024).clamp(1024, 2_097_151);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", PARTITIONER)
            .set("message.timeout.ms", settings.delivery_timeout.as_millis().to_string())
            .set("linger.ms", settings.linger.as_millis().to_string())
            .set("message.max.bytes", settings.max_record_bytes.max(1000).to_string())
            .set("queue.buffering.max.kbytes", kilobytes.to_string())
            .set("queue.buffering.max.messages", "0");
        set_default(&mut config, "compression.type", "lz4");
        set_default(&mut config, "reconnect.backoff.max.ms", "1000");
        let mut one_record = config.clone();
        one_record.set("batch.num.messages", "1").set("linger.ms", "0");
        let producer = Self { batching: Replaceable::new(config), single: Replaceable::new(one_record) };
        producer.batching.get().map_err(|error| KafkaError::Configuration(error.to_string()))?;
        Ok(producer)
    }

    /// Queues a record. The returned future resolves with the delivery report; `held` is dropped when the report
    /// arrives, even if the future was dropped before.
    ///
    /// # Errors
    /// [`ProduceError`] if the record could not be queued.
    pub fn send(&self, record: NewRecord<'_>, held: H) -> Result<Delivery, ProduceError> {
        self.batching.send(record, held)
    }

    /// Like [`DurableProducer::send`], but in a batch with only this record. A broker refuses all records of a batch
    /// that is too large, so only here does [`ProduceError::TooLarge`] refer to this record.
    ///
    /// # Errors
    /// [`ProduceError`] if the record could not be queued.
    pub fn send_alone(&self, record: NewRecord<'_>, held: H) -> Result<Delivery, ProduceError> {
        self.single.send(record, held)
    }

    /// Number of records that are queued or sent, and have no report yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        [&self.batching, &self.single].into_iter().filter_map(Replaceable::current).map(|inner| in_flight(&inner)).sum()
    }

    /// Waits until every record has its report. The call blocks.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] if the timeout passes first.
    pub fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        for current in [&self.batching, &self.single].into_iter().filter_map(Replaceable::current) {
            let left = deadline.saturating_duration_since(Instant::now());
            current.flush(left).map_err(KafkaError::during("flushing the producer"))?;
        }
        Ok(())
    }
}

fn in_flight<H: Send + Sync + 'static>(inner: &Inner<H>) -> usize {
    usize::try_from(inner.in_flight_count()).unwrap_or(0)
}

/// A client that is built when it is first needed, and again after a fatal error.
struct Replaceable<H: Send + Sync + 'static> {
    config: ClientConfig,
    current: ArcSwapOption<Inner<H>>,
    /// Locked while a client is built, so that only one thread builds it.
    building: Mutex<()>,
}

impl<H: Send + Sync + 'static> Replaceable<H> {
    fn new(config: ClientConfig) -> Self {
        Self { config, current: ArcSwapOption::empty(), building: Mutex::new(()) }
    }

    /// Returns the client, if it has been built.
    fn current(&self) -> Option<Arc<Inner<H>>> {
        self.current.load_full()
    }

    /// Returns the client, and builds it first if necessary.
    fn get(&self) -> Result<Arc<Inner<H>>, ProduceError> {
        match self.current() {
            Some(current) => Ok(current),
            None => self.build_instead_of(None),
        }
    }

    fn send(&self, record: NewRecord<'_>, held: H) -> Result<Delivery, ProduceError> {
        let producer = self.get()?;
        let (answer, delivery) = oneshot::channel();
        let mut base = BaseRecord::with_opaque_to(record.topic.as_str(), Box::new(Pending { answer, held }))
            .headers(record.headers.into_owned());
        base.partition = record.partition.map(|partition| partition.0);
        base.key = record.key;
        base.payload = record.value;
        let Err((error, base)) = producer.send(base) else { return Ok(Delivery(delivery)) };
        let Some((_, reason)) = producer.client().fatal_error() else {
            return Err(ProduceError::from_code(error.rdkafka_error_code(), &error));
        };
        tracing::error!(reason, "the Kafka producer had a fatal error; building a new one");
        match self.build_instead_of(Some(&producer))?.send(base) {
            Ok(()) => Ok(Delivery(delivery)),
            Err((error, _)) => Err(ProduceError::from_code(error.rdkafka_error_code(), &error)),
        }
    }

    /// Builds a client to replace `old`; if another thread has already done so, returns that client.
    fn build_instead_of(&self, old: Option<&Arc<Inner<H>>>) -> Result<Arc<Inner<H>>, ProduceError> {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.current(), old) {
            (Some(current), None) => return Ok(current),
            (Some(current), Some(old)) if !Arc::ptr_eq(&current, old) => return Ok(current),
            _ => {}
        }
        let built = ThreadedProducer::from_config_and_context(&self.config, Context(Reports(std::marker::PhantomData)))
            .map_err(|error| ProduceError::Other(error.to_string()))?;
        let built = Arc::new(built);
        self.current.store(Some(Arc::clone(&built)));
        Ok(built)
    }
}

/// The pending delivery report of one record.
#[derive(Debug)]
#[must_use = "a record is stored only once its delivery report says so"]
pub struct Delivery(oneshot::Receiver<Result<Position, ProduceError>>);

impl Future for Delivery {
    type Output = Result<Position, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        // A dropped sender means that the producer ended without a report: it is unknown whether the record is stored.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ProduceError::Unacknowledged)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    fn settings() -> ProducerSettings {
        ProducerSettings {
            delivery_timeout: Duration::from_millis(1500),
            linger: Duration::ZERO,
            max_record_bytes: 10_000,
            queue_bytes: 1 << 20,
        }
    }

    fn record<'a>(topic: &'a TopicName, value: &'a [u8]) -> NewRecord<'a> {
        let headers = Headers::with_capacity(1).with("a", b"b");
        NewRecord { topic, partition: None, key: Some(b"k"), value: Some(value), headers }
    }

    struct Flag(Arc<AtomicBool>);

    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn every_code_of_produce_error_is_in_codes() {
        use ProduceError::{NoTopic, Other, QueueFull, TooLarge, Unacknowledged, Unauthorized};
        let all = [QueueFull, TooLarge, NoTopic, Unauthorized, Unacknowledged, Other(String::new())];
        assert_eq!(all.map(|error| error.code()), ProduceError::CODES);
    }

    #[tokio::test]
    async fn the_delivery_report_has_the_offset_and_releases_the_attached_value() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let producer =
            DurableProducer::new(&Connection::plaintext(&cluster.bootstrap_servers(), "test"), &settings()).unwrap();
        let topic = "t".parse().unwrap();
        for offset in 0..3 {
            let released = Arc::new(AtomicBool::new(false));
            let delivery = producer.send(record(&topic, b"v"), Flag(Arc::clone(&released))).unwrap();
            assert_eq!(delivery.await, Ok(Position::new(0, offset)));
            assert!(released.load(Ordering::SeqCst));
        }
        assert_eq!(
            producer.send(record(&topic, &[0; 20_000]), Flag(Arc::default())).unwrap_err(),
            ProduceError::TooLarge
        );
    }

    #[tokio::test]
    async fn a_record_without_a_report_is_unacknowledged_after_the_delivery_timeout() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let producer =
            DurableProducer::new(&Connection::plaintext(&cluster.bootstrap_servers(), "test"), &settings()).unwrap();
        let topic = "t".parse().unwrap();
        producer.send(record(&topic, b"v"), Flag(Arc::default())).unwrap().await.unwrap();
        cluster.broker_down(1).unwrap();
        let released = Arc::new(AtomicBool::new(false));
        let delivery = producer.send(record(&topic, b"v"), Flag(Arc::clone(&released))).unwrap();
        assert!(!released.load(Ordering::SeqCst));
        assert_eq!(delivery.await, Err(ProduceError::Unacknowledged));
        assert!(released.load(Ordering::SeqCst));
        cluster.broker_up(1).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while producer.send(record(&topic, b"v"), Flag(Arc::default())).unwrap().await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the producer did not recover");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_records_until_the_brokers_respond() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let settings = ProducerSettings { delivery_timeout: Duration::from_secs(20), ..settings() };
        let producer =
            DurableProducer::new(&Connection::plaintext(&cluster.bootstrap_servers(), "test"), &settings).unwrap();
        let topic = "t".parse().unwrap();
        producer.send(record(&topic, b"v"), Flag(Arc::default())).unwrap().await.unwrap();
        cluster.broker_down(1).unwrap();
        let mut queued = Vec::new();
        let refused = loop {
            match producer.send(record(&topic, &[0; 9_000]), Flag(Arc::default())) {
                Ok(delivery) => queued.push(delivery),
                Err(error) => break error,
            }
            assert!(queued.len() < 200, "1 MiB holds no more than 116 records of 9 kB");
        };
        assert_eq!(refused, ProduceError::QueueFull);
        assert!(queued.len() > 100, "{}", queued.len());
        cluster.broker_up(1).unwrap();
        for delivery in queued {
            assert!(delivery.await.is_ok(), "every queued record is delivered");
        }
        producer.send(record(&topic, b"v"), Flag(Arc::default())).unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn a_producer_with_a_fatal_error_is_replaced_in_place() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
        let producer =
            DurableProducer::new(&Connection::plaintext(&cluster.bootstrap_servers(), "test"), &settings()).unwrap();
        let first = Arc::as_ptr(&producer.batching.current().unwrap());
        let topic = "t".parse().unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        let mut failures = 0;
        loop {
            assert!(tokio::time::Instant::now() < deadline, "the producer was not replaced");
            let released = Arc::new(AtomicBool::new(false));
            let delivery = producer.send(record(&topic, b"v"), Flag(Arc::clone(&released))).unwrap();
            let stored = delivery.await;
            assert!(released.load(Ordering::SeqCst), "the attached value is released for every outcome of the record");
            match stored {
                Ok(_) => break,
                Err(_) => failures += 1,
            }
        }
        assert!(failures > 0, "the first producer never failed to get its id");
        assert_ne!(first, Arc::as_ptr(&producer.batching.current().unwrap()), "the client was not replaced");
        for _ in 0..10 {
            producer.send(record(&topic, b"v"), Flag(Arc::default())).unwrap().await.unwrap();
        }
    }
}
