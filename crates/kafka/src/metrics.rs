//! Metrics every consumer has. The names are here and nowhere else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::topic::TopicName;

/// Metrics of the consumers of one process, which read one topic. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    topic: String,
    lag: IntGaugeVec,
    lag_of: Arc<Mutex<HashMap<i32, IntGauge>>>,
    rebalances: IntCounterVec,
    expired: IntCounter,
    logs_replaced: IntCounter,
    commit_failures: IntCounter,
    stale: IntCounter,
}

/// What a rebalance did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RebalanceKind {
    Assigned,
    Revoked,
    Lost,
}

impl ConsumerMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If a name is taken in this registry.
    pub fn register(registry: &Registry, topic: &TopicName) -> Result<Self, prometheus::Error> {
        let lag = IntGaugeVec::new(
            Opts::new(
                "customerio_kafka_consumer_lag_records",
                "Offsets between the group's progress and the end of the partition",
            ),
            &["topic", "partition"],
        )?;
        let rebalances = IntCounterVec::new(
            Opts::new("customerio_kafka_rebalances_total", "Changes of the assignment: assigned, revoked or lost"),
            &["kind"],
        )?;
        let expired = IntCounter::new(
            "customerio_kafka_records_expired_total",
            "Offsets that the retention removed before they were read: lost for good",
        )?;
        let logs_replaced = IntCounter::new(
            "customerio_kafka_logs_replaced_total",
            "Partitions whose log was not the one that was read: the topic was created again, or records were truncated",
        )?;
        let commit_failures = IntCounter::new(
            "customerio_kafka_commit_failures_total",
            "Commits of offsets that failed and were tried again",
        )?;
        let stale = IntCounter::new(
            "customerio_kafka_stale_completions_total",
            "Records settled after their partition had left; the next owner reads them again",
        )?;
        registry.register(Box::new(stale.clone()))?;
        registry.register(Box::new(logs_replaced.clone()))?;
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(rebalances.clone()))?;
        registry.register(Box::new(expired.clone()))?;
        registry.register(Box::new(commit_failures.clone()))?;
        for kind in ["assigned", "revoked", "lost"] {
            rebalances.with_label_values(&[kind]);
        }
        Ok(Self {
            topic: topic.to_string(),
            lag,
            lag_of: Arc::default(),
            rebalances,
            expired,
            logs_replaced,
            commit_failures,
            stale,
        })
    }

    pub(crate) fn set_lag(&self, partition: i32, records: i64) {
        let mut lag_of = self.lag_of.lock().unwrap_or_else(PoisonError::into_inner);
        lag_of
            .entry(partition)
            .or_insert_with(|| self.lag.with_label_values(&[&self.topic, &partition.to_string()]))
            .set(records.max(0));
    }

    /// A partition that went to another member is that member's to report.
    pub(crate) fn forget_lag(&self, partition: i32) {
        let mut lag_of = self.lag_of.lock().unwrap_or_else(PoisonError::into_inner);
        if lag_of.remove(&partition).is_some() {
            // The label was there a moment ago; that somebody else removed it changes nothing.
            drop(self.lag.remove_label_values(&[&self.topic, &partition.to_string()]));
        }
    }

    pub(crate) fn rebalanced(&self, kind: RebalanceKind) {
        let kind = match kind {
            RebalanceKind::Assigned => "assigned",
            RebalanceKind::Revoked => "revoked",
            RebalanceKind::Lost => "lost",
        };
        self.rebalances.with_label_values(&[kind]).inc();
    }

    pub(crate) fn expired(&self, offsets: u64) {
        self.expired.inc_by(offsets);
    }

    pub(crate) fn log_replaced(&self) {
        self.logs_replaced.inc();
    }

    pub(crate) fn stale_completions(&self, records: u64) {
        self.stale.inc_by(records);
    }

    pub(crate) fn commit_failed(&self) {
        self.commit_failures.inc();
    }
}
