//! Creates metrics and registers them in one step.

use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Creates metrics in one registry. Each method fails if the metric's name is invalid or taken.
#[derive(Debug, Clone, Copy)]
pub struct Registrar<'r>(&'r Registry);

#[allow(clippy::missing_errors_doc, reason = "the type's documentation gives the errors of all methods")]
impl<'r> Registrar<'r> {
    /// Creates a registrar for this registry.
    #[must_use]
    pub const fn new(registry: &'r Registry) -> Self {
        Self(registry)
    }

    /// Creates a counter without labels.
    pub fn counter(self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::new(name, help)?)
    }

    /// Creates a family of counters, one for each combination of label values.
    pub fn counters(self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a gauge without labels.
    pub fn gauge(self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help)?)
    }

    /// Creates a gauge without labels whose values may have fractions.
    pub fn fractional_gauge(self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.add(Gauge::new(name, help)?)
    }

    /// Creates a family of gauges, one for each combination of label values.
    pub fn gauges(self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Creates a histogram; `buckets` are the upper limits in increasing order.
    pub fn histogram(self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn add<M: Collector + Clone + 'static>(self, metric: M) -> Result<M, Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
