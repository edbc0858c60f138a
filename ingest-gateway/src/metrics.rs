//! The metrics of the gateway.

use std::sync::Arc;
use std::time::Duration;

use contract::dead_letter::Stage;
use contract::dead_letter::code::BODY_TOO_LARGE;
use kafka::producer::ProduceError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use service::{Registrar, ReloadMetrics};

use crate::answer::Answer;
use crate::budget::InFlight;
use crate::source::{KeysBySource, SourceKeys};

/// Value of the label `source` for requests without a configured source.
const UNKNOWN: &str = "unknown";

/// The usual responses to requests with a configured source, one for each status.
const EXPECTED: [Answer; 5] =
    [Answer::Stored, Answer::Unauthenticated, Answer::ReadTimeout, Answer::TooLarge, Answer::Unavailable];

#[derive(Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    request_duration: Histogram,
    publish_duration: Histogram,
    publish_failures: IntCounterVec,
    dead_letters: IntCounter,
    signing_keys: IntGaugeVec,
    pub(crate) reloads: Arc<ReloadMetrics>,
    pub(crate) connections: ConnectionMetrics,
}

/// The metrics of the connections.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: IntGauge,
    pub(crate) limit: IntGauge,
    pub(crate) evicted: IntCounter,
    pub(crate) tls_failures: IntCounter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, budget: &InFlight) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let requests = new.counters(
            "customerio_gateway_requests_total",
            "Requests by source and HTTP status",
            &["source", "code"],
        )?;
        let request_duration = new.histogram(
            "customerio_gateway_request_duration_seconds",
            "From the request headers to the response; Customer.io gives up after 4 s",
            &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 4.0],
        )?;
        let publish_duration = new.histogram(
            "customerio_gateway_publish_duration_seconds",
            "From queueing a record in the producer to the acknowledgement of all in-sync replicas",
            &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5],
        )?;
        let publish_failures = new.counters(
            "customerio_gateway_publish_failures_total",
            "Records not known to be stored, by reason",
            &["reason"],
        )?;
        let dead_letters = new.counters(
            "customerio_dead_letters_total",
            "Dead letters written, by stage and code",
            &["stage", "code"],
        )?;
        let signing_keys = new.gauges("customerio_gateway_signing_keys", "Live signing keys by source", &["source"])?;
        for reason in ProduceError::CODES {
            publish_failures.with_label_values(&[reason]);
        }
        registry.register(Box::new(BudgetGauges::new(budget.clone())?))?;
        Ok(Self {
            requests,
            request_duration,
            publish_duration,
            publish_failures,
            dead_letters: dead_letters.with_label_values(&[Stage::Gateway.as_str(), BODY_TOO_LARGE]),
            signing_keys,
            reloads: Arc::new(ReloadMetrics::register(registry, "gateway")?),
            connections: ConnectionMetrics::register(registry)?,
        })
    }

    /// Shows the current sources and their keys, and creates the counters of each source with the value 0. Otherwise,
    /// `increase()` would miss the first 401, because it does not count the first value of a new series.
    pub(crate) fn sources(&self, sources: &KeysBySource) {
        self.signing_keys.reset();
        for source in sources.iter() {
            let keys = i64::try_from(source.keys.len()).unwrap_or(i64::MAX);
            self.signing_keys.with_label_values(&[source.name.as_str()]).set(keys);
            for answer in EXPECTED {
                self.requests.with_label_values(&[source.name.as_str(), answer.status().as_str()]);
            }
        }
    }

    /// Counts a response; `source` is `None` if the request is not for a configured source.
    pub(crate) fn answered(&self, source: Option<&SourceKeys>, answer: Answer, took: Duration) {
        self.request_duration.observe(took.as_secs_f64());
        self.count(source.map_or(UNKNOWN, |source| source.name.as_str()), answer);
    }

    /// Counts a connection that the gateway closed before its request was received completely.
    pub(crate) fn abandoned(&self) {
        self.count(UNKNOWN, Answer::ReadTimeout);
    }

    fn count(&self, source: &str, answer: Answer) {
        self.requests.with_label_values(&[source, answer.status().as_str()]).inc();
    }

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    pub(crate) fn published(&self, took: Duration) {
        self.publish_duration.observe(took.as_secs_f64());
    }

    pub(crate) fn publish_failed(&self, error: &ProduceError) {
        self.publish_failures.with_label_values(&[error.code()]).inc();
    }
}

impl ConnectionMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let open = new.gauge("customerio_gateway_connections", "Open connections")?;
        let limit = new.gauge(
            "customerio_gateway_connections_limit",
            "Maximum connections: at the limit, those that waited longest for their client are closed",
        )?;
        let evicted = new.counter(
            "customerio_gateway_connections_evicted_total",
            "Connections closed to make room while they waited for their client",
        )?;
        let tls_failures = new.counter(
            "customerio_gateway_tls_handshake_failures_total",
            "Connections closed because the TLS handshake failed or took too long",
        )?;
        Ok(Self { open, limit, evicted, tls_failures })
    }
}

/// Gauges that read the budget when the metrics are collected.
struct BudgetGauges {
    budget: InFlight,
    used: IntGauge,
    total: IntGauge,
}

impl BudgetGauges {
    fn new(budget: InFlight) -> Result<Self, prometheus::Error> {
        let used = IntGauge::new(
            "customerio_gateway_in_flight_bytes",
            "Bytes of bodies received and not yet acknowledged by Kafka",
        )?;
        let total = IntGauge::new(
            "customerio_gateway_in_flight_limit_bytes",
            "GATEWAY_IN_FLIGHT_BYTES: at this limit the response is 503",
        )?;
        Ok(Self { budget, used, total })
    }
}

impl Collector for BudgetGauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.used.desc(), self.total.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.used.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
        self.total.set(i64::try_from(self.budget.total()).unwrap_or(i64::MAX));
        [self.used.collect(), self.total.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use customerio::SigningKey;
    use prometheus::{Encoder, TextEncoder};
    use settings::watched::OnReload;

    use super::*;

    #[test]
    fn the_metrics_exposition_matches_the_snapshot() {
        let registry = Registry::new();
        let sources = KeysBySource::single(vec![SigningKey::new("k")]);
        let metrics = Metrics::register(&registry, &InFlight::new(1000)).unwrap();
        metrics.sources(&sources);
        metrics.answered(sources.get("default"), Answer::Stored, Duration::from_millis(3));
        metrics.answered(None, Answer::NotFound, Duration::from_millis(1));
        metrics.abandoned();
        metrics.dead_letter();
        metrics.reloads.in_step("signing_keys");
        metrics.reloads.refused("signing_keys");
        metrics.published(Duration::from_millis(2));
        metrics.publish_failed(&ProduceError::QueueFull);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
