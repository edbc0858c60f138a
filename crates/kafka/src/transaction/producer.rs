//! The transactional producer of one worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::machine::Outcome;
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::health::KafkaHealth;
use crate::producer::{NewRecord, set_default};
use crate::topic::TopicName;

/// How long one call to the brokers may block. A call that needs longer answers "retry" and is made again.
pub(super) const CALL: Duration = Duration::from_secs(1);

/// How long a record waits for room in the producer's queue before the transaction is given up.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// The most bytes of records that wait for their delivery report, for one worker. A larger record waits until it is the
/// only one.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// librdkafka's own limits, in bytes and kilobytes, which [`QUEUE_BYTES`] stays below. A record is at most
/// `GATEWAY_MAX_BODY`'s 64 MiB and its headers; the topic's `max.message.bytes` is the limit that counts.
const LARGEST_RECORD: &str = "134217728";
const LIBRDKAFKA_QUEUE_KILOBYTES: &str = "262144";

/// Which input record an output record belongs to: a number that the caller chooses.
pub(super) type InputNumber = usize;

/// A record that its topic does not take because of its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) topic: String,
    pub(super) input: InputNumber,
    /// Key and value, in bytes.
    pub(super) bytes: usize,
}

/// Why records of the open transaction were not delivered.
#[derive(Debug, Default)]
pub(super) struct DeliveryFailures {
    /// The first failure: librdkafka only says that the transaction must be aborted, not why.
    pub(super) first: Option<String>,
    /// Records of batches that were refused for their size.
    pub(super) too_large: Vec<TooLarge>,
}

/// Collects delivery failures, and counts the bytes that wait for a report.
#[derive(Debug, Clone, Default)]
pub(super) struct DeliveryContext {
    failures: Arc<Mutex<DeliveryFailures>>,
    queued_bytes: Arc<AtomicUsize>,
    health: Option<KafkaHealth>,
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        crate::connection::log_line(level, facility, line);
    }

    fn error(&self, error: RdError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }
}

impl ProducerContext for DeliveryContext {
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
        if matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)) {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = message.topic();
        failures.first.get_or_insert_with(|| format!("a record for {topic} was not delivered: {error}"));
        if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            failures.too_large.push(TooLarge { topic: topic.to_owned(), input, bytes });
        } else if let Some(health) = &self.health {
            health.transaction_failed(error);
        }
    }
}

/// A producer with a transactional id, initialised. `ThreadedProducer`'s own thread serves its events, so that
/// delivery reports arrive while this thread does something else, during an abort above all.
pub(super) struct TransactionalProducer {
    producer: ThreadedProducer<DeliveryContext>,
    context: DeliveryContext,
    /// Where it tells how it does; a command has nobody to tell.
    health: Option<KafkaHealth>,
}

