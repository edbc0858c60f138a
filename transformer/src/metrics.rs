//! The metrics of the transformer. An outcome is counted after its transaction has been committed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use contract::Partition;
use kafka::{ConsumerMetrics, TopicName};
use mapping::{IgnoredFields, IgnoredIdentities};
use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use service::Registrar;

/// The outcome of a raw record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The record became a typed record with an identity.
    Mapped,
    /// The record became a typed record without an identity, which the data lake accepts but Profile does not.
    MappedWithoutIdentity,
    /// Nothing was written, because the event already has a typed record.
    Duplicate,
    /// The record became a dead letter with this code.
    DeadLetter(&'static str),
    /// Nothing was written, because the body is a test webhook of `customerio-aep check`.
    Check,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::MappedWithoutIdentity => "mapped_without_identity",
            Self::Duplicate => "duplicate",
            Self::DeadLetter(_) => "dead_letter",
            Self::Check => "check",
        }
    }
}

/// The labels of a counter of records. All values come from fixed lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) outcome: Outcome,
    pub(crate) object_type: &'static str,
    pub(crate) metric: &'static str,
}

/// The metrics of all workers of one process.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) consumer: ConsumerMetrics,
    records: IntCounterVec,
    dead_letters: IntCounterVec,
    transactions: Histogram,
    aborts: IntCounter,
    windows: Windows,
    holds: Holds,
    ignored: IntCounterVec,
    ignored_identities: IntCounterVec,
    adjusted: IntCounter,
    ahead: Gauge,
}

/// The metrics of the dedup windows.
#[derive(Debug, Clone)]
struct Windows {
    ids: IntGaugeVec,
    seconds: IntGaugeVec,
    limit: IntGauge,
    rebuilds: Histogram,
}

/// The metrics of the records that stay on the raw topic until a restart.
#[derive(Debug, Clone)]
struct Holds {
    workers: IntGaugeVec,
    since: IntGaugeVec,
    deferred: IntGaugeVec,
}

/// The reason why a worker leaves records on the raw topic until it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Further dead letters would exceed `DEAD_LETTER_LIMIT`.
    DeadLetterLimit,
    /// The dead-letter topic refuses even the beginning of a record because of its size.
    DeadLetterSize,
}

impl Hold {
    const ALL: [Self; 2] = [Self::DeadLetterLimit, Self::DeadLetterSize];

