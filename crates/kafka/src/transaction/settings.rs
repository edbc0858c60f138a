//! The settings of a worker.

use std::time::Duration;

use contract::TopicName;
use service::Readiness;

use super::tail::Lookback;
use crate::connection::Connection;
use crate::health::KafkaHealth;
use crate::metrics::ConsumerMetrics;
use crate::start::FromBeginning;

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How to reach Kafka.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// The name of this worker, unique in the group and stable across restarts. Its consumer's `client.id` contains it.
    pub name: Option<String>,
    /// The variable that makes the name unique, for messages.
    pub name_variable: &'static str,
    /// `transactional.id`; unique among all producers of the cluster. It should be stable across restarts: the new
    /// process then aborts the transaction that the old one left open.
    pub transactional_id: String,
    /// The input topic.
    pub input: TopicName,
    /// The output topic. A partition of it with records shows that the input partition of the same number was processed
    /// before.
    pub output: TopicName,
    /// The topic for records without output.
    pub dead_letters: TopicName,
    /// How far back the output is read to restore a partition's state.
    pub lookback: Lookback,
    /// Whether repeats are accepted.
    pub from_beginning: FromBeginning,
    /// Commit at least this often while there are records.
    pub commit_interval: Duration,
    /// Commit at the latest after this many records.
    pub max_records: usize,
    /// The brokers abort an open transaction after this time.
    pub transaction_timeout: Duration,
    /// Maximum bytes fetched ahead.
    pub fetch_bytes: usize,
    /// Consumer metrics.
    pub metrics: ConsumerMetrics,
    /// The health check to report to.
    pub health: KafkaHealth,
    /// Set once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

impl WorkerSettings {
    /// The `client.id` of a named worker's consumer.
    pub(super) fn member_client_id(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("{}-{name}", self.connection.client_id()))
    }
}
