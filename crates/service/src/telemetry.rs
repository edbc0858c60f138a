//! Logs and the metrics registry of a process.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use prometheus::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Registrar;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// A log level, or `target=level` pairs.
#[derive(Clone)]
pub struct LogLevel(Targets);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |_| "this is not a log level; write for example info or info,librdkafka=debug".to_owned();
        text.parse().map(Self).map_err(error)
    }
}

/// Starts logging to standard error, and logs panics. A second call in one process does not change the format or level.
pub fn init_logs(format: LogFormat, level: &LogLevel) {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic_message(panic.payload());
        tracing::error!(place, message, "a thread panicked; this is a defect, please report it");
    }));
    let builder = tracing_subscriber::registry().with(level.0.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let done = match format {
        LogFormat::Text => builder.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => builder.with(layer.json().flatten_event(true)).try_init(),
    };
    if done.is_err() {
        tracing::debug!("logging was set up before");
    }
}

/// Returns the message of a panic if it is a constant of the program. A message that was built at run time may contain
/// payload data, which must not be logged. For example, the message about slicing a text within a character quotes the
/// text.
fn panic_message(payload: &(dyn std::any::Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not shown: it may hold data)")
}

/// Creates a registry with the metrics of every service: `customerio_build_info` and the `process_*` metrics.
///
/// # Panics
/// Never: the registry is new, so no name can be taken.
#[must_use]
pub fn registry(service: &str) -> Registry {
    let registry = Registry::new();
    let build = Registrar::new(&registry)
        .gauges(
            "customerio_build_info",
            "Always 1; the labels give the service, its version and its commit",
            &["service", "version", "commit"],
        )
        .expect("a constant and valid metric name, in a new registry");
    build.with_label_values(&[service, crate::VERSION, crate::COMMIT]).set(1);
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).expect("the registry is new");
    registry
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;
    use crate::{Readiness, ReloadMetrics, Waiting};

    /// Compares the metrics that this crate adds to every service with a snapshot. Values are replaced, because those
    /// of the process vary.
    #[test]
    fn the_metrics_exposition_matches_the_snapshot() {
        let registry = registry("transformer");
        for service in ["gateway", "transformer", "sink"] {
            Waiting::register(service, &registry, &Readiness::default()).unwrap();
        }
        let reloads = ReloadMetrics::register(&registry, "transformer").unwrap();
        settings::watched::OnReload::in_step(&reloads, "sources");
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let without_value = |line: &str| match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') => format!("{series} …"),
            _ => line.to_owned(),
        };
        let text = text.lines().map(without_value).collect::<Vec<_>>().join("\n");
        let text = text.replace(crate::VERSION, "VERSION").replace(crate::COMMIT, "COMMIT");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_panic_message_that_was_built_at_run_time_is_not_shown() {
        assert_eq!(panic_message(&"a constant"), "a constant");
        let quoted = format!("byte index 1 is not a char boundary; it is inside 'ä' of `{}`", "jo@example.com");
        assert!(!panic_message(&quoted).contains("jo@"));
    }
}
