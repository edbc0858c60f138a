//! The alert rules in a real Prometheus that scrapes the real services: during each fault, the expected alerts fire and
//! no others. The alerts clear after the fault has ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::free_port;
use e2e::http::request;
use e2e::pipeline::{Pipeline, SIGNING_KEY, shared_kafka, with};
use e2e::process::Process;
use e2e::real_prometheus::{Alert, RealPrometheus};
use e2e::turn::alone;
use reqwest::Method;
use serde_json::Value;

/// Every `for` and every range of the rules is divided by this number: ten minutes become 20 s.
const FACTOR: u64 = 30;

/// Maximum time until the alerts of a fault fire, and until they clear.
const PATIENCE: Duration = Duration::from_secs(150);

/// Alerts that must fire during a fault, and alerts that may fire because they depend on how long the fault lasts.
struct Expected {
    fault: &'static str,
    must: &'static [&'static str],
    may: &'static [&'static str],
}

impl Expected {
    /// Waits until all alerts fire, calling `meanwhile` between two queries.
    fn fire(&self, prometheus: &RealPrometheus, mut meanwhile: impl FnMut()) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen: BTreeSet<Alert> = BTreeSet::new();
        let fires = |alerts: &BTreeSet<Alert>, name: &str| {
            alerts.iter().any(|alert| alert.is_firing && alert.name == format!("Customerio{name}"))
        };
        loop {
            meanwhile();
            let now = prometheus.alerts();
            self.assert_no_others(&now);
            seen.extend(now.iter().cloned());
            if self.must.iter().all(|name| fires(&now, name)) {
                break;
            }
            assert!(Instant::now() < deadline, "{}: of {:?}, only these were seen: {seen:?}", self.fault, self.must);
            std::thread::sleep(Duration::from_millis(250));
        }
        let seen: BTreeSet<_> = seen.iter().map(|alert| (&alert.name, alert.is_firing)).collect();
        println!("{} (name, fires): {seen:?}", self.fault);
    }

    /// Waits until no alert fires, calling `meanwhile` between two queries.
    fn clear(&self, prometheus: &RealPrometheus, mut meanwhile: impl FnMut()) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            meanwhile();
            let now = prometheus.alerts();
            self.assert_no_others(&now);
            if now.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{}: {now:?} do not clear", self.fault);
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn assert_no_others(&self, alerts: &BTreeSet<Alert>) {
        let known = |name: &str| {
            let name = name.strip_prefix("Customerio");
            self.must.iter().chain(self.may).any(|known| Some(*known) == name)
        };
        let others: Vec<_> = alerts.iter().filter(|alert| alert.is_firing && !known(&alert.name)).collect();
        assert!(others.is_empty(), "{}: {others:?} fire as well", self.fault);
    }
}

/// Queries of the dashboard without a result in this test, with the reason.
const WITHOUT_RESULT: [(&str, &str); 2] = [
    ("customerio_transformer_held_since_timestamp_seconds", "the transformer is not held"),
    ("customerio_sink_rejections_total", "Platform rejects no event"),
];

/// Adds the queries of a part of Grafana's dashboard, with all namespaces and a range of ten minutes.
fn dashboard_queries(part: &Value, queries: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let Some(query) = fields.get("expr").and_then(Value::as_str) {
                queries.insert(query.replace("$namespace", ".*").replace("$__rate_interval", "10m"));
            }
            fields.values().for_each(|value| dashboard_queries(value, queries));
        }
        Value::Array(values) => values.iter().for_each(|value| dashboard_queries(value, queries)),
        _ => {}
    }
}

