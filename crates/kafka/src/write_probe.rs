//! Finds out whether a user may write to topics, for the checks of the crate `setup`. No service uses this module.
//!
//! The probe writes one record to each topic, each in its own transaction, and aborts the transaction. Readers with the
//! isolation level `read_committed`, which the services and commands use, never see the record. Other readers see a
//! record with the value [`VALUE`]. If the process dies during a transaction, the brokers abort the transaction after
//! [`TRANSACTION_TIMEOUT`].
//!
//! The record moves the end offset of its partition. A service without a committed offset takes an end offset above 0
//! in its output topic for earlier output, and refuses to start ([`crate::start`]). In an output topic, the caller must
//! therefore choose a partition whose end offset is above 0 already.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::{Partition, TopicName};
use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::KafkaError as RdError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::cluster::Obstacle;
use crate::connection::Connection;
use crate::error_table::{code, is_unspecific};

/// Value of the record that a probe writes.
pub const VALUE: &str = "customerio-aep check: record of an aborted transaction";

/// Time after which the brokers abort the transaction of a process that died.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of one call to librdkafka. A call that needs longer is repeated until the caller's limit.
const CALL: Duration = Duration::from_secs(1);

/// Facility of librdkafka's log line about a failed transaction. If the brokers refuse to add a partition to the
/// transaction, no delivery report arrives, and only this line contains the cause.
const FAILED_TRANSACTION: &str = "TXNERR";

/// A producer whose records are never committed. Its calls block.
pub struct WriteProbe {
    producer: ThreadedProducer<Listener>,
    listener: Listener,
}

impl fmt::Debug for WriteProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteProbe").finish_non_exhaustive()
    }
}

impl WriteProbe {
    /// Registers a transactional id. This fences an earlier producer with the same id.
    ///
    /// # Errors
    /// [`Obstacle`]; of the kind `Denied` if this user may not use the transactional id.
    pub fn open(connection: &Connection, id: &str, limit: Duration) -> Result<Self, Obstacle> {
        let mut config = connection.config();
        let timeout = TRANSACTION_TIMEOUT.as_millis().to_string();
        config
            .set("transactional.id", id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transaction.timeout.ms", &timeout)
            .set("message.timeout.ms", &timeout)
            .set("linger.ms", "0");
        let listener = Listener::default();
        let producer = ThreadedProducer::from_config_and_context(&config, listener.clone());
        let producer = producer.map_err(|error| Obstacle::behind(&error))?;
        let probe = Self { producer, listener };
        probe.until_done(limit, || probe.producer.init_transactions(CALL))?;
        Ok(probe)
    }

    /// Writes a record to a partition in a new transaction, and aborts the transaction.
    ///
    /// # Errors
    /// [`Obstacle`]; of the kind `Denied` if this user may not write to the topic.
    pub fn write_and_abort(&self, topic: &TopicName, partition: Partition, limit: Duration) -> Result<(), Obstacle> {
        *self.listener.heard() = Heard::default();
        self.producer.begin_transaction().map_err(|error| Obstacle::behind(&error))?;
        let written = self.write(topic, partition, limit);
        let aborted = self.until_done(limit, || self.producer.abort_transaction(CALL));
        written.and(aborted)
    }

    fn write(&self, topic: &TopicName, partition: Partition, limit: Duration) -> Result<(), Obstacle> {
        let record = BaseRecord::<str, str>::to(topic.as_str()).partition(partition.0).payload(VALUE);
        self.producer.send(record).map_err(|(error, _)| Obstacle::behind(&error))?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(answer) = self.listener.heard().answer(topic) {
                return answer;
            }
            if Instant::now() >= deadline {
                return Err(Obstacle::no_answer(limit));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Repeats a call while its error is retriable and `limit` has not passed.
    fn until_done(&self, limit: Duration, mut call: impl FnMut() -> Result<(), RdError>) -> Result<(), Obstacle> {
        let deadline = Instant::now() + limit;
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(RdError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
                Err(RdError::Transaction(error)) if error.is_retriable() => {
                    return Err(self.listener.heard().complaint.take().unwrap_or_else(|| Obstacle::no_answer(limit)));
                }
                Err(error) => return Err(Obstacle::behind(&error)),
            }
        }
    }
}

/// The reports that the producer's callbacks received.
#[derive(Debug, Default)]
struct Heard {
    /// The last delivery report, with its topic.
    report: Option<(String, Result<(), RdError>)>,
    /// librdkafka's log line about the failed transaction.
    failure: Option<String>,
    /// The last error of a connection.
    complaint: Option<Obstacle>,
}

impl Heard {
    /// The result of writing the record to this topic; `None` while it is not known.
    fn answer(&self, topic: &TopicName) -> Option<Result<(), Obstacle>> {
        if let Some(failure) = &self.failure {
            return Some(Err(refused_transaction(failure)));
        }
        let (_, report) = self.report.as_ref().filter(|(of, _)| of == topic.as_str())?;
        Some(report.as_ref().copied().map_err(Obstacle::behind))
    }
}

/// The reason why a transaction failed. librdkafka's log line contains the brokers' error only as text, without a code.
fn refused_transaction(line: &str) -> Obstacle {
    if line.contains("authorization failed") { Obstacle::denied(line) } else { Obstacle::of(None, line) }
}

#[derive(Debug, Clone, Default)]
struct Listener(Arc<Mutex<Heard>>);

impl Listener {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Listener {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == FAILED_TRANSACTION {
            // The line begins with the name of a librdkafka thread.
            let text = line.split_once("]: ").map_or(line, |(_, text)| text);
            self.heard().failure.get_or_insert_with(|| text.to_owned());
        }
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    fn error(&self, error: RdError, reason: &str) {
        // An unspecific error often follows the specific one.
        if !code(&error).is_some_and(is_unspecific) {
            self.heard().complaint = Some(Obstacle::of(code(&error), reason));
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }
}

impl ProducerContext for Listener {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let (message, result) = match report {
            Ok(message) => (message, Ok(())),
            Err((error, message)) => (message, Err(error.clone())),
        };
        self.heard().report = Some((message.topic().to_owned(), result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ObstacleKind;
    use crate::embedded::EmbeddedBroker;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn one_probe_writes_to_several_topics_and_aborts_each_transaction() {
        let broker = EmbeddedBroker::start().unwrap();
        let topics: [TopicName; 2] = ["typed".parse().unwrap(), "dead".parse().unwrap()];
        topics.iter().for_each(|topic| broker.create_topic(topic, 1).unwrap());
        let probe = WriteProbe::open(&broker.connection("test"), "probe", LIMIT).unwrap();
        for topic in &topics {
            probe.write_and_abort(topic, Partition(0), LIMIT).unwrap();
        }
    }

    #[test]
    fn brokers_that_never_answer_are_reported_within_the_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::plaintext(&listener.local_addr().unwrap().to_string(), "test");
        let begun = Instant::now();
        let error = WriteProbe::open(&connection, "probe", Duration::from_secs(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(error.kind, ObstacleKind::Unanswered, "{error}");
    }

    #[test]
    fn a_refused_partition_of_a_transaction_is_reported_as_a_missing_permission() {
        let line = "Current transaction failed in state InTransaction: Failed to add partition(s) to transaction on \
             broker x:9092/1: Broker: Topic authorization failed (after 3 ms) (TOPIC_AUTHORIZATION_FAILED)";
        assert_eq!(refused_transaction(line).kind, ObstacleKind::Denied);
        assert_eq!(refused_transaction("Broker: Not coordinator").kind, ObstacleKind::Unanswered);
    }
}
