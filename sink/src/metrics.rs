//! The metrics of the sink.

use contract::dead_letter::Stage;
use contract::dead_letter::code::REJECTED_AFTER_ACCEPTANCE;
use kafka::{ConsumerMetrics, TopicName};
use platform::control::rejection_keywords;
use platform::{Answer, Failure, RefreshOutcome};
use prometheus::{Histogram, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use service::Registrar;

use crate::dispatch::Hold;
use crate::external_hold::ExternalHold;
use crate::work::Code;

/// The reason why records cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The records were written with a schema that this build does not have.
    UnknownSchema,
    /// The Schema Registry does not return the schema with the id that the records contain.
    SchemaRegistry,
}

impl Unreadable {
    pub(crate) const ALL: [Self; 2] = [Self::UnknownSchema, Self::SchemaRegistry];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSchema => "unknown_schema",
            Self::SchemaRegistry => "schema_registry",
        }
    }
}

/// Value of the label `reason` of `customerio_sink_held` while dead letters or receipts cannot be written.
pub(crate) const UNWRITABLE: &str = "kafka";

/// Values of the label `status`: the statuses that Platform documents, and the failures without a response.
const EXPECTED_STATUSES: [&str; 12] =
    ["200", "207", "401", "403", "404", "429", "500", "503", CONNECT, TIMEOUT, INTERRUPTED, NO_TOKEN];
const CONNECT: &str = "connect";
const TIMEOUT: &str = "timeout";
const INTERRUPTED: &str = "interrupted";
const NO_TOKEN: &str = "no_token";

/// Returns the reasons for holds that do not come from Platform's responses.
pub(crate) fn held_for_other_reasons() -> impl Iterator<Item = &'static str> {
    let external = ExternalHold::ALL.map(ExternalHold::as_str);
    Unreadable::ALL.map(Unreadable::as_str).into_iter().chain([UNWRITABLE]).chain(external)
}

/// All metrics of the sink. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) consumer: ConsumerMetrics,
    requests: RequestMetrics,
    records: IntCounterVec,
    event_age: Histogram,
    dead_letters: IntCounterVec,
    held: IntGaugeVec,
    held_since: IntGaugeVec,
    concurrency: IntGauge,
    in_flight: IntGauge,
    rejections: IntCounterVec,
}

/// The metrics of the requests to Platform and IMS.
#[derive(Debug, Clone)]
struct RequestMetrics {
    by_status: IntCounterVec,
    duration: Histogram,
    records: Histogram,
    bytes: Histogram,
    token_refreshes: IntCounterVec,
}

