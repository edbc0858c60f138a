//! Compares alert rules, their tests, the runbooks and the dashboard with each other and with the services' metrics,
//! which are known from the snapshots of their `/metrics` pages ([`Exposition`]). These tests need neither Kafka nor
//! Prometheus. `make ops-rules` evaluates the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_yaml_ng::Value;

mod exposition;
mod metrics_page;
mod promql;

use exposition::Exposition;
use promql::{Selector, selectors};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the files of a folder with this ending, sorted by path.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "{folder} has files");
    files
}

fn yaml(path: &Path) -> Value {
    serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is a text")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_sequence().map_or(&[], Vec::as_slice)
}

/// An alert of `deploy/prometheus/rules`.
struct Alert {
    name: String,
    /// Name of the rule file, without folder and extension.
    file: String,
    rule: Value,
}

fn alerts() -> Vec<Alert> {
    let mut alerts = Vec::new();
    for path in files("deploy/prometheus/rules", ".yml") {
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for group in list(&yaml(&path)["groups"]) {
            for rule in list(&group["rules"]) {
                alerts.push(Alert { name: text(&rule["alert"]), file: file.clone(), rule: rule.clone() });
            }
        }
    }
    alerts
}

fn names() -> BTreeSet<String> {
    alerts().into_iter().map(|alert| alert.name).collect()
}

/// Returns the sections of the runbooks: their contents by heading.
fn runbooks() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    let sections = page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap());
    let sections = sections.filter(|(heading, _)| heading.starts_with("Customerio"));
    let mut found = BTreeMap::new();
    for (heading, content) in sections {
        assert!(found.insert(heading.to_owned(), content.to_owned()).is_none(), "{heading} has one section");
    }
    found
}

#[test]
fn alerts_and_runbooks_match_one_to_one() {
    let headings: BTreeSet<String> = runbooks().into_keys().collect();
    assert_eq!(names(), headings, "docs/runbooks.md has one section for each alert");
    assert_eq!(alerts().len(), names().len(), "no two alerts have the same name");
}

#[test]
fn every_runbook_explains_meaning_impact_diagnosis_and_mitigation() {
    for (alert, content) in runbooks() {
        let mut rest = content.as_str();
        for part in ["**Meaning.**", "**Impact.**", "**Diagnosis.**", "**Mitigation.**"] {
            let (_, after) =
                rest.split_once(part).unwrap_or_else(|| panic!("{alert}: no {part} after the parts before it"));
            rest = after;
        }
    }
}

#[test]
fn every_alert_has_a_severity_a_summary_a_description_and_its_runbook() {
    for Alert { name, rule, .. } in alerts() {
        assert!(name.starts_with("Customerio"), "{name}");
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: severity {severity}");
        let annotations = &rule["annotations"];
        assert!(text(&annotations["summary"]).ends_with('.'), "{name}: the summary is a sentence");
        assert!(text(&annotations["description"]).ends_with('.'), "{name}: the description is a sentence");
        // Prometheus replaces this template by the address in the external label, or by the path without such a label.
        let page = r#"{{ or $externalLabels.customerio_runbooks "docs/runbooks.md" }}"#;
        assert_eq!(text(&annotations["runbook_url"]), format!("{page}#{}", name.to_lowercase()), "{name}");
    }
}

/// Alerts without a number in their summary, with the reason.
const WITHOUT_NUMBER: [(&str, &str); 3] = [
    ("CustomerioAuditFailed", "a failed job has one attempt"),
    ("CustomerioReloadBroken", "the alert is about one instance and its files"),
    ("CustomerioServiceAbsent", "there is nothing to count"),
];

#[test]
fn every_alert_summary_contains_the_value_except_in_listed_alerts() {
    let without = BTreeMap::from(WITHOUT_NUMBER);
    for Alert { name, rule, .. } in alerts() {
        let has_number = text(&rule["annotations"]["summary"]).contains("{{ $value");
        assert_eq!(has_number, !without.contains_key(name.as_str()), "{name}");
    }
    assert!(without.keys().all(|name| names().contains(*name)), "{WITHOUT_NUMBER:?}");
}

