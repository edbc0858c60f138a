//! The transactional producer of one worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::TopicName;
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::machine::Outcome;
use crate::client::{Callbacks, Context, set_default};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::{
    self, DeliveryFailure, Refusal, delivery_failure, forbids_topic, is_purged, is_refused_for_size, refusal,
};
use crate::health::KafkaHealth;
use crate::producer::NewRecord;

/// Maximum time of one call to the brokers. A call that needs longer returns [`Outcome::Retry`] and is made again.
pub(super) const CALL: Duration = Duration::from_secs(1);

/// Maximum time that a record waits for room in the producer's queue before the transaction is aborted.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// Maximum bytes of records that wait for their delivery report, per worker. It is below the limit of librdkafka's own
/// queue. A single record that is larger is sent when no other record waits.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// Maximum size of a record for librdkafka, in bytes. The largest body that can be configured has 64 MiB; the limit
/// that matters is the topic's `max.message.bytes`.
const LARGEST_RECORD: &str = "134217728";
const LIBRDKAFKA_QUEUE_KILOBYTES: &str = "262144";

/// Time after which librdkafka closes an unused connection. librdkafka can stop its search for the coordinator of a
/// group until the state of a connection changes; meanwhile, the call that sends offsets does not return, whatever its
/// timeout (ADR 14). During such a call the connections are unused, and closing them makes librdkafka continue the
/// search.
const IDLE: Duration = Duration::from_secs(10);

/// Number of the input record from which an output record was created. The caller chooses it.
pub(super) type InputNumber = usize;

/// A record in a batch that its topic refused because of the batch's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) topic: String,
    pub(super) input: InputNumber,
    /// Size of key and value.
    pub(super) bytes: usize,
}

/// The reason why records of the open transaction were not delivered.
#[derive(Debug, Default)]
pub(super) struct DeliveryFailures {
    /// The first failure. librdkafka's later error contains only that the transaction must be aborted, not the cause.
    pub(super) first: Option<String>,
    /// Records of batches that were refused because of their size.
    pub(super) too_large: Vec<TooLarge>,
}

/// Collects delivery failures, and counts the bytes that wait for a report.
#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries {
    failures: Arc<Mutex<DeliveryFailures>>,
    queued_bytes: Arc<AtomicUsize>,
    health: Option<KafkaHealth>,
}

impl Callbacks for Deliveries {}

impl ProducerContext for Context<Deliveries> {
    type DeliveryOpaque = InputNumber;