    /// Value of the label `reason`.
    fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetterLimit => "dead_letter_limit",
            Self::DeadLetterSize => "dead_letter_size",
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, input: &TopicName) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let records = new.counters(
            "customerio_transformer_records_total",
            "Raw records by outcome, counted when their transaction was committed",
            &["outcome", "object_type", "metric"],
        )?;
        let dead_letters = new.counters(
            "customerio_dead_letters_total",
            "Dead letters written, by stage and code",
            &["stage", "code"],
        )?;
        let transactions = new.histogram(
            "customerio_transformer_transaction_duration_seconds",
            "From the first record of a transaction to its commit",
            &[0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0],
        )?;
        let aborts = new.counter(
            "customerio_transformer_transaction_aborts_total",
            "Transactions that were aborted; their records were read again",
        )?;
        let ignored = new.counters("customerio_transformer_ignored_fields_total", "Fields of webhooks that are not in the event: unknown to the mapping, unreadable (of another type), or withheld (message bodies and headers); `customerio-aep map --explain` names them", &["reason"])?;
        for (reason, _) in by_reason(IgnoredFields::default()) {
            ignored.with_label_values(&[reason]);
        }
        let ignored_identities = new.counters("customerio_transformer_ignored_identities_total", "Values that identify the person but did not become an identity: not_an_address (not exactly one valid email address), not_international (a phone number without its country code), blocked (a placeholder, BLOCKED_IDS), too_long", &["reason"])?;
        for (reason, _) in identities_by_reason(IgnoredIdentities::default()) {
            ignored_identities.with_label_values(&[reason]);
        }
        let adjusted = new.counter("customerio_transformer_timestamps_adjusted_total", "Events whose time is after their receipt, by up to a day, and was replaced by that of the receipt (timestampAdjusted): the gateway's clock is slow")?;
        let ahead = new.fractional_gauge("customerio_transformer_event_time_ahead_seconds", "The largest event time minus receipt in the last transaction; above 0 by more than a few seconds, the gateway's clock is slow")?;
        for code in mapping::RejectionCode::ALL {
            dead_letters.with_label_values(&["transformer", code.as_str()]);
        }
        let consumer = ConsumerMetrics::register(registry, "transformer", "the gateway", input)?;
        Ok(Self {
            consumer,
            records,
            dead_letters,
            transactions,
            aborts,
            windows: Windows::register(new)?,
            holds: Holds::register(new)?,
            ignored,
            ignored_identities,
            adjusted,
            ahead,
        })
    }

    /// Observes the time that it took to restore a partition's window.
    pub(crate) fn rebuilt(&self, took: Duration) {
        self.windows.rebuilds.observe(took.as_secs_f64());
    }

    /// Sets the configured time span of the windows.
    pub(crate) fn show_window_limit(&self, seconds: u32) {
        self.windows.limit.set(i64::from(seconds));
    }

    /// Updates the metrics of a partition's window.
    pub(crate) fn show_window(&self, partition: Partition, ids: usize, reach: u32) {
        let partition = partition.to_string();
        self.windows.ids.with_label_values(&[&partition]).set(i64::try_from(ids).unwrap_or(i64::MAX));
        self.windows.seconds.with_label_values(&[&partition]).set(i64::from(reach));
    }

    /// Removes the metrics of a revoked partition. The worker that gets the partition reports them.
    pub(crate) fn forget_window(&self, partition: Partition) {
        let partition = partition.to_string();
        // `remove_label_values` fails if the series was never set, which does not matter here.
        drop(self.windows.ids.remove_label_values(&[&partition]));
        drop(self.windows.seconds.remove_label_values(&[&partition]));
        drop(self.holds.deferred.remove_label_values(&[&partition]));
    }

    /// Sets the number of deferred records of a partition.
    pub(crate) fn show_deferred(&self, partition: Partition, records: u64) {
        let gauge = self.holds.deferred.with_label_values(&[&partition.to_string()]);
        gauge.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Counts a worker that starts to hold for this reason.
    pub(crate) fn held(&self, hold: Hold) {
        self.held_at(hold, service::unix_millis() / 1000);
    }

    fn held_at(&self, hold: Hold, now: i64) {
        let gauge = self.holds.workers.with_label_values(&[hold.as_str()]);
        if gauge.get() == 0 {
            self.holds.since.with_label_values(&[hold.as_str()]).set(now);
        }
        gauge.inc();
    }

    pub(crate) fn aborted(&self) {
        self.aborts.inc();
    }
}

impl Windows {
    fn register(new: Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ids: new.gauges(
                "customerio_transformer_dedup_window_ids",
                "Ids in the partition's dedup window",
                &["partition"],
            )?,
            seconds: new.gauges("customerio_transformer_dedup_window_seconds", "How far back the partition's dedup window reaches; less than TRANSFORMER_DEDUP_WINDOW means that TRANSFORMER_DEDUP_MAX_IDS is too small for the traffic", &["partition"])?,
            limit: new.gauge(
                "customerio_transformer_dedup_window_limit_seconds",
                "TRANSFORMER_DEDUP_WINDOW: how far back the dedup windows are meant to reach",
            )?,
            rebuilds: new.histogram(
                "customerio_transformer_dedup_rebuild_duration_seconds",
                "Restoring a partition's dedup window from the typed topic after an assignment",
                &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
            )?,
        })
    }
}

impl Holds {
    fn register(new: Registrar<'_>) -> Result<Self, prometheus::Error> {
        let workers = new.gauges(
            "customerio_transformer_held",
            "Workers that leave records on the raw topic until they are restarted, by reason; the log names the cause",
            &["reason"],
        )?;
        let since = new.gauges(
            "customerio_transformer_held_since_timestamp_seconds",
            "Since when the first of these workers leaves records on the raw topic, in Unix seconds; 0 if none does",
            &["reason"],
        )?;
        for hold in Hold::ALL {
            workers.with_label_values(&[hold.as_str()]);
            since.with_label_values(&[hold.as_str()]);
        }
        let deferred = new.gauges("customerio_transformer_deferred_records", "Records of the partition that stay on the raw topic because too many like them would become dead letters (DEAD_LETTER_LIMIT); a restart processes them", &["partition"])?;
        Ok(Self { workers, since, deferred })
    }
}

