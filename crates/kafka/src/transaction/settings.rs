//! Settings of a worker.

use std::time::Duration;

use contract::TopicName;
use service::Readiness;

use super::tail::Lookback;
use crate::connection::Connection;
use crate::health::KafkaHealth;
use crate::metrics::ConsumerMetrics;
use crate::start::FromBeginning;

/// Settings of a worker ([`run`](super::run)).
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Connection to the brokers.
    pub connection: Connection,
    /// Name of the consumer group.
    pub group: String,
    /// Name of this worker, unique in the group and stable across restarts. The `client.id` of its consumer contains
    /// the name.
    pub name: Option<String>,
    /// Variable that makes the name unique, for messages.
    pub name_variable: &'static str,
    /// The `transactional.id`, unique among all producers of the cluster. It should be stable across restarts: the new
    /// process then aborts the transaction that the old one left open.
    pub transactional_id: String,
    /// Input topic.
    pub input: TopicName,
    /// Output topic. If one of its partitions contains records, the input partition with the same number was processed
    /// before.
    pub output: TopicName,
    /// Dead-letter topic, for records that cannot become output.
    pub dead_letters: TopicName,
    /// Part of the output that is read to restore a partition's state.
    pub lookback: Lookback,
    /// Whether the operator accepts repeats if the group has lost its offsets.
    pub from_beginning: FromBeginning,
    /// Maximum age of a transaction before it is committed.
    pub commit_interval: Duration,
    /// Maximum number of records in a transaction.
    pub max_records: usize,
    /// Time after which the brokers abort an open transaction.
    pub transaction_timeout: Duration,
    /// Maximum bytes that librdkafka may fetch ahead.
    pub fetch_bytes: usize,
    /// Metrics that the worker updates.
    pub metrics: ConsumerMetrics,
    /// Health check to which the worker reports successes and failures.
    pub health: KafkaHealth,
    /// Becomes ready once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

impl WorkerSettings {
    /// The `client.id` of a named worker's consumer.
    pub(super) fn member_client_id(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("{}-{name}", self.connection.client_id()))
    }
}