impl RequestMetrics {
    fn register(new: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            by_status: new.counters(
                "customerio_sink_requests_total",
                "Requests to Platform by HTTP status, or by the kind of failure if there was no response",
                &["status"],
            )?,
            duration: new.histogram(
                "customerio_sink_request_duration_seconds",
                "From sending a batch to its complete response",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
            records: new.histogram(
                "customerio_sink_batch_records",
                "Records in a request",
                &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0],
            )?,
            bytes: new.histogram(
                "customerio_sink_batch_bytes",
                "Bytes of a request's body",
                &[1e3, 1e4, 5e4, 1e5, 2.5e5, 5e5, 7.5e5, 1e6],
            )?,
            token_refreshes: new.counters(
                "customerio_sink_token_refreshes_total",
                "Requests for an access token: granted or failed",
                &["outcome"],
            )?,
        })
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, input: &TopicName) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let metrics = Self {
            consumer: ConsumerMetrics::register(registry, "sink", "the gateway", input)?,
            requests: RequestMetrics::register(&new)?,
            records: new.counters(
                "customerio_sink_records_total",
                "Records by outcome: accepted, dead_letter, or retried (sent again)",
                &["outcome"],
            )?,
            event_age: new.histogram(
                "customerio_event_age_seconds",
                "From the gateway's receipt of a webhook to Platform's acceptance of its event",
                &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0],
            )?,
            dead_letters: new.counters(
                "customerio_dead_letters_total",
                "Dead letters written, by stage and code",
                &["stage", "code"],
            )?,
            rejections: new.counters(
                "customerio_sink_rejections_total",
                "Events that Platform rejected after it had accepted them, by the broken rule (SINK_FAILED_BATCHES_EVERY); each has a dead letter",
                &["keyword"],
            )?,
            held: new.gauges(
                "customerio_sink_held",
                "1 while nothing can be delivered for this reason; records wait, none is lost",
                &["reason"],
            )?,
            held_since: new.gauges(
                "customerio_sink_held_since_timestamp_seconds",
                "Since when nothing can be delivered for this reason, in Unix seconds; 0 while it can be",
                &["reason"],
            )?,
            concurrency: new.gauge(
                "customerio_sink_concurrency_limit",
                "Requests that may be in flight; follows Platform's responses",
            )?,
            in_flight: new.gauge("customerio_sink_requests_in_flight", "Requests in flight")?,
        };
        metrics.start_at_zero();
        Ok(metrics)
    }

    /// Creates all series before their first event, because `increase()` does not count the first value of a new
    /// series.
    fn start_at_zero(&self) {
        for reason in Hold::all().map(Hold::as_str).chain(held_for_other_reasons()) {
            self.held.with_label_values(&[reason]).set(0);
            self.held_since.with_label_values(&[reason]).set(0);
        }
        for code in Code::ALL {
            self.dead_letters.with_label_values(&["sink", code.as_str()]);
        }
        self.dead_letters.with_label_values(&[Stage::Platform.as_str(), REJECTED_AFTER_ACCEPTANCE]);
        for keyword in rejection_keywords() {
            self.rejections.with_label_values(&[keyword]);
        }
        for outcome in ["accepted", "dead_letter", "retried"] {
            self.records.with_label_values(&[outcome]);
        }
        for status in EXPECTED_STATUSES {
            self.requests.by_status.with_label_values(&[status]);
        }
        for outcome in ["granted", "failed"] {
            self.requests.token_refreshes.with_label_values(&[outcome]);
        }
    }

    pub(crate) fn requested(&self, answer: &Answer, seconds: f64, records: usize, bytes: usize) {
        let status = match answer {
            Answer::Response(response) => response.status.to_string(),
            Answer::Failed(Failure::Connect(_)) => CONNECT.to_owned(),
            Answer::Failed(Failure::Timeout) => TIMEOUT.to_owned(),
            Answer::Failed(Failure::Interrupted) => INTERRUPTED.to_owned(),
            Answer::NoToken(_) => NO_TOKEN.to_owned(),
        };
        self.requests.by_status.with_label_values(&[&status]).inc();
        self.requests.duration.observe(seconds);
        self.requests.records.observe(count(records));
        self.requests.bytes.observe(count(bytes));
    }

    pub(crate) fn accepted(&self, received_at: impl Iterator<Item = i64>, now: i64) {
        let mut records = 0;
        for received_at in received_at {
            records += 1;
            let millis = u32::try_from(now.saturating_sub(received_at).max(0)).unwrap_or(u32::MAX);
            self.event_age.observe(f64::from(millis) / 1000.0);
        }
        self.records.with_label_values(&["accepted"]).inc_by(records);
    }

    pub(crate) fn retried(&self, records: usize) {
        self.records.with_label_values(&["retried"]).inc_by(records as u64);
    }

    /// Counts an event that Platform rejected after it had accepted it, together with its dead letter.
    pub(crate) fn rejected_after_acceptance(&self, keyword: &str) {
        self.rejections.with_label_values(&[keyword]).inc();
        self.dead_letters.with_label_values(&[Stage::Platform.as_str(), REJECTED_AFTER_ACCEPTANCE]).inc();
    }

    pub(crate) fn dead_letter(&self, code: Code) {
        self.records.with_label_values(&["dead_letter"]).inc();
        self.dead_letters.with_label_values(&["sink", code.as_str()]).inc();
    }

    pub(crate) fn set_held(&self, reason: &str, held: bool) {
        self.set_held_at(reason, held, service::unix_millis() / 1000);
    }

    fn set_held_at(&self, reason: &str, held: bool, now: i64) {
        let gauge = self.held.with_label_values(&[reason]);
        let since = self.held_since.with_label_values(&[reason]);
        match (gauge.get() != 0, held) {
            (false, true) => since.set(now),
            (_, false) => since.set(0),
            (true, true) => {}
        }
        gauge.set(i64::from(held));
    }

    pub(crate) fn show_pace(&self, allowed: usize, in_flight: usize) {
        self.concurrency.set(i64::try_from(allowed).unwrap_or(i64::MAX));
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    }

    pub(crate) fn token_refreshed(&self, outcome: RefreshOutcome) {
        let outcome = match outcome {
            RefreshOutcome::Granted => "granted",
            RefreshOutcome::Failed => "failed",
        };
        self.requests.token_refreshes.with_label_values(&[outcome]).inc();
    }
}

/// Converts a number of records or bytes of one request to a metric value. The number is far below 2^32.
fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn the_metrics_exposition_matches_the_snapshot() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, &"typed".parse().unwrap()).unwrap();
        metrics.requested(&Answer::Failed(Failure::Timeout), 0.2, 3, 4000);
        metrics.accepted([1000, 1200].into_iter(), 1600);
        metrics.retried(2);
        metrics.dead_letter(Code::Refused);
        metrics.set_held_at(Hold::RefusedAlike.as_str(), true, 1_700_000_000);
        metrics.set_held_at(Hold::RefusedAlike.as_str(), true, 1_700_000_060);
        metrics.show_pace(12, 3);
        metrics.token_refreshed(RefreshOutcome::Granted);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
