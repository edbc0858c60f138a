//! The metrics of the services, read from the snapshots of their `/metrics` pages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::promql::Selector;

/// Folders with snapshots of `/metrics` pages.
const FOLDERS: [&str; 5] = [
    "ingest-gateway/src/snapshots",
    "transformer/src/snapshots",
    "sink/src/snapshots",
    "crates/service/src/snapshots",
    "crates/kafka/src/snapshots",
];

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "namespace"];

/// Label values that no snapshot contains: only one of the three services has a snapshot of `build_info`, and `metric`
/// is `other` only for events whose metric is not in the catalogue.
const FURTHER_VALUES: [(&str, &str); 3] = [("metric", "other"), ("service", "ingest-gateway"), ("service", "sink")];

/// A metric with its description.
pub(crate) struct Metric<'e> {
    pub(crate) name: &'e str,
    pub(crate) kind: &'e str,
    pub(crate) help: &'e str,
    /// Values of each label, except for a histogram's `le`.
    pub(crate) labels: BTreeMap<&'e str, &'e BTreeSet<String>>,
}

/// All metrics with their labels, and the values of the labels.
#[derive(Default)]
pub(crate) struct Exposition {
    /// Type of each metric, from its `# TYPE` line.
    families: BTreeMap<String, String>,
    /// Help text of each metric, from its `# HELP` line.
    help: BTreeMap<String, String>,
    /// Labels and their values, by the name of the series.
    labels: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Exposition {
    pub(crate) fn pinned(root: &Path) -> Self {
        let mut exposition = Self::default();
        for folder in FOLDERS {
            let before = exposition.families.len();
            for entry in std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
                exposition.read(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
            }
            assert!(exposition.families.len() > before, "{folder} pins metrics");
        }
        // Prometheus itself creates the metric `up` for every target.
        exposition.read("# TYPE up gauge\nup 1");
        exposition
    }

    /// Adds the one metric of kube-state-metrics that an alert uses (`job-metrics.md` of that project documents it).
    pub(crate) fn with_kube_state_metrics(mut self) -> Self {
        self.read("# TYPE kube_job_status_failed gauge\nkube_job_status_failed{job_name=\"j\",reason=\"r\"} 1");
        self
    }

    fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                self.families.insert(name.to_owned(), kind.to_owned());
                self.labels.entry(name.to_owned()).or_default();
            } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                self.help.insert(name.to_owned(), help.to_owned());
            } else if !line.starts_with('#')
                && let Some((series, _)) = line.rsplit_once(' ')
            {
                self.sample(series);
            }
        }
    }

    fn sample(&mut self, series: &str) {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        // The header of a snapshot file is not a series.
        if !self.families.contains_key(&self.family(name)) {
            return;
        }
        let known = self.labels.entry(name.to_owned()).or_default();
        for pair in labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once("=\"").unwrap();
            known.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }

    /// Returns the metric that a series belongs to: the series `x_bucket` belongs to the metric `x`.
    pub(crate) fn family(&self, series: &str) -> String {
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
        let is_histogram = |name: &&str| self.families.get(*name).is_some_and(|kind| kind == "histogram");
        stem.filter(is_histogram).unwrap_or(series).to_owned()
    }

    /// Whether a service has a metric or series with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.families.contains_key(&self.family(name))
    }

    /// Returns the names of the product's own metrics.
    pub(crate) fn own(&self) -> impl Iterator<Item = &str> {
        self.families.keys().map(String::as_str).filter(|name| name.starts_with("customerio_"))
    }

    /// Returns all metrics that the services expose, sorted by name.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = Metric<'_>> {
        self.help.iter().map(|(name, help)| {
            let kind = &self.families[name];
            let series = if kind == "histogram" { format!("{name}_bucket") } else { name.clone() };
            let labels = self.labels.get(&series).into_iter().flatten().filter(|(label, _)| *label != "le");
            let labels = labels.map(|(label, values)| (label.as_str(), values)).collect();
            Metric { name, kind, help, labels }
        })
    }

    /// Describes the metric and the labels of a selector that no service has.
    pub(crate) fn breaches(&self, place: &str, selector: &Selector) -> Vec<String> {
        let name = &selector.name;
        let Some(known) = self.labels.get(name) else {
            return vec![format!("{place}: no service has a metric {name}")];
        };
        if self.families.get(name).is_some_and(|kind| kind == "histogram") {
            return vec![format!("{place}: {name} is a histogram; use {name}_bucket, _sum or _count")];
        }
        let mut found = Vec::new();
        for (label, operator, value) in &selector.matchers {
            match known.get(label) {
                None if ADDED.contains(&label.as_str()) => {}
                None => found.push(format!("{place}: {name} has no label {label}")),
                Some(values) => {
                    let alternatives = value.split('|').filter(|_| operator.ends_with('~')).collect::<Vec<_>>();
                    let asked = if alternatives.is_empty() { vec![value.as_str()] } else { alternatives };
                    let missing = asked.into_iter().filter(|asked| !fits(label, asked, values));
                    found.extend(missing.map(|asked| format!("{place}: {name} has no {label}=\"{asked}\"")));
                }
            }
        }
        found
    }
}

/// Whether the label has the value `asked`. In a pattern, only the text before the first `.`, `(` or `$` is compared.
fn fits(label: &str, asked: &str, values: &BTreeSet<String>) -> bool {
    let fixed = asked.split(['.', '(', '$']).next().unwrap();
    let by_prefix = fixed.len() < asked.len() && values.iter().any(|value| value.starts_with(fixed));
    by_prefix || values.contains(asked) || FURTHER_VALUES.contains(&(label, asked))
}

/// Returns the metrics that a text mentions: names that begin with `customerio_`, have at least three words and contain
/// no placeholder (`*` or `…`).
pub(crate) fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "_*…".contains(c)));
    let words = words.filter(|word| word.starts_with("customerio_") && !word.contains(['*', '…']));
    words.filter(|word| word.matches('_').count() >= 2).map(str::to_owned).collect()
}

#[test]
fn metrics_and_labels_that_no_service_has_are_reported() {
    let mut known = Exposition::default();
    known.read("# TYPE a counter\na{code=\"202\",source=\"default\"} 1\na{code=\"401\",source=\"default\"} 0\n# TYPE h histogram\nh_bucket{le=\"1\"} 0\nh_count 0");
    let breaches = |expression: &str| -> Vec<String> {
        super::promql::selectors(expression).iter().flat_map(|selector| known.breaches("X", selector)).collect()
    };
    for valid in [
        "a",
        "a{code=\"401\",job=\"x\"}",
        "a{code=~\"202|401\"}",
        "a{code!=\"202\"}",
        "h_bucket{le=\"1\"}",
        "a{code=~\"4.*\"}",
    ] {
        assert!(breaches(valid).is_empty(), "{valid}: {:?}", breaches(valid));
    }
    for (wrong, said) in [
        ("b", "no service has a metric b"),
        ("a{cod=\"202\"}", "no label cod"),
        ("a{code=\"204\"}", "no code=\"204\""),
        ("a{code=~\"202|204\"}", "no code=\"204\""),
        ("a{code=~\"5.*\"}", "no code=\"5.*\""),
        ("h", "is a histogram"),
    ] {
        assert!(breaches(wrong).concat().contains(said), "{wrong}: {:?}", breaches(wrong));
    }
}
