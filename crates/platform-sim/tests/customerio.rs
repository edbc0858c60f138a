//! Tests the simulated App API over HTTP, and the calls of webhooks by the simulator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use customerio::{SignatureTimestamp, SigningKey};
use platform_sim::{SimSettings, Simulator};
use reqwest::Method;
use serde_json::{Value, json};

const WEBHOOKS: &str = "/customerio/v1/reporting_webhooks";

struct Setup {
    simulator: Simulator,
    http: reqwest::Client,
}

impl Setup {
    async fn start() -> Self {
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), SimSettings::default()).await.unwrap();
        Self { simulator, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.simulator.address());
        let mut request = self.http.request(method, url).bearer_auth("sim-app-key");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.headers().get("retry-after").is_none());
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn webhook(&self, endpoint: &str, change: &[(&str, Value)]) -> u64 {
        let mut body = json!({"name": "a", "endpoint": endpoint, "events": ["email_sent"]});
        for (name, value) in change {
            body[name] = value.clone();
        }
        let (status, webhook) = self.send(Method::POST, WEBHOOKS, Some(body)).await;
        assert_eq!(status, 200, "{webhook}");
        webhook["id"].as_u64().unwrap()
    }

    async fn event(&self, order: Value) -> Value {
        let (status, report) = self.send(Method::POST, "/admin/customerio/events", Some(order)).await;
        assert_eq!(status, 200, "{report}");
        report
    }
}

/// A receiver of webhooks, with all requests that it received.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl Receiver {
    async fn start(&self, status: u16) -> String {
        let received = self.clone();
        let take = move |headers: HeaderMap, body: Bytes| {
            received.0.lock().unwrap().push((headers, body));
            async move { StatusCode::from_u16(status).unwrap() }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await });
        url
    }

    fn taken(&self) -> Vec<(HeaderMap, Bytes)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn requests_with_an_undocumented_field_method_path_or_parameter_are_refused() {
    let setup = Setup::start().await;
    let good = json!({"name": "a", "endpoint": "https://x.example/hook", "events": ["email_sent"]});
    let id = setup.webhook("https://x.example/hook", &[]).await;
    let one = format!("{WEBHOOKS}/{id}");
    let misspelt =
        json!({"name": "a", "endpoint": "https://x.example/hook", "events": ["email_sent"], "dissabled": true});
    let pointer = |body: &Value| body["errors"][0]["source"]["pointer"].clone();
    for (method, path) in [(Method::POST, WEBHOOKS), (Method::PUT, one.as_str())] {
        let (status, body) = setup.send(method, path, Some(misspelt.clone())).await;
        assert_eq!((status, pointer(&body)), (400, json!("/dissabled")));
    }
    for (method, path, expected) in [
        (Method::PATCH, one.as_str(), 405),
        (Method::PUT, WEBHOOKS, 405),
        (Method::POST, "/customerio/v1/reporting_webhook", 404),
        (Method::PUT, "/customerio/v1/reporting_webhooks/99", 404),
        (Method::POST, "/customerio/v1/reporting_webhooks?force=true", 400),
    ] {
        let (status, body) = setup.send(method.clone(), path, Some(good.clone())).await;
        assert_eq!(status, expected, "{method} {path}");
        assert_eq!(body["errors"][0]["status"], expected.to_string(), "{body}");
    }
    let url = format!("http://{}{WEBHOOKS}", setup.simulator.address());
    let text = setup.http.post(url).bearer_auth("sim-app-key").body(good.to_string()).send().await.unwrap();
    assert_eq!(text.status().as_u16(), 400, "a JSON body without its media type is refused");
}

#[tokio::test]
async fn an_eleventh_request_in_a_second_gets_429_without_retry_after() {
    let setup = Setup::start().await;
    let mut last = (200, Value::Null);
    let start = std::time::Instant::now();
    for _ in 0..11 {
        last = setup.send(Method::GET, WEBHOOKS, None).await;
    }
    // If the machine needs more than a second for eleven requests, the limit is never reached.
    if start.elapsed().as_millis() < 1000 {
        assert_eq!(last, (429, json!({"meta": {"error": "too many requests"}})));
    }
}

