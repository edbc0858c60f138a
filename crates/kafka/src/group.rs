//! The consumer side of a group: the configuration of our consumers, and the callbacks that librdkafka makes while we
//! poll.
//!
//! The rebalance callback only *notes* a rebalance. The polling thread applies the rebalance before the next poll, and
//! answers it by assigning or unassigning the partitions. librdkafka waits for this answer, so the thread can first end
//! the work on a revoked partition. While the consumer closes, the callback answers at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::{Partition, TopicName};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError as RdError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;

use crate::client::{Callbacks, Context, create_with, limit_responses, set_default};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::is_partition_end;
use crate::partition_list;
use crate::record::Polled;

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

/// A change of the assignment that must be applied and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rebalance {
    Assign(Vec<Partition>),
    Revoke { partitions: Vec<Partition>, lost: bool },
}

/// The results of one consumer's callbacks, for its thread.
#[derive(Debug, Default)]
pub(crate) struct GroupCallbacks {
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl GroupCallbacks {
    /// Returns the next rebalance to apply.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether a rebalance must be applied.
    #[cfg(test)]
    pub(crate) fn has_rebalance(&self) -> bool {
        !self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Callbacks for GroupCallbacks {
    /// Suppresses the log line for the end of a partition, which librdkafka reports here as an error, and again as the
    /// result of `poll`.
    fn error(&self, error: &RdError, _: &str) -> bool {
        !matches!(error, RdError::PartitionEOF(_)) && !error.rdkafka_error_code().is_some_and(is_partition_end)
    }
}

impl ConsumerContext for Context<GroupCallbacks> {
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

/// A consumer that is a member of a group.
pub(crate) type GroupConsumer = BaseConsumer<Context<GroupCallbacks>>;

/// The calls that a member of a group makes to its client: [`GroupConsumer`], or a fake client in tests. Unless
/// documented otherwise, the calls do not block, and the lists are of the topic that the client has subscribed to.
pub(crate) trait GroupClient: Send + Sync + 'static {
    /// Polls for at most this long. Rebalances are only noted.
    fn poll(&self, timeout: Duration) -> Option<KafkaResult<Polled<'_>>>;
    /// Returns the next rebalance to apply.
    fn next_rebalance(&self) -> Option<Rebalance>;
    /// Adds partitions to the assignment, which answers a rebalance.
    fn assign(&self, list: &TopicPartitionList) -> KafkaResult<()>;
    /// Removes partitions from the assignment, which answers a rebalance.
    fn unassign(&self, list: &TopicPartitionList) -> KafkaResult<()>;
    /// Stops fetching partitions. The pause outlives the assignment.
    fn pause(&self, list: &TopicPartitionList) -> KafkaResult<()>;
    /// Resumes fetching partitions.
    fn resume(&self, list: &TopicPartitionList) -> KafkaResult<()>;
    /// Sets the next offsets to read. Waits for the result at most for `timeout`, or not at all if `timeout` is zero.
    /// In the returned list, each partition whose seek failed has an error.
    fn seek(&self, list: TopicPartitionList, timeout: Duration) -> KafkaResult<TopicPartitionList>;
    /// Commits offsets and waits for the result. The call has no timeout, because librdkafka waits for a coordinator.
    fn commit(&self, list: &TopicPartitionList) -> KafkaResult<()>;
    /// Queries the group's committed offsets; blocks for at most `timeout`.
    fn committed(&self, list: TopicPartitionList, timeout: Duration) -> KafkaResult<TopicPartitionList>;
    /// Returns the next offset to read of each assigned partition.
    fn position(&self) -> KafkaResult<TopicPartitionList>;
    /// Whether the group has removed this member, and the client has not yet reported the revoke.
    fn is_assignment_lost(&self) -> bool;
    /// Returns the identity of the member for a transaction; `None` if the member has left the group.
    fn metadata(&self) -> Option<ConsumerGroupMetadata>;
    /// Prepares the client for being dropped, or for polls whose records are discarded. From now on the callback
    /// answers rebalances itself. This method answers the rebalances that are already noted, because librdkafka does
    /// not close while a rebalance waits for its answer.
    fn close(&self, topic: &TopicName);
}

impl GroupClient for GroupConsumer {
    fn poll(&self, timeout: Duration) -> Option<KafkaResult<Polled<'_>>> {
        BaseConsumer::poll(self, timeout).map(|polled| polled.map(Polled::from))
    }

    fn next_rebalance(&self) -> Option<Rebalance> {
        self.context().next_rebalance()
    }

    fn assign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.incremental_assign(list)
    }

    fn unassign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.incremental_unassign(list)
    }

