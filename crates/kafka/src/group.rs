//! The consumer side of a group: the configuration of our consumers, and the callbacks that librdkafka makes while we
//! poll.
//!
//! The callback only *notes* a rebalance. The polling thread carries it out as soon as `poll` returns, before anything
//! else, and only then answers it. librdkafka waits for the answer, so a partition is never revoked while work on it is
//! in progress. While the consumer closes, the callback answers at once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::{Offset, Partition, TopicName};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::partition_list;
use crate::producer::set_default;
use crate::topic::LogContextConsumer;

/// How often librdkafka reports its statistics, among them the ends of partitions as its reader sees them.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(2);

/// `session.timeout.ms`: how long a killed member keeps its partitions from the others. This is the smallest value that
/// brokers accept by default (`group.min.session.timeout.ms`).
const SESSION_TIMEOUT: &str = "6000";

/// Returns the session timeout of our group members.
pub(crate) fn session_timeout(connection: &Connection) -> Duration {
    let config = connection.config();
    let millis = config.get("session.timeout.ms").unwrap_or(SESSION_TIMEOUT);
    // librdkafka has refused an invalid value at the start.
    Duration::from_millis(millis.parse().unwrap_or(45_000))
}

/// A change of the assignment that must be carried out and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rebalance {
    Assign(Vec<Partition>),
    Revoke { partitions: Vec<Partition>, lost: bool },
}

/// The results of one consumer's callbacks, for its thread.
#[derive(Debug, Default)]
pub(crate) struct GroupContext {
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
    ends: Mutex<HashMap<Partition, Offset>>,
}

impl GroupContext {
    /// Returns the next rebalance to carry out.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether a rebalance must be carried out.
    #[cfg(test)]
    pub(crate) fn has_rebalance(&self) -> bool {
        !self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The end of a partition as a reader of committed records sees it, up to two seconds old.
    pub(crate) fn end(&self, partition: Partition) -> Option<Offset> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied()
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        crate::connection::log_line(level, facility, line);
    }

    fn error(&self, error: RdError, reason: &str) {
        // `poll` returns the end of a partition as an error, and this callback gets it too; it needs no log line.
        if matches!(error, RdError::PartitionEOF(_))
            || error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF)
        {
            return;
        }
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn stats(&self, statistics: Statistics) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in statistics.topics.values() {
            for (&partition, figures) in &topic.partitions {
                if partition >= 0 && figures.ls_offset >= 0 {
                    ends.insert(Partition(partition), Offset(figures.ls_offset));
                }
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partition_list::partitions_of(list);
        let rebalance = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        if self.closing.load(Ordering::SeqCst) {
            let answered = match rebalance {
                Rebalance::Assign(_) => consumer.incremental_assign(list),
                Rebalance::Revoke { .. } => consumer.incremental_unassign(list),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "answering a rebalance while closing");
            }
            return;
        }
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

/// Must be called before a consumer is dropped, or polled for anything other than its records. From now on the callback
/// answers rebalances itself; those that still wait are answered here, because librdkafka does not close while a
/// rebalance waits for its answer.
pub(crate) fn stop_following(consumer: &BaseConsumer<GroupContext>, topic: &TopicName) {
    let context = consumer.context();
    context.closing.store(true, Ordering::SeqCst);
    while let Some(rebalance) = context.next_rebalance() {
        let answered = match rebalance {
            Rebalance::Assign(gained) => consumer.incremental_assign(&partition_list::partitions(topic, &gained)),
            Rebalance::Revoke { partitions: gone, .. } => {
                consumer.incremental_unassign(&partition_list::partitions(topic, &gone))
            }
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "answering a rebalance before closing");
        }
    }
}

/// The settings that differ between group consumers.
pub(crate) struct GroupSettings<'a> {
    pub(crate) group: &'a str,
    /// `client.id`, if it is not the connection's: the group lists it with each member.
    pub(crate) client_id: Option<&'a str>,
    /// Maximum bytes that librdkafka may fetch ahead.
    pub(crate) fetch_bytes: usize,
}