#[tokio::test]
async fn a_late_request_is_recorded_even_if_its_client_times_out_before_the_response() {
    let setup = Setup::start().await;
    let fault = json!({"fault": "late", "millis": 60_000});
    assert_eq!(setup.send(Method::POST, "/admin/customerio/faults", Some(fault)).await.0, 204);
    let url = format!("http://{}{WEBHOOKS}", setup.simulator.address());
    let request = setup.http.get(url).bearer_auth("sim-app-key").timeout(Duration::from_millis(500));
    assert!(request.send().await.unwrap_err().is_timeout());
    let (_, seen) = setup.send(Method::GET, "/admin/customerio/requests", None).await;
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["status"]), (1, &json!(200)), "{seen}");
}

#[tokio::test]
async fn an_event_is_signed_and_sent_to_the_enabled_webhooks_that_subscribe_to_it() {
    let setup = Setup::start().await;
    let receiver = Receiver::default();
    let url = receiver.start(202).await;
    let taking = setup.webhook(&url, &[]).await;
    setup.webhook(&url, &[("disabled", json!(true))]).await;
    setup.webhook(&url, &[("events", json!(["email_opened"]))]).await;
    let report = setup.event(json!({"event": "email_sent", "event_id": "01X", "person": "u1"})).await;
    assert_eq!(report["event_id"], "01X");
    let calls = report["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (&calls[0]["webhook"], &calls[0]["status"], &calls[0]["next"]),
        (&json!(taking), &json!(202), &json!("done"))
    );

    let received = receiver.taken();
    let [(headers, body)] = received.as_slice() else { panic!("{} requests", received.len()) };
    let timestamp = SignatureTimestamp::parse(headers["x-cio-timestamp"].as_bytes()).unwrap();
    let keys = [SigningKey::new("trial-key-for-the-simulator-only")];
    customerio::verify(&keys, timestamp, body, headers["x-cio-signature"].as_bytes()).unwrap();
    let event: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (&event["event_id"], &event["metric"], &event["data"]["customer_id"]),
        (&json!("01X"), &json!("sent"), &json!("u1"))
    );
    assert!(event["data"].get("content").is_none(), "the webhook does not request content");
    assert!(
        setup.event(json!({"event": "email_sent", "workspace": 130_002})).await["calls"].as_array().unwrap().is_empty()
    );
}

#[tokio::test]
async fn a_webhook_with_content_gets_the_content_and_a_given_body_is_sent_unchanged() {
    let setup = Setup::start().await;
    let receiver = Receiver::default();
    let url = receiver.start(200).await;
    setup.webhook(&url, &[("with_content", json!(true))]).await;
    setup.event(json!({"event": "email_sent"})).await;
    assert!(String::from_utf8_lossy(&receiver.taken()[0].1).contains(r#""content""#));
    setup.event(json!({"event": "email_sent", "body": "{ \"é\":\t1}"})).await;
    assert_eq!(receiver.taken()[0].1, "{ \"é\":\t1}");
    let (status, _) = setup.send(Method::POST, "/admin/customerio/events", Some(json!({"event": "line_sent"}))).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_report_of_a_call_contains_the_status_and_customerios_next_step() {
    let setup = Setup::start().await;
    let refused = Receiver::default().start(401).await;
    let busy = Receiver::default().start(503).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_url = format!("http://{}/hook", closed.local_addr().unwrap());
    drop(closed);
    for url in [refused, busy, format!("http://{}/hook", silent.local_addr().unwrap()), closed_url] {
        setup.webhook(&url, &[]).await;
    }
    let report = setup.event(json!({"event": "email_sent"})).await;
    let outcome = |call: &Value| (call["status"].as_u64(), call["next"].as_str().unwrap().to_owned());
    let outcomes: Vec<_> = report["calls"].as_array().unwrap().iter().map(outcome).collect();
    let expected = [
        (Some(401), "repeat_after_an_hour"),
        (Some(503), "repeat_with_back_off"),
        (None, "repeat_with_back_off"),
        (None, "repeat_after_an_hour"),
    ];
    assert_eq!(outcomes, expected.map(|(status, next)| (status, next.to_owned())));
    assert!((4000..5000).contains(&report["calls"][2]["millis"].as_u64().unwrap()), "{report}");
}
