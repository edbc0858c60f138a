//! Metrics of the consumers, with all metric names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use contract::{Offset, Partition, Position, TopicName};
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use service::Registrar;

/// Metrics of the consumers of one process, which read the same topic. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    topic: String,
    lag: IntGaugeVec,
    offsets: IntGaugeVec,
    partitions: Arc<Mutex<BTreeMap<Partition, Progress>>>,
    partition_count: IntGauge,
    assigned: IntGauge,
    oldest: Gauge,
    rebalances: IntCounterVec,
    expired: IntCounter,
    logs_replaced: IntCounter,
    commit_failures: IntCounter,
    stale: IntCounter,
}

/// Progress of one partition.
#[derive(Debug)]
struct Progress {
    /// Offset of the first record without a durable outcome.
    frontier: Offset,
    /// End of the partition for a reader of committed records.
    readable_end: Option<Offset>,
    lag: Option<IntGauge>,
    offset: IntGauge,
}

/// Label values of `customerio_kafka_rebalances_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RebalanceKind {
    Assigned,
    Revoked,
    Lost,
}

impl ConsumerMetrics {
    /// Registers the metrics. `service` is a part of the name of `customerio_{service}_oldest_unsettled_seconds`. The
    /// help text of that metric calls the service that sets the header `received-at` by the name `receiver`.
    ///
    /// # Errors
    /// If the registry already has a metric with one of the names.
    pub fn register(
        registry: &Registry,
        service: &str,
        receiver: &str,
        topic: &TopicName,
    ) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let lag = new.gauges(
            "customerio_kafka_consumer_lag_records",
            "Offsets between the group's progress and the end of the partition",
            &["topic", "partition"],
        )?;
        let offsets = new.gauges(
            "customerio_kafka_consumer_offset",
            "Offset of the first record of the partition without a durable outcome",
            &["topic", "partition"],
        )?;
        let of_topic = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            Ok(new.gauges(name, help, &["topic"])?.with_label_values(&[topic.as_str()]))
        };
        let partition_count =
            of_topic("customerio_kafka_partitions", "Partitions of the topic that the service reads")?;
        let assigned = of_topic(
            "customerio_kafka_assigned_partitions",
            "Partitions of the topic that this instance reads; the sum over all instances is the number of partitions",
        )?;
        let rebalances = new.counters(
            "customerio_kafka_rebalances_total",
            "Changes of the assignment: assigned, revoked or lost",
            &["kind"],
        )?;
        let expired = new.counter(
            "customerio_kafka_records_expired_total",
            "Offsets that the retention removed before they were read: permanently lost",
        )?;
        let logs_replaced = new.counter("customerio_kafka_logs_replaced_total", "Partitions whose log was not the one that was read: the topic was created again, or records were truncated")?;
        let commit_failures = new
            .counter("customerio_kafka_commit_failures_total", "Commits of offsets that failed and were tried again")?;
        let stale = new.counter(
            "customerio_kafka_stale_completions_total",
            "Records settled after their partition was revoked; the next owner reads them again",
        )?;
        let oldest = new.fractional_gauge(&format!("customerio_{service}_oldest_unsettled_seconds"), &format!("How long ago {receiver} received the oldest record that has no durable outcome yet, in this instance's partitions; 0 if there is none that waits for more than two seconds"))?;
        show_at_zero(&rebalances);
        Ok(Self {
            topic: topic.to_string(),
            lag,
            offsets,
            partitions: Arc::default(),
            partition_count,
            assigned,
            oldest,
            rebalances,
            expired,
            logs_replaced,
            commit_failures,
            stale,
        })
    }

    /// Notes that a partition was processed up to this offset.
    pub(crate) fn processed_to(&self, frontier: Position) {
        let Position { partition, offset: frontier } = frontier;
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = partitions.entry(partition).or_insert_with(|| {
            let offset = self.offsets.with_label_values(&[&self.topic, &partition.to_string()]);
            Progress { frontier, readable_end: None, lag: None, offset }
        });
        progress.frontier = frontier;
        progress.offset.set(frontier.0);
        self.show_assigned(partitions.len());
    }

    fn show_assigned(&self, partitions: usize) {
        self.assigned.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// Sets the number of partitions of the topic.
    pub(crate) fn show_partitions(&self, partitions: usize) {
        self.partition_count.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// Returns the frontier of each assigned partition.
    pub(crate) fn frontiers(&self) -> BTreeMap<Partition, Offset> {
        let partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.iter().map(|(partition, progress)| (*partition, progress.frontier)).collect()
    }

    /// Notes the end of each partition for a reader of committed records.
    pub(crate) fn readable_to(&self, ends: &BTreeMap<Partition, Offset>) {
        for (partition, progress) in &mut *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) {
            progress.readable_end = ends.get(partition).copied().or(progress.readable_end);
        }
    }

    /// The end of an assigned partition for a reader of committed records, as the `Probe` last found it.
    pub(crate) fn readable_end(&self, partition: Partition) -> Option<Offset> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).get(&partition)?.readable_end
    }

    /// Updates the lag of each partition.
    pub(crate) fn show_lag(&self, ends: &BTreeMap<Partition, Offset>) {
        for (partition, progress) in &mut *self.partitions.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(end) = ends.get(partition) {
                let gauge = || self.lag.with_label_values(&[&self.topic, &partition.to_string()]);
                progress.lag.get_or_insert_with(gauge).set((end.0 - progress.frontier.0).max(0));
            }
        }
    }

    /// Removes the metrics of a partition, which its new owner reports from now on.
    pub(crate) fn forget(&self, partition: Partition) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if partitions.remove(&partition).is_some() {
            self.show_assigned(partitions.len());
            // The gauge of the lag may not exist yet.
            for gauge in [&self.offsets, &self.lag] {
                drop(gauge.remove_label_values(&[&self.topic, &partition.to_string()]));
            }
        }
    }

    /// Sets the age of the oldest record without a durable outcome, in milliseconds.
    pub(crate) fn set_oldest(&self, milliseconds: i64) {
        // An `f64` is exact up to about 285,000 years.
        #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds has far less than 53 bits")]
        self.oldest.set(milliseconds as f64 / 1000.0);
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

/// Creates the counter of every kind of rebalance, so that the exposition has it before the first rebalance.
fn show_at_zero(rebalances: &IntCounterVec) {
    for kind in ["assigned", "revoked", "lost"] {
        rebalances.with_label_values(&[kind]);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    fn exposition(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_exposition_is_pinned() {
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry, "sink", "the gateway", &"typed".parse().unwrap()).unwrap();
        metrics.show_partitions(12);
        metrics.processed_to(Position::new(3, 100));
        metrics.processed_to(Position::new(4, 200));
        let ends = [(3, 117), (4, 200), (5, 9)].map(|(partition, end)| (Partition(partition), Offset(end)));
        metrics.show_lag(&BTreeMap::from(ends));
        metrics.forget(Partition(4));
        metrics.set_oldest(1_500);
        metrics.rebalanced(RebalanceKind::Assigned);
        metrics.expired(7);
        metrics.log_replaced();
        metrics.commit_failed();
        metrics.stale_completions(2);
        insta::assert_snapshot!(exposition(&registry));
    }

    #[test]
    fn the_gauge_of_assigned_partitions_counts_the_partitions_of_this_instance() {
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry, "sink", "the gateway", &"typed".parse().unwrap()).unwrap();
        let assigned = || {
            let text = exposition(&registry);
            let line = text.lines().find(|line| line.starts_with("customerio_kafka_assigned_partitions")).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(assigned(), "0", "the gauge is present before the first assignment");
        metrics.processed_to(Position::new(3, 100));
        metrics.processed_to(Position::new(3, 101));
        metrics.processed_to(Position::new(4, 0));
        assert_eq!(assigned(), "2");
        metrics.forget(Partition(3));
        metrics.forget(Partition(9));
        assert_eq!(assigned(), "1");
    }
}