/// Sends a webhook with a wrong signature.
fn send_with_wrong_key(pipeline: &Pipeline) {
    let headers = [("x-cio-timestamp", "1700000000"), ("x-cio-signature", &*"0".repeat(64))];
    let answer = request(Method::POST, pipeline.gateway_port, "/webhooks/customerio", &headers, "{}");
    assert_eq!(answer.expect("the gateway").0, 401);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_each_fault_makes_its_alerts_fire_and_no_others_and_they_clear_afterwards() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "alerts");
    let ports = [free_port(), free_port(), free_port()];
    let simulator = pipeline.simulator();
    // The key is in a file, so that the gateway also has the metrics of its watched files.
    let key_file = std::env::temp_dir().join(format!("customerio-key-{}", pipeline.name));
    std::fs::write(&key_file, SIGNING_KEY).unwrap();
    let keys = [("CUSTOMERIO_SIGNING_KEYS", ""), ("CUSTOMERIO_SIGNING_KEYS_FILE", key_file.to_str().unwrap())];
    let _gateway = Process::start("ingest-gateway", &with(pipeline.gateway_variables(), &keys), Some(ports[0]));
    let mut transformer = Process::start("transformer", &pipeline.transformer_variables(), Some(ports[1]));
    let _sink = Process::start("sink", &pipeline.sink_variables(), Some(ports[2]));
    let jobs = [("ingest-gateway", ports[0]), ("transformer", ports[1]), ("sink", ports[2])];
    let prometheus = RealPrometheus::start(&jobs, FACTOR);

    let wrong_key = Expected {
        fault: "a wrong signing key",
        must: &["SignatureRefused", "SignatureFailures"],
        may: &["WebhooksStopped"],
    };
    wrong_key.fire(&prometheus, || send_with_wrong_key(&pipeline));
    let _load = pipeline.load(60_000, 100);
    wrong_key.clear(&prometheus, || {});

    let outage = Expected {
        fault: "an outage of Platform",
        must: &["PlatformFailing", "NothingAccepted", "Waiting"],
        may: &["PartitionStalled", "EventsLate"],
    };
    pipeline.fault(r#"{"fault": "status", "status": 503, "seconds": 3600}"#);
    outage.fire(&prometheus, || {});
    pipeline.clear_faults();
    outage.clear(&prometheus, || {});

    let stopped =
        Expected { fault: "a stopped consumer", must: &["ServiceAbsent", "InstanceDown"], may: &["EventsLate"] };
    transformer.terminate();
    stopped.fire(&prometheus, || {});
    drop(transformer);
    let _transformer = Process::start("transformer", &pipeline.transformer_variables(), Some(ports[1]));
    stopped.clear(&prometheus, || {});

    let burst = Expected { fault: "a burst of dead letters", must: &["DeadLetters", "DeadLettersSurge"], may: &[] };
    for number in 0..300 {
        assert_eq!(pipeline.send(&format!(r#"{{"not an event":{number}}}"#)), 202);
    }
    burst.fire(&prometheus, || {});
    let dashboard = include_str!("../../../deploy/grafana/dashboards/customerio-aep.json");
    let mut queries = BTreeSet::new();
    dashboard_queries(&serde_json::from_str(dashboard).unwrap(), &mut queries);
    assert!(queries.len() > 50, "{queries:?}");
    queries.retain(|query| prometheus.query(query).is_empty());
    burst.clear(&prometheus, || {});

    let held = Expected { fault: "a sink that an operator holds", must: &["SinkHeld"], may: &["NothingAccepted"] };
    let hold = |path: &str| {
        request(Method::POST, ports[2], path, &[("x-customerio-aep-operator", "test")], "").expect("the sink").0
    };
    assert_eq!(hold("/hold"), 200);
    held.fire(&prometheus, || {});
    queries.retain(|query| prometheus.query(query).is_empty());
    queries.retain(|query| !WITHOUT_RESULT.iter().any(|(metric, _)| query.contains(metric)));
    assert!(queries.is_empty(), "these queries of the dashboard have no result: {queries:#?}");
    assert_eq!(hold("/release"), 200);
    held.clear(&prometheus, || {});
    drop(simulator);
    std::fs::remove_file(key_file).unwrap();
}