/// Returns the counts with their label values.
fn by_reason(ignored: IgnoredFields) -> [(&'static str, u32); 3] {
    let IgnoredFields { unknown, unreadable, withheld } = ignored;
    [("unknown", unknown), ("unreadable", unreadable), ("withheld", withheld)]
}

fn identities_by_reason(ignored: IgnoredIdentities) -> [(&'static str, u32); 4] {
    let IgnoredIdentities { not_an_address, not_international, blocked, too_long } = ignored;
    [
        ("not_an_address", not_an_address),
        ("not_international", not_international),
        ("blocked", blocked),
        ("too_long", too_long),
    ]
}

/// The event times of one worker's open transaction, which show whether the gateway's clock is slow.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    /// Number of events whose time was replaced by their receive time.
    adjusted: u64,
    /// The largest difference between the time and the receive time of an event, in milliseconds.
    ahead_ms: Option<i64>,
}

/// The outcomes of one worker's open transaction, and the counters for them.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Metrics,
    open: HashMap<Labels, u64>,
    ignored: IgnoredFields,
    ignored_identities: IgnoredIdentities,
    clock: Clock,
    slow_clock: SlowClock,
    counters: HashMap<Labels, IntCounter>,
}

impl Tally {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            open: HashMap::new(),
            ignored: IgnoredFields::default(),
            ignored_identities: IgnoredIdentities::default(),
            clock: Clock::default(),
            slow_clock: SlowClock::default(),
            counters: HashMap::new(),
        }
    }

    /// Counts one record of the open transaction.
    pub(crate) fn count(&mut self, labels: Labels) {
        *self.open.entry(labels).or_default() += 1;
    }

    /// Counts the fields of a webhook that its typed record leaves out. The open transaction contains that typed
    /// record.
    pub(crate) fn ignored(&mut self, fields: IgnoredFields) {
        self.ignored.unknown += fields.unknown;
        self.ignored.unreadable += fields.unreadable;
        self.ignored.withheld += fields.withheld;
    }

    /// Counts values that did not become an identity of a typed record in the open transaction.
    pub(crate) fn ignored_identities(&mut self, ignored: IgnoredIdentities) {
        let sum = &mut self.ignored_identities;
        sum.not_an_address += ignored.not_an_address;
        sum.not_international += ignored.not_international;
        sum.blocked += ignored.blocked;
        sum.too_long += ignored.too_long;
    }

    /// Counts an event of the open transaction; `ahead_ms` is its time minus its receive time.
    pub(crate) fn event_time(&mut self, ahead_ms: i64) {
        self.clock.adjusted += u64::from(ahead_ms > 0);
        self.clock.ahead_ms = self.clock.ahead_ms.max(Some(ahead_ms));
    }

    /// Adds the outcomes of the committed transaction to the metrics.
    pub(crate) fn committed(&mut self, took: Duration) {
        self.metrics.transactions.observe(took.as_secs_f64());
        for (reason, count) in by_reason(std::mem::take(&mut self.ignored)) {
            self.metrics.ignored.with_label_values(&[reason]).inc_by(u64::from(count));
        }
        for (reason, count) in identities_by_reason(std::mem::take(&mut self.ignored_identities)) {
            self.metrics.ignored_identities.with_label_values(&[reason]).inc_by(u64::from(count));
        }
        let Clock { adjusted, ahead_ms } = std::mem::take(&mut self.clock);
        self.metrics.adjusted.inc_by(adjusted);
        if let Some(ahead_ms) = ahead_ms {
            #[expect(clippy::cast_precision_loss, reason = "a metric")]
            self.metrics.ahead.set(ahead_ms as f64 / 1000.0);
            self.slow_clock.note(adjusted, ahead_ms, Instant::now());
        }
        for (labels, count) in self.open.drain() {
            self.counters
                .entry(labels)
                .or_insert_with(|| {
                    let values = [labels.outcome.as_str(), labels.object_type, labels.metric];
                    self.metrics.records.with_label_values(&values)
                })
                .inc_by(count);
            if let Outcome::DeadLetter(code) = labels.outcome {
                self.metrics.dead_letters.with_label_values(&["transformer", code]).inc_by(count);
            }
        }
    }

    /// Counts an abort, and discards the outcomes of the aborted transaction.
    pub(crate) fn aborted(&mut self) {
        self.metrics.aborted();
        self.open.clear();
        self.ignored = IgnoredFields::default();
        self.ignored_identities = IgnoredIdentities::default();
        self.clock = Clock::default();
    }
}

/// Logs that a gateway's clock is slow: at the first affected event, and then at most once a minute with the number of
/// affected events.
#[derive(Debug, Default)]
struct SlowClock {
    adjusted: u64,
    said: Option<Instant>,
}