/// Returns the alerts that a matcher of Alertmanager selects by name, such as `alertname=~"A|B"`.
fn alerts_of_matcher(matcher: &str) -> Vec<&str> {
    let names = matcher.strip_prefix("alertname").map(|rest| rest.trim_start_matches(['=', '~']).trim_matches('"'));
    names.into_iter().flat_map(|names| names.split('|')).collect()
}

#[test]
fn alertmanager_names_only_alerts_and_receivers_that_exist() {
    let config = yaml(&root().join("deploy/alertmanager/alertmanager.yml"));
    let (names, receivers) = (names(), list(&config["receivers"]));
    let mut named = BTreeSet::new();
    for rule in list(&config["inhibit_rules"]) {
        for side in ["source_matchers", "target_matchers"] {
            let matchers: Vec<String> = list(&rule[side]).iter().map(text).collect();
            let alerts: Vec<&str> = matchers.iter().flat_map(|matcher| alerts_of_matcher(matcher)).collect();
            assert!(!alerts.is_empty(), "{side} without an alert: {matchers:?}");
            for alert in alerts {
                assert!(names.contains(alert), "no alert {alert}");
                named.insert(alert.to_owned());
            }
            // A hold because of the dead-letter limit concerns one source and can last for days, so it must not
            // suppress other alerts.
            let is_hold = side == "source_matchers" && matchers[0].contains("SinkHeld");
            let excludes = matchers.iter().any(|matcher| matcher == r#"reason!="dead_letter_limit""#);
            assert_eq!(is_hold, excludes, "{matchers:?}");
        }
    }
    assert!(named.len() > 8, "{named:?}");
    assert!(!named.contains("CustomerioTransformerHeld"), "its holds concern one source or some partitions");
    for route in list(&config["route"]["routes"]).iter().chain([&config["route"]]) {
        assert!(receivers.iter().any(|receiver| receiver["name"] == route["receiver"]), "{route:?}");
    }
}

/// Alerts without `for`: their expression covers a time range, or a person has to act in any case.
const IMMEDIATE: [&str; 8] = [
    "CustomerioAuditFailed",
    "CustomerioDeadLetters",
    "CustomerioEventsExpired",
    "CustomerioFormChanged",
    "CustomerioLogReplaced",
    "CustomerioRebalancesOften",
    "CustomerioRestartsOften",
    "CustomerioTransformerHeld",
];

#[test]
fn an_alert_waits_before_it_fires_unless_it_is_listed_as_immediate() {
    for Alert { name, rule, .. } in alerts() {
        assert_eq!(rule["for"].is_null(), IMMEDIATE.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn every_alert_has_a_firing_and_a_silent_test_case() {
    let mut cases: BTreeMap<(String, String), [usize; 2]> = BTreeMap::new();
    for path in files("deploy/prometheus/tests", ".yml") {
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let tests = yaml(&path);
        assert_eq!(text(&tests["rule_files"][0]), format!("../rules/{file}.yml"));
        for case in list(&tests["tests"]).iter().flat_map(|test| list(&test["alert_rule_test"])) {
            let fires = usize::from(!list(&case["exp_alerts"]).is_empty());
            cases.entry((file.clone(), text(&case["alertname"]))).or_default()[fires] += 1;
        }
    }
    for Alert { name, file, .. } in alerts() {
        let [silent, firing] = cases.remove(&(file.clone(), name.clone())).unwrap_or_default();
        assert!(silent > 0 && firing > 0, "{name}: {firing} firing and {silent} silent cases in tests/{file}.yml");
    }
    assert!(cases.is_empty(), "cases of alerts that do not exist: {cases:?}");
}

/// Describes every selector of an expression whose metric or labels no service has.
fn breaches(place: &str, expression: &str, known: &Exposition) -> Vec<String> {
    let selectors = selectors(expression);
    assert!(!selectors.is_empty(), "{place}: no metric in {expression}");
    selectors.iter().flat_map(|selector| known.breaches(place, selector)).collect()
}

#[test]
fn every_metric_in_an_alert_rule_exists() {
    let (own, kubernetes) = (Exposition::pinned(root()), Exposition::pinned(root()).with_kube_state_metrics());
    let mut found = Vec::new();
    for Alert { name, file, rule } in alerts() {
        let known = if file == "kubernetes" { &kubernetes } else { &own };
        found.extend(breaches(&name, &text(&rule["expr"]), known));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns the queries of a dashboard, each with the title of its panel.
fn queries(panels: &serde_json::Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels.as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
        if panel["panels"].is_array() {
            found.extend(queries(&panel["panels"]));
        }
    }
    found
}

#[test]
fn dashboard_metrics_exist_and_each_metric_is_on_the_dashboard_in_an_alert_or_listed() {
    let known = Exposition::pinned(root());
    let (mut found, mut used) = (Vec::new(), BTreeSet::new());
    let mut note =
        |selectors: Vec<Selector>| used.extend(selectors.into_iter().map(|selector| known.family(&selector.name)));
    for path in files("deploy/grafana/dashboards", ".json") {
        let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for (title, expression) in queries(&dashboard["panels"]) {
            found.extend(breaches(&title, &expression, &known));
            note(selectors(&expression));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for alert in alerts().into_iter().filter(|alert| alert.file != "kubernetes") {
        note(selectors(&text(&alert.rule["expr"])));
    }
    let unused: Vec<&str> = known.own().filter(|name| !used.contains(*name)).collect();
    assert_eq!(unused, NEITHER_SHOWN_NOR_WATCHED, "a new metric belongs on the dashboard or into an alert");
}

/// Metrics that need no place on the dashboard or in an alert, because they only help to investigate a defect.
const NEITHER_SHOWN_NOR_WATCHED: [&str; 2] =
    ["customerio_kafka_stale_completions_total", "customerio_transformer_reloads_total"];

#[test]
fn the_documents_name_only_metrics_that_exist() {
    let known = Exposition::pinned(root());
    let mut found = Vec::new();
    for page in [
        "docs/runbooks.md",
        "docs/operate.md",
        "docs/metrics.md",
        "docs/connect.md",
        "docs/dead-letters.md",
        "README.md",
    ] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for name in exposition::names_in(&text) {
            if !known.has(&name) {
                found.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(found.is_empty(), "metrics that no service has:\n{}", found.join("\n"));
}

/// Returns the command lines of `customerio-aep …` in a page's code blocks.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" # ").next().unwrap().trim());
    let lines = lines.filter_map(|line| line.strip_prefix("customerio-aep "));
    let words = |line: &str| -> Vec<String> {
        let line = line.split(" > ").next().unwrap().split(" | ").next().unwrap();
        line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
    };
    lines.map(words).collect()
}

#[test]
fn every_command_in_the_runbooks_has_valid_arguments() {
    let page = std::fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    let mut commands = commands(&page);
    assert!(commands.len() > 5, "{commands:?}");
    // `send` is not started, because it would send webhooks to the host in the runbook.
    commands.retain(|arguments| arguments[0] != "send");
    let started: Vec<_> = commands
        .into_iter()
        .map(|arguments| {
            // No broker listens on port 1, so a command with valid arguments changes nothing.
            let mut command = Command::new(e2e::process::binary("customerio-aep"));
            let command = command.args(&arguments).env_clear().current_dir(std::env::temp_dir());
            let command = command.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1").stdin(Stdio::null());
            (arguments, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    for (arguments, process) in started {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // A command with valid arguments may fail without Kafka. Only clap's own errors mean invalid arguments.
        assert!(!said.starts_with("customerio-aep: error:") && !said.contains("try '--help'"), "{arguments:?}: {said}");
    }
}
