//! A real Prometheus with the alert rules of `deploy/prometheus/rules`, for tests of the alerts on live services.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::free_port;
use crate::http::get;

/// A rule and whether it is `pending` or `firing`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// Name of the rule.
    pub name: String,
    /// Whether the alert fires; otherwise it is pending.
    pub is_firing: bool,
    /// All labels, as JSON.
    pub labels: String,
}

/// A running Prometheus. It ends when this value is dropped.
#[derive(Debug)]
pub struct RealPrometheus {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl RealPrometheus {
    /// Starts Prometheus (the binary in `PROMETHEUS`, or `prometheus` in `PATH`), and waits until it has scraped every
    /// service and no alert is pending or fires. `jobs` contains the name and the admin port of each service. Every
    /// time in the rules is divided by `factor`.
    ///
    /// # Panics
    /// Panics if Prometheus cannot be started or does not become ready.
    #[must_use]
    pub fn start(jobs: &[(&str, u16)], factor: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("customerio-prometheus-{:x}", fastrand::u64(..)));
        fs::create_dir_all(&folder).expect("a folder");
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules");
        let mut config = String::from("global: {scrape_interval: 500ms, evaluation_interval: 500ms}\nrule_files:\n");
        for file in fs::read_dir(&deploy).expect("the rules").map(|entry| entry.expect("a file").path()) {
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            let rules = fs::read_to_string(&file).expect("a text");
            fs::write(folder.join(&name), shortened(&rules, factor)).expect("a file");
            writeln!(config, "  - {name}").expect("a text grows");
        }
        config.push_str("scrape_configs:\n");
        for (job, port) in jobs {
            writeln!(config, "  - {{job_name: {job}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}")
                .expect("a text grows");
        }
        fs::write(folder.join("prometheus.yml"), config).expect("a file");
        let binary = std::env::var("PROMETHEUS").unwrap_or_else(|_| "prometheus".to_owned());
        let port = free_port();
        let log = fs::File::create(folder.join("log")).expect("a file");
        let child = Command::new(&binary)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{binary}: {error}; install Prometheus (Debian's package `prometheus`), or set PROMETHEUS")
            });
        let prometheus = Self { child, port, folder };
        crate::wait_until("Prometheus", Duration::from_secs(60), || {
            get(port, "/-/ready").is_some_and(|(status, _)| status == 200)
        });
        // The first scrape may take 5 s. Until then, the services count as absent, because the times are shortened.
        crate::wait_until("the first scrapes", Duration::from_secs(60), || {
            prometheus.query("up == 1").len() == jobs.len() && prometheus.alerts().is_empty()
        });
        prometheus
    }

    /// Returns the alerts that are pending or firing now.
    ///
    /// # Panics
    /// Panics if Prometheus does not respond.
    #[must_use]
    pub fn alerts(&self) -> BTreeSet<Alert> {
        let answer = self.answer("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().expect("alerts").iter();
        alerts
            .map(|alert| Alert {
                name: alert["labels"]["alertname"].as_str().expect("a name").to_owned(),
                is_firing: alert["state"] == "firing",
                labels: alert["labels"].to_string(),
            })
            .collect()
    }

    /// Returns the result of a query: the series with their values.
    ///
    /// # Panics
    /// Panics if Prometheus does not respond or refuses the query.
    #[must_use]
    pub fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.answer(&format!("/api/v1/query?query={encoded}"));
        answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone()
    }

    fn answer(&self, path: &str) -> Value {
        let (_, body) = get(self.port, path).expect("Prometheus");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// Divides every time in a file of rules by `factor`: `for`, `keep_firing_for`, ranges in brackets, and offsets.
fn shortened(rules: &str, factor: u64) -> String {
    let mut text = String::with_capacity(rules.len());
    for line in rules.lines() {
        let line =
            if let Some(at) = ["for: ", "keep_firing_for: "].iter().find(|key| line.trim_start().starts_with(**key)) {
                divided(line, at, factor)
            } else {
                divided(&divided(line, "[", factor), "offset ", factor)
            };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Divides the durations that follow `before`, such as `5m`, and writes them in milliseconds.
fn divided(line: &str, before: &str, factor: u64) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        text.push_str(head);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let unit = tail[digits..].chars().next().and_then(|unit| match unit {
            's' => Some(1_000),
            'm' => Some(60_000),
            'h' => Some(3_600_000),
            'd' => Some(86_400_000),
            _ => None,
        });
        rest = tail;
        if let (Ok(count), Some(milliseconds)) = (tail[..digits].parse::<u64>(), unit) {
            write!(text, "{}ms", count * milliseconds / factor).expect("a text grows");
            rest = &tail[digits + 1..];
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortening_a_rule_divides_every_time_and_no_other_number() {
        let rule = "  expr: |\n    sum by (le) (rate(x{a=\"[b]\"}[10m])) / 84 > 20 unless y offset 1h\n  for: 2m\n  keep_firing_for: 30s\n";
        let expected = "  expr: |\n    sum by (le) (rate(x{a=\"[b]\"}[20000ms])) / 84 > 20 unless y offset 120000ms\n  for: 4000ms\n  keep_firing_for: 1000ms\n";
        assert_eq!(shortened(rule, 30), expected);
        assert_eq!(shortened("- expr: a[7d]\n", 30), "- expr: a[20160000ms]\n");
    }
}