    fn delivery(&self, report: &DeliveryResult<'_>, input: InputNumber) {
        use rdkafka::Message;
        let (message, error) = match report {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        let bytes = message.key_len() + message.payload_len();
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let Some(error) = error else { return };
        let code = error.rdkafka_error_code();
        if code.is_some_and(is_purged) {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = message.topic();
        failures.first.get_or_insert_with(|| format!("a record for {topic} was not delivered: {error}"));
        if code.is_some_and(is_refused_for_size) {
            failures.too_large.push(TooLarge { topic: topic.to_owned(), input, bytes });
        } else if let Some(health) = &self.health {
            health.transaction_failed(error);
        }
    }
}

/// A producer with a transactional id. `ThreadedProducer` serves its events on a separate thread, so that delivery
/// reports also arrive while the calling thread is busy, in particular during an abort.
pub(super) struct TransactionalProducer {
    producer: Arc<ThreadedProducer<Context<Deliveries>>>,
    deliveries: Deliveries,
    /// Health check to which the producer reports; `None` in commands.
    health: Option<KafkaHealth>,
}

impl TransactionalProducer {
    /// Creates the producer, without registering its transactional id.
    pub(super) fn new(
        connection: &Connection,
        id: &str,
        timeout: Duration,
        health: Option<&KafkaHealth>,
    ) -> Result<Self, KafkaError> {
        let mut config = connection.config();
        let timeout = timeout.as_millis().to_string();
        config
            .set("transactional.id", id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", &timeout)
            .set("partitioner", crate::producer::PARTITIONER)
            .set("message.max.bytes", LARGEST_RECORD)
            .set("queue.buffering.max.kbytes", LIBRDKAFKA_QUEUE_KILOBYTES);
        set_default(&mut config, "linger.ms", "5");
        set_default(&mut config, "compression.type", "lz4");
        set_default(&mut config, "reconnect.backoff.max.ms", "1000");
        set_default(&mut config, "connections.max.idle.ms", &IDLE.as_millis().to_string());
        let health = health.cloned();
        let deliveries = Deliveries { health: health.clone(), ..Deliveries::default() };
        let producer = ThreadedProducer::from_config_and_context(&config, Context(deliveries.clone()))
            .map_err(|error| KafkaError::Configuration(error.to_string()))?;
        Ok(Self { producer: Arc::new(producer), deliveries, health })
    }

    /// Registers the transactional id; this aborts the open transaction of an earlier process with the same id.
    pub(super) fn init(&self, timeout: Duration) -> Outcome {
        let result = self.producer.init_transactions(timeout);
        if let Some(health) = &self.health {
            health.registered(&result);
        }
        outcome(result)
    }

    /// Returns a client for counting partitions on another thread.
    pub(super) fn partition_counts(&self) -> PartitionCounts {
        PartitionCounts(Arc::clone(&self.producer))
    }

    /// Queues a record, and waits for room in the queue.
    pub(super) fn send(&self, record: NewRecord<'_>, input: InputNumber) -> Result<(), String> {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let deadline = Instant::now() + QUEUE_WAIT;
        let queued = &self.deliveries.queued_bytes;
        while queued.load(Ordering::Relaxed) > QUEUE_BYTES.saturating_sub(bytes) {
            if Instant::now() >= deadline {
                return Err(format!("a record for {} found no room in the producer's queue", record.topic));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut base = BaseRecord::with_opaque_to(record.topic.as_str(), input).headers(record.headers.into_owned());
        base.partition = record.partition.map(|partition| partition.0);
        base.key = record.key;
        base.payload = record.value;
        queued.fetch_add(bytes, Ordering::Relaxed);
        loop {
            let Err((error, returned)) = self.producer.send(base) else { return Ok(()) };
            let failure = delivery_failure(error.rdkafka_error_code());
            if failure != DeliveryFailure::QueueFull || Instant::now() >= deadline {
                queued.fetch_sub(bytes, Ordering::Relaxed);
                return Err(format!("a record for {} could not be queued: {error}", record.topic));
            }
            base = returned;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the delivery reports of all records, at most for [`CALL`]. Returns whether all have arrived.
    /// `BaseProducer::flush`, which a commit calls, would poll every 100 ms; polling more often makes a commit take
    /// only milliseconds.
    pub(super) fn drained(&self) -> bool {
        let deadline = Instant::now() + CALL;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        true
    }

    /// Waits for the delivery reports of all records, at most for about [`QUEUE_WAIT`].
    pub(super) fn drain(&self) -> Result<(), String> {
        let deadline = Instant::now() + QUEUE_WAIT;
        while !self.drained() {
            if Instant::now() >= deadline {
                return Err("the brokers did not acknowledge the written records in time".to_owned());
            }
        }
        Ok(())
    }

    /// Whether the producer was fenced, as defined by [`error_table::is_fenced`].
    pub(super) fn is_fenced(&self) -> bool {
        self.producer.client().fatal_error().is_some_and(|(code, _)| error_table::is_fenced(code))
    }

    /// Returns why a record of the open transaction was not delivered; `None` if no record failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failures().first.clone()
    }

    /// Takes the delivery failures collected so far.
    pub(super) fn take_failures(&self) -> DeliveryFailures {
        std::mem::take(&mut *self.failures())
    }

    fn failures(&self) -> MutexGuard<'_, DeliveryFailures> {
        self.deliveries.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps the result of a call to its outcome for the transaction, and reports it to the health check.
    fn outcome(&self, result: Result<(), RdError>) -> Outcome {
        match (&self.health, &result) {
            (Some(health), Ok(())) => health.transacted(),
            (Some(health), Err(error)) => health.transaction_failed(error),
            (None, _) => {}
        }
        outcome(result)
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Outcome {
        drop(self.take_failures());
        outcome(self.producer.begin_transaction())
    }

    /// Adds the group's offsets to the open transaction.
    pub(super) fn send_offsets(&self, offsets: &TopicPartitionList, group: &ConsumerGroupMetadata) -> Outcome {
        self.outcome(self.producer.send_offsets_to_transaction(offsets, group, CALL))
    }

    /// Commits the open transaction.
    pub(super) fn commit(&self) -> Outcome {
        self.outcome(self.producer.commit_transaction(CALL))
    }

    /// Aborts the open transaction.
    pub(super) fn abort(&self) -> Outcome {
        let result = self.producer.abort_transaction(CALL);
        // A successful abort does not mean that writing works, so only a failure is reported.
        if let (Some(health), Err(error)) = (&self.health, &result) {
            health.transaction_failed(error);
        }
        outcome(result)
    }
}

/// Counts the partitions of topics with the producer's client. Its calls block. The producer lives until this value is
/// dropped; a new producer with the same transactional id fences it.
pub(super) struct PartitionCounts(Arc<ThreadedProducer<Context<Deliveries>>>);

impl PartitionCounts {
    /// Returns the number of partitions of a topic. The call also makes the producer notice new partitions; otherwise,
    /// it would refuse records for them until its next metadata refresh (every five minutes by default).
    pub(super) fn of(&self, topic: &TopicName, deadline: Instant) -> Result<usize, KafkaError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let found = self.0.client().fetch_metadata(Some(topic.as_str()), left);
            let count = found.and_then(|found| match found.topics().first() {
                Some(found) => match found.error().map(RDKafkaErrorCode::from) {
                    Some(code) if forbids_topic(code) => Err(RdError::MetadataFetch(code)),
                    _ => Ok(found.partitions().len()),
                },
                None => Ok(0),
            });
            match count {
                Ok(count) if count > 0 => return Ok(count),
                // A broker that has just restarted may not know the topic yet.
                Ok(_) if !left.is_zero() => std::thread::sleep(Duration::from_millis(100).min(left)),
                Ok(_) => {
                    let error = RdError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                    return Err(KafkaError::during("asking for a topic's partitions")(error));
                }
                Err(error) => return Err(KafkaError::during("asking for a topic's partitions")(error)),
            }
        }
    }
}

/// Maps librdkafka's three kinds of errors (retriable, abortable, fatal). A member that the group no longer knows was
/// evicted. A member with an old generation was not evicted: the group knows it, and a rebalance is in progress.
fn outcome(result: Result<(), RdError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        // The flush before the commit timed out, so the commit was not tried yet.
        Err(RdError::Flush(_)) => Outcome::Retry,
        Err(RdError::Transaction(error)) if refusal(error.code()) == Some(Refusal::Evicted) => {
            Outcome::Evicted(error.to_string())
        }
        Err(RdError::Transaction(error)) if error.is_fatal() => Outcome::Broken(error.to_string()),
        Err(RdError::Transaction(error)) if error.txn_requires_abort() => Outcome::Abort(error.to_string()),
        Err(RdError::Transaction(error)) if error.is_retriable() => Outcome::Retry,
        Err(error) => Outcome::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use rdkafka::consumer::Consumer;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::client::outsider;
    use crate::partition_list;
    use crate::record::Headers;

    /// librdkafka stops its search for the group's coordinator after three `COORDINATOR_NOT_AVAILABLE` responses, and
    /// begins again only when the state of a connection changes. Until then the call does not return, whatever its
    /// timeout.
    #[test]
    fn sending_offsets_returns_although_the_coordinator_was_not_available_for_a_moment() {
        let cluster = MockCluster::new(3).unwrap();
        let topic: TopicName = "typed".parse().unwrap();
        cluster.create_topic(topic.as_str(), 1, 3).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let producer = TransactionalProducer::new(&connection, "id", Duration::from_secs(60), None).unwrap();
        while producer.init(CALL) != Outcome::Done {}
        assert_eq!(producer.begin(), Outcome::Done);
        let record = NewRecord {
            topic: &topic,
            partition: None,
            key: None,
            value: Some(b"value"),
            headers: Headers::with_capacity(0),
        };
        producer.send(record, 0).unwrap();
        producer.drain().unwrap();
        let absent = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
        cluster.request_errors(RDKafkaApiKey::FindCoordinator, &[absent; 3]);
        let group = outsider(&connection, "group").unwrap().group_metadata().unwrap();
        let offsets = partition_list::positions(&topic, &[Position::new(0, 1)]).unwrap();
        let begun = Instant::now();
        while producer.send_offsets(&offsets, &group) == Outcome::Retry {}
        let took = begun.elapsed();
        assert!(took < IDLE * 3, "{took:?}");
    }
}
