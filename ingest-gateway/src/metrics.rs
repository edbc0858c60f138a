//! The gateway's metrics: every name is here.

use std::collections::HashMap;
use std::time::Duration;

use kafka::producer::ProduceError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::answer::Answer;
use crate::budget::InFlight;
use crate::source::Sources;

/// Label of requests to no configured source.
const UNKNOWN: &str = "unknown";

/// Handles of all metrics; label handles are resolved once.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    stored: HashMap<String, IntCounter>,
    request_duration: Histogram,
    publish_duration: Histogram,
    publish_failures: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(
        registry: &Registry,
        sources: &Sources,
        budget: &InFlight,
    ) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("customerio_gateway_requests_total", "Requests by source and HTTP status"),
            &["source", "code"],
        )?;
        let request_duration = Histogram::with_opts(
            HistogramOpts::new(
                "customerio_gateway_request_duration_seconds",
                "From a request's head to its answer; the sender gives up after 4 s",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 4.0]),
        )?;
        let publish_duration = Histogram::with_opts(
            HistogramOpts::new(
                "customerio_gateway_publish_duration_seconds",
                "From handing a record to the producer to the acknowledgement of all in-sync replicas",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5]),
        )?;
        let publish_failures = IntCounterVec::new(
            Opts::new("customerio_gateway_publish_failures_total", "Records not known to be stored, by reason"),
            &["reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_duration.clone()))?;
        registry.register(Box::new(publish_duration.clone()))?;
        registry.register(Box::new(publish_failures.clone()))?;
        registry.register(Box::new(BudgetGauges::new(budget.clone())?))?;
        let status = Answer::Stored.status();
        let stored = sources
            .names()
            .map(|name| (name.to_owned(), requests.with_label_values(&[name, status.as_str()])))
            .collect();
        Ok(Self { requests, stored, request_duration, publish_duration, publish_failures })
    }

    /// One request was answered; `source` is a configured one or none.
    pub(crate) fn answered(&self, source: Option<&str>, answer: Answer, took: Duration) {
        self.request_duration.observe(took.as_secs_f64());
        let source = source.unwrap_or(UNKNOWN);
        match self.stored.get(source).filter(|_| answer == Answer::Stored) {
            Some(counter) => counter.inc(),
            None => self.requests.with_label_values(&[source, answer.status().as_str()]).inc(),
        }
    }

    pub(crate) fn published(&self, took: Duration) {
        self.publish_duration.observe(took.as_secs_f64());
    }

    pub(crate) fn publish_failed(&self, error: &ProduceError) {
        self.publish_failures.with_label_values(&[error.code()]).inc();
    }
}

/// Reads the budget when it is asked for.
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
            "GATEWAY_IN_FLIGHT_BYTES: at it the answer is 503",
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

    use super::*;

    #[test]
    fn the_exposition_is_pinned() {
        let registry = Registry::new();
        let sources = Sources::single(vec![SigningKey::new("k")]);
        let metrics = Metrics::register(&registry, &sources, &InFlight::new(1000)).unwrap();
        metrics.answered(Some("default"), Answer::Stored, Duration::from_millis(3));
        metrics.answered(None, Answer::NotFound, Duration::from_millis(1));
        metrics.published(Duration::from_millis(2));
        metrics.publish_failed(&ProduceError::QueueFull);
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }
}
