//! Generates `docs/metrics.md` from the services' metrics ([`Exposition`]) and from the alert rules.
//! `UPDATE_DOCS=1 cargo test -p e2e --test repository page` updates the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::exposition::{Exposition, Metric};
use super::promql::selectors;
use super::{alerts, root, text};

const INTRODUCTION: &str = "\
# Metrics

Every service serves its metrics at `/metrics` of its admin port. A test generates this page from the services' own
metrics and from the alert rules in `deploy/prometheus/rules`. Each alert links to its runbook.

- A counter whose label values are known is exposed as 0 before its first event, because `increase()` does not see the
  first value of a counter. The tables list the values that the services' tests pin; an HTTP status, for example, can
  also have other values. Labels without a list depend on your set-up or on the traffic.
- A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`.
- Metrics with the label `partition` exist only on the instance to which the partition is assigned.
- A metric of the product without an alert is on the dashboard, or helps to investigate a defect.
";

/// Sections of the page: the beginning of a metric's name, and the heading. The first section that matches counts.
const SECTIONS: [(&str, &str); 6] = [
    ("customerio_gateway_", "Gateway"),
    ("customerio_transformer_", "Transformer"),
    ("customerio_sink_", "Sink"),
    ("customerio_kafka_", "Consumers: transformer and sink"),
    ("customerio_", "Several services"),
    ("process_", "Process of each service (Linux)"),
];

/// Labels whose values depend on the set-up, the traffic or the build.
const OPEN_LABELS: [&str; 9] =
    ["commit", "files", "metric", "object_type", "partition", "service", "source", "topic", "version"];

/// Returns the unit of a metric: the last word of the name that is a unit, as in Prometheus' naming conventions.
fn unit(metric: &Metric<'_>) -> &'static str {
    const UNITS: [&str; 7] = ["seconds", "bytes", "records", "ids", "partitions", "requests", "connections"];
    let named = metric.name.rsplit('_').find_map(|word| UNITS.into_iter().find(|unit| *unit == word));
    let is_switch = metric.help.starts_with("1 while") || metric.help.starts_with("Always 1");
    if is_switch { "0 or 1" } else { named.unwrap_or("number") }
}

fn labels(metric: &Metric<'_>) -> String {
    let one = |(label, values): (&&str, &&BTreeSet<String>)| {
        if OPEN_LABELS.contains(label) {
            return format!("`{label}`");
        }
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        format!("`{label}`: {}", values.join(", "))
    };
    metric.labels.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Returns the names of the alerts that use each metric.
fn alerts_by_metric(known: &Exposition) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for alert in alerts() {
        for selector in selectors(&text(&alert.rule["expr"])) {
            found.entry(known.family(&selector.name)).or_default().insert(alert.name.clone());
        }
    }
    found
}

fn row(metric: &Metric<'_>, alerts: Option<&BTreeSet<String>>) -> String {
    let link = |alert: &String| format!("[{alert}](runbooks.md#{})", alert.to_lowercase());
    let alerts = alerts.map_or_else(String::new, |names| names.iter().map(link).collect::<Vec<_>>().join(", "));
    let meaning = metric.help.trim_end_matches('.').replace('|', "\\|");
    let (name, kind) = (metric.name, metric.kind);
    let row = format!("| `{name}` | {kind} | {} | {} | {meaning} | {alerts} |", unit(metric), labels(metric));
    // An empty cell has one space.
    row.replace("|  |", "| |")
}

fn page() -> String {
    let known = Exposition::pinned(root());
    let alerts = alerts_by_metric(&known);
    let mut page = INTRODUCTION.to_owned();
    let section = |metric: &Metric<'_>| SECTIONS.iter().position(|(prefix, _)| metric.name.starts_with(prefix));
    assert!(known.metrics().all(|metric| section(&metric).is_some()), "every metric has a section");
    for (index, (_, heading)) in SECTIONS.iter().enumerate() {
        write!(page, "\n## {heading}\n\n| metric | type | unit | labels | meaning | alerts |\n").unwrap();
        writeln!(page, "|---|---|---|---|---|---|").unwrap();
        for metric in known.metrics().filter(|metric| section(metric) == Some(index)) {
            writeln!(page, "{}", row(&metric, alerts.get(metric.name))).unwrap();
        }
    }
    page
}

#[test]
fn the_metrics_page_matches_the_pinned_metrics_and_the_alert_rules() {
    let (page, path) = (page(), root().join("docs/metrics.md"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        documented == page,
        "docs/metrics.md is not current: UPDATE_DOCS=1 cargo test -p e2e --test repository page"
    );
}

#[test]
fn the_metrics_page_describes_every_metric_and_links_every_alert() {
    let (page, known) = (page(), Exposition::pinned(root()));
    for metric in known.metrics() {
        assert!(metric.help.len() > 10, "{} has no help text", metric.name);
        assert!(page.contains(&format!("| `{}` | {} |", metric.name, metric.kind)), "{}", metric.name);
    }
    let own = alerts().into_iter().filter(|alert| alert.file != "kubernetes" && alert.name != "CustomerioInstanceDown");
    for alert in own {
        assert!(page.contains(&format!("[{}](", alert.name)), "{} is not on the page", alert.name);
    }
}