impl TransactionalProducer {
    /// Makes the producer.
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
        let health = health.cloned();
        let context = DeliveryContext { health: health.clone(), ..DeliveryContext::default() };
        let producer = ThreadedProducer::from_config_and_context(&config, context.clone())
            .map_err(|error| KafkaError::Configuration(error.to_string()))?;
        Ok(Self { producer, context, health })
    }

    /// Registers the transactional id; ends what an earlier process with the same id left open.
    pub(super) fn init(&self, timeout: Duration) -> Outcome {
        self.outcome(self.producer.init_transactions(timeout))
    }

    /// How many partitions a topic has. The producer learns of new ones by this: otherwise it refuses records for them until it
    /// next looks, which is minutes later.
    pub(super) fn partitions(&self, topic: &TopicName, timeout: Duration) -> Result<usize, KafkaError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let found = self.producer.client().fetch_metadata(Some(topic.as_str()), left);
            let count = found.and_then(|found| match found.topics().first() {
                Some(found) => match found.error().map(RDKafkaErrorCode::from) {
                    None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(found.partitions().len()),
                    Some(code) => Err(RdError::MetadataFetch(code)),
                },
                None => Ok(0),
            });
            match count {
                Ok(count) if count > 0 => return Ok(count),
                // A broker that has just come back may not know the topic yet.
                Ok(_) if !left.is_zero() => std::thread::sleep(Duration::from_millis(100).min(left)),
                Ok(_) => {
                    let error = RdError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                    return Err(KafkaError::during("asking for a topic's partitions")(error));
                }
                Err(error) => return Err(KafkaError::during("asking for a topic's partitions")(error)),
            }
        }
    }

    /// Hands a record over, waiting for room in the queue.
    pub(super) fn send(&self, record: NewRecord<'_>, input: InputNumber) -> Result<(), String> {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let deadline = Instant::now() + QUEUE_WAIT;
        let queued = &self.context.queued_bytes;
        // A record that is larger than the whole queue goes when nothing else is in it.
        while queued.load(Ordering::Relaxed) > QUEUE_BYTES.saturating_sub(bytes) {
            if Instant::now() >= deadline {
                return Err(format!("a record for {} found no room in the producer's queue", record.topic));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut base = BaseRecord::with_opaque_to(record.topic.as_str(), input).headers(record.headers.into_owned());
        base.partition = record.partition;
        base.key = record.key;
        base.payload = record.value;
        queued.fetch_add(bytes, Ordering::Relaxed);
        loop {
            let Err((error, returned)) = self.producer.send(base) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || Instant::now() >= deadline {
                queued.fetch_sub(bytes, Ordering::Relaxed);
                return Err(format!("a record for {} could not be queued: {error}", record.topic));
            }
            base = returned;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every record has its report. `BaseProducer::flush`, which a commit calls, would poll in steps of
    /// 100 ms; looking often is what makes a commit take milliseconds.
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

    /// Waits for the delivery of all that was sent.
    pub(super) fn drain(&self) -> Result<(), String> {
        let deadline = Instant::now() + QUEUE_WAIT;
        while !self.drained() {
            if Instant::now() >= deadline {
                return Err("the brokers did not acknowledge in time what was written".to_owned());
            }
        }
        Ok(())
    }

    /// Whether another producer has registered this transactional id, or the brokers gave this one up.
    pub(super) fn is_fenced(&self) -> bool {
        self.producer.client().fatal_error().is_some_and(|(code, _)| {
            matches!(
                code,
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
            )
        })
    }

    /// Whether a record of the open transaction was not delivered, and why.
    pub(super) fn failure(&self) -> Option<String> {
        self.failures().first.clone()
    }

    /// Takes what is known of records that were not delivered.
    pub(super) fn take_failures(&self) -> DeliveryFailures {
        std::mem::take(&mut *self.failures())
    }

    fn failures(&self) -> MutexGuard<'_, DeliveryFailures> {
        self.context.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call to the brokers means for the transaction; tells how Kafka does.
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

    /// Makes the open transaction's records visible.
    pub(super) fn commit(&self) -> Outcome {
        self.outcome(self.producer.commit_transaction(CALL))
    }

    /// Drops the open transaction.
    pub(super) fn abort(&self) -> Outcome {
        let result = self.producer.abort_transaction(CALL);
        // An abort that succeeds does not mean that writing does.
        if let (Some(health), Err(error)) = (&self.health, &result) {
            health.transaction_failed(error);
        }
        outcome(result)
    }
}

/// librdkafka's three-way answer (retriable, abortable, fatal), made exhaustive. A member that the group does not know any
/// more was evicted. A member with an old generation was not: the group knows it, and a rebalance is under way.
fn outcome(result: Result<(), RdError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        // The flush before the commit ran out of time: the commit was not tried yet.
        Err(RdError::Flush(_)) => Outcome::Retry,
        Err(RdError::Transaction(error))
            if matches!(error.code(), RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::FencedInstanceId) =>
        {
            Outcome::Evicted(error.to_string())
        }
        Err(RdError::Transaction(error)) if error.is_fatal() => Outcome::Broken(error.to_string()),
        Err(RdError::Transaction(error)) if error.txn_requires_abort() => Outcome::Abort(error.to_string()),
        Err(RdError::Transaction(error)) if error.is_retriable() => Outcome::Retry,
        Err(error) => Outcome::Broken(error.to_string()),
    }
}
