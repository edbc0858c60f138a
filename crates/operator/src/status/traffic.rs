//! Computes throughput and delay from the counters, gauges and histograms of the services.

use super::exposition::{Exposition, Histogram, Sample};
use super::look::{Answer, Look};

/// Events per second between two snapshots of the services; `None` if the service did not respond both times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Rate of webhooks that the gateway stored.
    pub received: Option<f64>,
    /// Rate of requests to which the gateway did not respond with a 2xx.
    pub refused: Option<f64>,
    /// Rate of webhooks that the transformer mapped.
    pub mapped: Option<f64>,
    /// Rate of repeated webhooks that the transformer recognised.
    pub duplicates: Option<f64>,
    /// Rate of events that Platform accepted.
    pub accepted: Option<f64>,
    /// Rate of records that the sink sent again.
    pub retried: Option<f64>,
    /// Rate of dead letters of all services.
    pub dead_letters: Option<f64>,
}

/// Age of events at the time when Platform accepts them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventAge {
    /// Median in seconds.
    pub p50: f64,
    /// 99th percentile in seconds.
    pub p99: f64,
    /// Number of accepted events.
    pub events: f64,
    /// Length of the measurement in seconds; `None` for the time since the sinks started.
    pub seconds: Option<f64>,
}

/// Records that wait for a service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Backlog {
    /// Consumer lag: number of offsets between the progress of the service and the end of its topic.
    pub records: Option<f64>,
    /// Time since the gateway received the oldest record without a durable outcome, in seconds; 0 if no record waits
    /// for more than 2 s.
    pub oldest_seconds: Option<f64>,
}

/// Computes the rates between two snapshots of the services.
pub(super) fn rates(now: &Look, earlier: &Look) -> Rates {
    let seconds = f64::from(i32::try_from(now.at - earlier.at).unwrap_or(i32::MAX)) / 1000.0;
    let rate = |service: &str, name: &str, matches: &dyn Fn(&Sample) -> bool| {
        let pairs =
            pairs(now, earlier).filter(|(answer, _, _)| service.is_empty() || answer.service() == Some(service));
        let increases: Vec<f64> = pairs.filter_map(|(_, now, earlier)| increase(now, earlier, name, matches)).collect();
        (!increases.is_empty() && seconds > 0.0).then(|| increases.iter().sum::<f64>() / seconds)
    };
    let outcome = |names: &'static [&'static str]| move |sample: &Sample| names.contains(&sample.label("outcome"));
    let mapped = "customerio_transformer_records_total";
    let sent = "customerio_sink_records_total";
    let requests = "customerio_gateway_requests_total";
    Rates {
        received: rate(GATEWAY, requests, &|sample| sample.label("code").starts_with('2')),
        refused: rate(GATEWAY, requests, &|sample| !sample.label("code").starts_with('2')),
        mapped: rate(TRANSFORMER, mapped, &outcome(&["mapped", "mapped_without_identity"])),
        duplicates: rate(TRANSFORMER, mapped, &outcome(&["duplicate"])),
        accepted: rate(SINK, sent, &outcome(&["accepted"])),
        retried: rate(SINK, sent, &outcome(&["retried"])),
        dead_letters: rate("", "customerio_dead_letters_total", &|_| true),
    }
}

/// Name of the gateway in `customerio_build_info`.
pub(super) const GATEWAY: &str = "ingest-gateway";
pub(super) const TRANSFORMER: &str = "transformer";
pub(super) const SINK: &str = "sink";

/// Returns each address that responded both times: its current response, and its current and its earlier metrics.
fn pairs<'l>(now: &'l Look, earlier: &'l Look) -> impl Iterator<Item = (&'l Answer, &'l Exposition, &'l Exposition)> {
    now.answers.iter().filter_map(|answer| {
        let before = earlier.answers.iter().find(|before| before.address == answer.address)?;
        Some((answer, answer.metrics.as_ref().ok()?, before.metrics.as_ref().ok()?))
    })
}

/// Returns the increase of a counter, or its whole value if the process has restarted. A counter that is missing in one
/// of the snapshots counts as 0; returns `None` if it is missing in both.
fn increase(now: &Exposition, earlier: &Exposition, name: &str, matches: &dyn Fn(&Sample) -> bool) -> Option<f64> {
    let has_name = !now.all(name).is_empty() || !earlier.all(name).is_empty();
    let (now, earlier) = (now.sum(name, matches).unwrap_or(0.0), earlier.sum(name, matches).unwrap_or(0.0));
    has_name.then_some(if now < earlier { now } else { now - earlier })
}

/// Returns the age of the events that were accepted since `earlier`; without such events, the age of all events that
/// were accepted since the sinks started.
pub(super) fn event_age(now: &Look, earlier: Option<&Look>) -> Option<EventAge> {
    let name = "customerio_event_age_seconds";
    let recent = earlier.and_then(|earlier| {
        let parts = pairs(now, earlier).filter_map(|(_, now, before)| {
            let now = now.histogram(name)?;
            Some(before.histogram(name).and_then(|before| now.since(&before)).unwrap_or(now))
        });
        let seconds = f64::from(i32::try_from(now.at - earlier.at).unwrap_or(i32::MAX)) / 1000.0;
        Some((sum(parts).filter(|sum| sum.count() > 0.0)?, Some(seconds)))
    });
    let (histogram, seconds) = match recent {
        Some(recent) => recent,
        None => {
            let all = now.answers.iter().filter_map(|answer| answer.metrics.as_ref().ok()?.histogram(name));
            (sum(all)?, None)
        }
    };
    let (p50, p99) = (histogram.quantile(0.5)?, histogram.quantile(0.99)?);
    Some(EventAge { p50, p99, events: histogram.count(), seconds })
}

fn sum(histograms: impl Iterator<Item = Histogram>) -> Option<Histogram> {
    histograms.fold(None, |sum, next| match sum {
        None => Some(next),
        Some(sum) => Some(sum.plus(&next).unwrap_or(sum)),
    })
}

/// Returns the records that wait for the transformers or for the sinks.
pub(super) fn backlog(now: &Look, service: &str) -> Backlog {
    let pages = || {
        let of = now.answers.iter().filter(move |answer| answer.service() == Some(service));
        of.filter_map(|answer| answer.metrics.as_ref().ok())
    };
    let add = |sum: Option<f64>, next: f64| Some(sum.unwrap_or(0.0) + next);
    let lags = pages().filter_map(|page| page.sum("customerio_kafka_consumer_lag_records", |_| true));
    let oldest = format!("customerio_{service}_oldest_unsettled_seconds");
    Backlog {
        records: lags.fold(None, add),
        oldest_seconds: pages().filter_map(|page| page.max(&oldest)).reduce(f64::max),
    }
}