impl SlowClock {
    /// Smaller differences are not logged, because synchronised clocks also differ slightly.
    const TOLERATED_MS: i64 = 60_000;
    const EVERY: Duration = Duration::from_secs(60);

    /// Logs a line if one is due, and then returns the number of events that the line covers.
    fn note(&mut self, adjusted: u64, ahead_ms: i64, now: Instant) -> Option<u64> {
        self.adjusted += adjusted;
        let is_due = self.said.is_none_or(|said| now - said >= Self::EVERY);
        if ahead_ms < Self::TOLERATED_MS || !is_due {
            return None;
        }
        self.said = Some(now);
        let events = std::mem::take(&mut self.adjusted);
        tracing::warn!(
            events,
            ahead_seconds = ahead_ms / 1000,
            "events have a time after their receipt: the clock of a gateway is slow. The time of the receipt is written instead, with timestampAdjusted. Set the gateway's clock: if it is slow by more than a day, such events become dead letters"
        );
        Some(events)
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

    fn labels(outcome: Outcome) -> Labels {
        Labels { outcome, object_type: "email", metric: "sent" }
    }

    #[test]
    fn the_metrics_exposition_matches_the_snapshot() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, &"raw".parse().unwrap()).unwrap();
        metrics.rebuilt(Duration::from_millis(200));
        metrics.show_window_limit(7200);
        metrics.show_window(Partition(3), 1000, 7200);
        metrics.show_window(Partition(4), 1000, 7200);
        metrics.show_deferred(Partition(3), 17);
        metrics.show_deferred(Partition(4), 17);
        metrics.forget_window(Partition(4));
        metrics.held_at(Hold::DeadLetterLimit, 1_700_000_000);
        metrics.held_at(Hold::DeadLetterLimit, 1_700_000_060);
        metrics.held_at(Hold::DeadLetterSize, 1_700_000_120);
        let mut tally = Tally::new(metrics);
        tally.count(labels(Outcome::Mapped));
        tally.count(labels(Outcome::Mapped));
        tally.count(labels(Outcome::MappedWithoutIdentity));
        tally.count(labels(Outcome::Duplicate));
        tally.count(labels(Outcome::DeadLetter("not_json")));
        tally.ignored(IgnoredFields { unknown: 2, unreadable: 1, withheld: 3 });
        tally.ignored_identities(IgnoredIdentities {
            not_an_address: 1,
            not_international: 2,
            blocked: 3,
            too_long: 4,
        });
        for ahead_ms in [-5_000, 61_500, 300] {
            tally.event_time(ahead_ms);
        }
        tally.committed(Duration::from_millis(120));
        insta::assert_snapshot!(exposition(&registry));
    }

    #[test]
    fn after_an_abort_only_the_abort_is_counted() {
        let registry = Registry::new();
        let mut tally = Tally::new(Metrics::register(&registry, &"raw".parse().unwrap()).unwrap());
        tally.count(labels(Outcome::Mapped));
        tally.ignored(IgnoredFields { unknown: 2, ..IgnoredFields::default() });
        tally.ignored_identities(IgnoredIdentities { blocked: 2, ..IgnoredIdentities::default() });
        tally.event_time(61_500);
        tally.aborted();
        tally.committed(Duration::from_millis(1));
        let text = exposition(&registry);
        assert!(text.contains("customerio_transformer_transaction_aborts_total 1\n"), "{text}");
        assert!(!text.contains("customerio_transformer_records_total{"), "{text}");
        assert!(text.contains("customerio_transformer_ignored_fields_total{reason=\"unknown\"} 0\n"), "{text}");
        assert!(text.contains("customerio_transformer_ignored_identities_total{reason=\"blocked\"} 0\n"), "{text}");
        assert!(text.contains("customerio_transformer_timestamps_adjusted_total 0\n"), "{text}");
        assert!(text.contains("customerio_transformer_event_time_ahead_seconds 0\n"), "{text}");
    }

    #[test]
    fn a_slow_gateway_clock_is_reported_at_once_and_then_every_minute() {
        let start = Instant::now();
        let mut clock = SlowClock::default();
        let mut note =
            |adjusted, ahead_ms, seconds| clock.note(adjusted, ahead_ms, start + Duration::from_secs(seconds));
        assert_eq!(note(1, 59_999, 0), None, "synchronised clocks also differ");
        assert_eq!(note(2, 60_000, 1), Some(3));
        assert_eq!(note(4, 90_000, 60), None);
        assert_eq!(note(8, 90_000, 61), Some(12));
    }
}