    fn pause(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        Consumer::pause(self, list)
    }

    fn resume(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        Consumer::resume(self, list)
    }

    fn seek(&self, list: TopicPartitionList, timeout: Duration) -> KafkaResult<TopicPartitionList> {
        self.seek_partitions(list, timeout)
    }

    fn commit(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        Consumer::commit(self, list, CommitMode::Sync)
    }

    fn committed(&self, list: TopicPartitionList, timeout: Duration) -> KafkaResult<TopicPartitionList> {
        self.committed_offsets(list, timeout)
    }

    fn position(&self) -> KafkaResult<TopicPartitionList> {
        Consumer::position(self)
    }

    fn is_assignment_lost(&self) -> bool {
        self.assignment_lost()
    }

    fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.group_metadata()
    }

    fn close(&self, topic: &TopicName) {
        let context = self.context();
        context.closing.store(true, Ordering::SeqCst);
        while let Some(rebalance) = context.next_rebalance() {
            let answered = match rebalance {
                Rebalance::Assign(gained) => self.incremental_assign(&partition_list::partitions(topic, &gained)),
                Rebalance::Revoke { partitions: gone, .. } => {
                    self.incremental_unassign(&partition_list::partitions(topic, &gone))
                }
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "answering a rebalance before closing");
            }
        }
    }
}

/// The settings that differ between group consumers.
pub(crate) struct GroupSettings<'a> {
    pub(crate) group: &'a str,
    /// `client.id` of the consumer, which the group lists with the member; `None` for the `client.id` of the
    /// connection.
    pub(crate) client_id: Option<&'a str>,
    /// Maximum bytes that librdkafka may fetch ahead.
    pub(crate) fetch_bytes: usize,
}

/// Creates a consumer that reads only committed records, decides its starting offsets itself and commits nothing by
/// itself.
pub(crate) fn consumer(connection: &Connection, settings: &GroupSettings<'_>) -> Result<GroupConsumer, KafkaError> {
    let mut config: ClientConfig = connection.config();
    config
        .set("group.id", settings.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.partition.eof", "true");
    set_default(&mut config, "queued.max.messages.kbytes", &(settings.fetch_bytes / 1024).max(1024).to_string());
    limit_responses(&mut config, settings.fetch_bytes / 32);
    // By default a full queue stops fetching for a second, which would limit the rate to one queue per second.
    set_default(&mut config, "fetch.queue.backoff.ms", "10");
    set_default(&mut config, "session.timeout.ms", SESSION_TIMEOUT);
    // A member learns of a rebalance from the response to its heartbeat.
    set_default(&mut config, "heartbeat.interval.ms", "500");
    set_default(&mut config, "reconnect.backoff.max.ms", "1000");
    set_default(&mut config, "fetch.wait.max.ms", "100");
    // A broker that stops responding without closing its connections delays commits by this long, and so also the first
    // records of new partitions.
    set_default(&mut config, "socket.timeout.ms", "15000");
    // Interval at which librdkafka notices new partitions of a topic. Its default would delay the events in a new
    // partition by up to five minutes.
    set_default(&mut config, "topic.metadata.refresh.interval.ms", "30000");
    if let Some(client_id) = settings.client_id {
        config.set("client.id", client_id);
    }
    create_with(&config, GroupCallbacks::default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use rdkafka::mocking::MockCluster;

    use super::*;

    /// If `close` did not answer the rebalance, librdkafka would wait forever.
    #[test]
    fn a_consumer_with_an_unanswered_rebalance_can_be_closed() {
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
        let next = |consumer: &GroupConsumer, turn: &dyn Fn()| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !consumer.context().has_rebalance() {
                assert!(Instant::now() < deadline, "no rebalance came");
                drop(consumer.poll(Duration::from_millis(50)));
                turn();
            }
        };
        let first = member();
        next(&first, &|| {});
        let Some(Rebalance::Assign(all)) = first.context().next_rebalance() else {
            panic!("the first rebalance is not an assignment")
        };
        first.incremental_assign(&partition_list::partitions(&topic, &all)).unwrap();
        // Another member joins, and the first one does not apply the rebalance that it receives.
        let second = member();
        next(&first, &|| drop(second.poll(Duration::from_millis(50))));
        let (done, closed) = mpsc::channel();
        std::thread::spawn(move || {
            for consumer in [first, second] {
                consumer.close(&"typed".parse().unwrap());
                drop(consumer);
            }
            done.send(()).unwrap();
        });
        assert_eq!(closed.recv_timeout(Duration::from_secs(20)), Ok(()), "the consumers do not close");
    }
}