/// Creates a consumer that reads only committed records, decides its starting offsets itself and commits nothing by
/// itself.
pub(crate) fn consumer(
    connection: &Connection,
    settings: &GroupSettings<'_>,
) -> Result<BaseConsumer<GroupContext>, KafkaError> {
    let mut config: ClientConfig = connection.config();
    config
        .set("group.id", settings.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.partition.eof", "true")
        .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string());
    set_default(&mut config, "queued.max.messages.kbytes", &(settings.fetch_bytes / 1024).max(1024).to_string());
    limit_responses(&mut config, settings.fetch_bytes / 32);
    // By default a full queue stops fetching for a second, which would limit the rate to one queue per second.
    set_default(&mut config, "fetch.queue.backoff.ms", "10");
    set_default(&mut config, "session.timeout.ms", SESSION_TIMEOUT);
    // A member learns of a rebalance from the response to its heartbeat.
    set_default(&mut config, "heartbeat.interval.ms", "500");
    set_default(&mut config, "reconnect.backoff.max.ms", "1000");
    set_default(&mut config, "fetch.wait.max.ms", "100");
    // How soon new partitions of a topic are noticed; librdkafka's default of five minutes is too long for the events
    // in them.
    set_default(&mut config, "topic.metadata.refresh.interval.ms", "30000");
    if let Some(client_id) = settings.client_id {
        config.set("client.id", client_id);
    }
    config.create_with_context(GroupContext::default()).map_err(|error| KafkaError::Configuration(error.to_string()))
}

/// Limits a fetch response to `bytes` (at least 64 KiB), of which each partition gets up to half. A response counts
/// towards the queue's limit only once it has arrived and is unpacked: similar webhooks in one batch take 10 to 25 times
/// their compressed size, and librdkafka's buffers up to 1.75 times that. A record that is larger is fetched by itself
/// (KIP-74).
pub(crate) fn limit_responses(config: &mut ClientConfig, bytes: usize) {
    let response = bytes.clamp(64 * 1024, 1024 * 1024);
    set_default(config, "fetch.message.max.bytes", &(response / 2).to_string());
    if config.get("fetch.max.bytes").is_none() {
        config.set("fetch.max.bytes", response.to_string());
        // librdkafka refuses a smaller `fetch.max.bytes`. A consumer uses it for nothing but the size of its first
        // buffer.
        config.set("message.max.bytes", response.to_string());
    }
}

/// A client that reads a group's stable committed offsets without being a member.
pub(crate) fn outsider(connection: &Connection, group: &str) -> Result<BaseConsumer<LogContextConsumer>, KafkaError> {
    let mut config: ClientConfig = connection.config();
    config.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config.create_with_context(LogContextConsumer).map_err(|error| KafkaError::Configuration(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn a_fetch_response_has_a_small_part_of_the_queue_unless_its_size_is_set() {
        for (bytes, response, partition) in
            [(0, "65536", "32768"), (100_000, "100000", "50000"), (usize::MAX, "1048576", "524288")]
        {
            let mut config = ClientConfig::new();
            limit_responses(&mut config, bytes);
            let found = (config.get("fetch.max.bytes"), config.get("fetch.message.max.bytes"));
            assert_eq!(found, (Some(response), Some(partition)), "{bytes}");
            assert!(config.create_native_config().is_ok(), "librdkafka takes them");
        }
        let mut config = ClientConfig::new();
        config.set("fetch.max.bytes", "5000000").set("fetch.message.max.bytes", "3000000");
        limit_responses(&mut config, 0);
        let found = (config.get("fetch.max.bytes"), config.get("fetch.message.max.bytes"));
        assert_eq!(found, (Some("5000000"), Some("3000000")), "KAFKA_OPTIONS has set them");
    }

    /// librdkafka would wait for the answer forever.
    #[test]
    fn a_consumer_with_a_pending_rebalance_can_be_dropped() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("typed", 2, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let topic: TopicName = "typed".parse().unwrap();
        let member = || {
            let consumer =
                consumer(&connection, &GroupSettings { group: "group", client_id: None, fetch_bytes: 0 }).unwrap();
            consumer.subscribe(&[topic.as_str()]).unwrap();
            consumer
        };
        let next = |consumer: &BaseConsumer<GroupContext>, turn: &dyn Fn()| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !consumer.context().has_rebalance() {
                assert!(Instant::now() < deadline, "no rebalance came");
                drop(consumer.poll(Duration::from_millis(50)));
                turn();
            }
        };
        let first = member();
        next(&first, &|| {});
        let Some(Rebalance::Assign(all)) = first.context().next_rebalance() else { panic!("it has nothing yet") };
        first.incremental_assign(&partition_list::partitions(&topic, &all)).unwrap();
        // Another member joins, and the first one does not carry out the rebalance that it receives.
        let second = member();
        next(&first, &|| drop(second.poll(Duration::from_millis(50))));
        let (done, closed) = mpsc::channel();
        std::thread::spawn(move || {
            for consumer in [first, second] {
                stop_following(&consumer, &"typed".parse().unwrap());
                drop(consumer);
            }
            done.send(()).unwrap();
        });
        assert_eq!(closed.recv_timeout(Duration::from_secs(20)), Ok(()), "they do not close");
    }
}
