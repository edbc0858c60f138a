//! Tests every response through a real socket, with a publisher whose results the test chooses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use contract::dead_letter::KEPT_BYTES;
use customerio::{SigningKey, sign};
use service::{Context as ServiceContext, Readiness, Ready, ServiceConfig, Waiting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Config;
use crate::http::accept::Server;
use settings::Variables;
use settings::watched::Origin;

mod stalls;
mod stops;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Stored,
    Refused,
    /// The raw topic refuses batches with several records.
    TooLargeTogether,
    /// The raw topic refuses the record in any batch.
    TooLarge,
    Unacknowledged,
    Silent,
    Panic,
}

#[derive(Debug)]
struct Stored {
    to: Destination,
    key: Option<Vec<u8>>,
    body: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Stored {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice());
        value.map(|value| std::str::from_utf8(value).unwrap())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    fate: Fate,
    stored: Arc<Mutex<Vec<Stored>>>,
    shares: Arc<Mutex<Vec<Share>>>,
}

impl Publish for Script {
    fn publish(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError> {
        let fate = self.fate;
        assert_ne!(fate, Fate::Panic, "on purpose");
        if fate == Fate::Refused {
            return Err(ProduceError::QueueFull);
        }
        let too_large = match fate {
            Fate::TooLarge => record.to == Destination::Raw,
            Fate::TooLargeTogether => batch == Batch::Shared,
            _ => false,
        };
        if fate == Fate::Silent {
            self.shares.lock().unwrap().push(share);
        }
        let headers = record
            .headers
            .iter()
            .map(|header| (header.name.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect();
        let (key, body) = (record.key.map(<[u8]>::to_vec), record.body.to_vec());
        if !too_large {
            self.stored.lock().unwrap().push(Stored { to: record.to, key, body, headers });
        }
        Ok(async move {
            match fate {
                Fate::Unacknowledged => Err(ProduceError::Unacknowledged),
                Fate::Silent => std::future::pending().await,
                _ if too_large => Err(ProduceError::TooLarge),
                Fate::Stored | Fate::Refused | Fate::Panic | Fate::TooLargeTogether | Fate::TooLarge => Ok(()),
            }
        })
    }

    fn report(&self, _: Destination, _: &Result<(), ProduceError>) {}
}

struct Running {
    address: SocketAddr,
    stored: Arc<Mutex<Vec<Stored>>>,
    shares: Arc<Mutex<Vec<Share>>>,
    stop: CancellationToken,
    budget: InFlight,
    metrics: prometheus::Registry,
    readiness: Readiness,
    ended: tokio::task::JoinHandle<()>,
}

/// A gateway that does not run yet.
pub(crate) struct Prepared {
    pub(crate) server: Server<Script>,
    settings: Settings,
    script: Script,
    budget: InFlight,
    stop: CancellationToken,
    context: ServiceContext,
}

pub(crate) fn prepare(fate: Fate, arguments: &[&str]) -> Prepared {
    let base = [
        "gateway",
        "--kafka-bootstrap-servers=127.0.0.1:1",
        "--listen=127.0.0.1:0",
        "--signing-keys=first\nsecond",
        "--drain-delay=50ms",
        "--read-timeout=400ms",
        "--ack-deadline=300ms",
    ];
    let settings = Config::parse_with(&Variables::none(), base.iter().chain(arguments)).unwrap().validate().unwrap();
    let stop = CancellationToken::new();
    let context = ServiceContext::new("gateway", stop.clone(), Duration::from_secs(10));
    let budget = InFlight::new(settings.in_flight_bytes);
    let metrics = Arc::new(Metrics::register(&context.registry, &budget).unwrap());
    let sources = Arc::new(Current::new(settings.sources.load().unwrap().value));
    let waiting = Waiting::register("gateway", &context.registry, &context.readiness).unwrap();
    let clock = SenderClock(waiting.activity("comparing the clocks", Ready::Stays, ""));
    let script = Script { fate, stored: Arc::default(), shares: Arc::default() };
    let gateway = Gateway::new(&settings, sources, script.clone(), budget.clone(), Arc::clone(&metrics), clock);
    let server = Server::new(gateway, &settings, settings.max_connections, None, metrics);
    Prepared { server, settings, script, budget, stop, context }
}

async fn start(fate: Fate, arguments: &[&str]) -> Running {
    let Prepared { server, settings, script, budget, stop, context } = prepare(fate, arguments);
    let Script { stored, shares, .. } = script;
    let (registry, readiness) = (context.registry.clone(), context.readiness.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ended = tokio::spawn(async move { server.serve(listener, settings.drain_delay, &context).await });
    Running { address, stored, shares, stop, budget, metrics: registry, readiness, ended }
}

const BODY: &str = r#"{"event_id":"e1","data":{"identifiers":{"id":"42"}}}"#;

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn post(&self, path: &str, key: &str, body: impl Into<Vec<u8>>) -> reqwest::Response {
        let body = body.into();
        reqwest::Client::new()
            .post(self.url(path))
            .header(TIMESTAMP, "1700000000")
            .header(SIGNATURE, sign(&SigningKey::new(key), "1700000000", &body))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Returns the value of a metric, summed over all labels.
    fn metric(&self, name: &str) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }

    /// Sends these bytes and returns everything that is received until the connection closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap_or_default();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn a_body_whose_batch_is_too_large_is_stored_in_a_batch_without_other_records() {
    let gateway = start(Fate::TooLargeTogether, &[]).await;
    assert_eq!(gateway.post(ROUTE, "first", BODY).await.status(), 202);
    let stored = gateway.stored.lock().unwrap();
    let found: Vec<_> = stored.iter().map(|stored| (stored.to, stored.body.as_slice())).collect();
    assert_eq!(found, [(Destination::Raw, BODY.as_bytes())]);
}

#[tokio::test]
async fn a_body_that_is_too_large_for_the_raw_topic_gets_202_and_becomes_a_dead_letter() {
    let gateway = start(Fate::TooLarge, &[]).await;
    let body = "x".repeat(KEPT_BYTES + 1);
    assert_eq!(gateway.post(ROUTE, "first", body.clone()).await.status(), 202);
    let stored = gateway.stored.lock().unwrap();
    let [dead_letter] = stored.as_slice() else { panic!("{stored:?}") };
    assert_eq!((dead_letter.to, dead_letter.body.len()), (Destination::DeadLetters, KEPT_BYTES));
    assert_eq!(dead_letter.header("dead-letter-code"), Some("body_too_large"));
    assert_eq!(dead_letter.header("dead-letter-original-size"), Some(body.len().to_string().as_str()));
    let sha256 = CutValue::of(body.as_bytes()).cut.sha256;
    assert_eq!(dead_letter.header("dead-letter-original-sha256"), Some(sha256.as_str()));
    assert!(dead_letter.header("dead-letter-message").is_some_and(|message| message.contains("max.message.bytes")));
    assert_eq!(gateway.metric("customerio_dead_letters_total"), 1.0);
}

#[tokio::test]
async fn a_signed_body_gets_202_and_is_stored_unchanged_with_request_headers() {
    let gateway = start(Fate::Stored, &[]).await;
    for key in ["first", "second"] {
        let answer = gateway.post(ROUTE, key, BODY).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (202, ""));
    }
    let odd = b"\xff\xfe\x00 not json".to_vec();
    assert_eq!(gateway.post("/webhooks/customerio/default", "first", odd.clone()).await.status(), 202);
    let stored = gateway.stored.lock().unwrap();
    let first = &stored[0];
    assert_eq!((first.to, first.body.as_slice()), (Destination::Raw, BODY.as_bytes()));
    assert_eq!(first.key.as_deref(), Some(&b"bbb3660007f68b86e00e9ea8af5f57b7"[..]));
    assert_eq!(first.header("source"), Some("default"));
    assert_eq!(first.header("cio-timestamp"), Some("1700000000"));
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("cio-signature").unwrap().len(), 64);
    let received: i64 = first.header("received-at").unwrap().parse().unwrap();
    assert!((service::unix_millis() - received).abs() < 60_000);
    assert_eq!(stored[2].body, odd);
    assert_eq!(stored[2].key.as_deref(), Some(person_key(&odd).as_bytes()), "a body that is not JSON has a key too");
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn every_request_that_is_not_authentic_gets_the_same_401_response() {
    let gateway = start(Fate::Stored, &[]).await;
    let client = reqwest::Client::new();
    let good = sign(&SigningKey::new("first"), "1700000000", BODY.as_bytes());
    let long = "1".repeat(21);
    // Moves the part of the body before the first colon into the timestamp. The signed bytes stay the same.
    let (moved, rest) = BODY.split_once(':').unwrap();
    let moved = format!("1700000000:{moved}");
    let cases: [(Option<&str>, Option<&str>); 7] = [
        (None, Some(&good)),
        (Some("1700000000"), None),
        (Some("1700000001"), Some(&good)),
        (Some("1700000000"), Some("00")),
        (Some("1700000000"), Some("v0=x")),
        (Some(&long), Some(&good)),
        (Some(&moved), Some(&good)),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for (timestamp, signature) in cases {
        let body = if timestamp == Some(&moved) { rest } else { BODY };
        let mut request = client.post(gateway.url(ROUTE)).body(body);
        if let Some(timestamp) = timestamp {
            request = request.header(TIMESTAMP, timestamp);
        }
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        answers.insert(answer.text().await.unwrap());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(gateway.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn wrong_routes_get_404_wrong_methods_405_and_unauthentic_large_bodies_413() {
    let gateway = start(Fate::Stored, &["--max-body=2KiB"]).await;
    let unknown = ["", "/webhooks", "/webhooks/customerio//", "/webhooks/customerio/other", "/webhooks/customeriox"];
    for path in unknown.into_iter().skip(1).map(str::to_owned).chain(unknown.map(|path| path.to_owned() + "/")) {
        let path = path.as_str();
        assert_eq!(gateway.post(path, "first", BODY).await.status(), 404, "{path}");
    }
    let get = reqwest::get(gateway.url(ROUTE)).await.unwrap();
    assert!(!get.headers().contains_key("connection"), "no body was left unread");
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(gateway.post(ROUTE, "first", vec![b' '; 2048]).await.status(), 202);
    assert_eq!(gateway.post(ROUTE, "wrong", vec![b' '; 2049]).await.status(), 413);
    let chunked = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        "0".repeat(64),
        3000,
        "x".repeat(3000)
    );
    assert!(gateway.raw(chunked.as_bytes()).await.starts_with("HTTP/1.1 413"));
    let endless = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {}\r\ncontent-length: {}\r\n\r\nx",
        "0".repeat(64),
        body::HARD_LIMIT + 1
    );
    assert!(
        gateway.raw(endless.as_bytes()).await.starts_with("HTTP/1.1 413"),
        "the declared length is over the hard limit"
    );
    assert_eq!(gateway.stored.lock().unwrap().len(), 1);
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn one_slash_at_the_end_of_the_path_is_ignored() {
    let gateway = start(Fate::Stored, &[]).await;
    for path in ["/webhooks/customerio/", "/webhooks/customerio/default/", "/webhooks/customerio/?x=1"] {
        assert_eq!(gateway.post(path, "first", BODY).await.status(), 202, "{path}");
        assert_eq!(gateway.post(path, "wrong", BODY).await.status(), 401, "{path}");
    }
    assert!(gateway.stored.lock().unwrap().iter().all(|stored| stored.header("source") == Some("default")));
}

#[tokio::test]
async fn an_authentic_body_over_the_limit_becomes_a_dead_letter_with_size_and_hash() {
    let gateway = start(Fate::Stored, &["--max-body=100KiB", "--in-flight-bytes=400KiB", "--ack-deadline=3s"]).await;
    let body: Vec<u8> = (0..300_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    let whole = gateway.post(ROUTE, "second", body.clone()).await;
    assert_eq!((whole.status().as_u16(), whole.text().await.unwrap().as_str()), (202, ""));
    let signature = sign(&SigningKey::new("first"), "1700000000", &body);
    let mut chunked = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{TIMESTAMP}: 1700000000\r\n{SIGNATURE}: {signature}\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for piece in body.chunks(7_001) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert!(gateway.raw(&chunked).await.starts_with("HTTP/1.1 202"));
    assert_eq!(gateway.post(ROUTE, "wrong", body.clone()).await.status(), 413);
    let mut sha256 = customerio::Sha256::default();
    sha256.update(&body);
    let sha256 = sha256.hex();
    let stored = gateway.stored.lock().unwrap();
    assert_eq!(stored.len(), 2);
    for dead_letter in stored.iter() {
        assert_eq!((dead_letter.to, dead_letter.key.as_ref()), (Destination::DeadLetters, None));
        assert_eq!(dead_letter.body, body[..body::KEPT]);
        assert_eq!(dead_letter.header("dead-letter-stage"), Some("gateway"));
        assert_eq!(dead_letter.header("dead-letter-code"), Some("body_too_large"));
        let message = dead_letter.header("dead-letter-message").unwrap();
        assert!(message.contains("300000 bytes") && message.contains(&sha256), "{message}");
        assert_eq!(
            (dead_letter.header("source"), dead_letter.header("content-type")),
            (Some("default"), Some("application/json"))
        );
        assert_eq!(dead_letter.header("cio-timestamp"), Some("1700000000"));
        for absent in ["dead-letter-topic", "dead-letter-partition", "dead-letter-offset"] {
            assert_eq!(dead_letter.header(absent), None);
        }
    }
    assert_eq!(gateway.metric("customerio_dead_letters_total"), 2.0);
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn a_body_whose_dead_letter_cannot_be_stored_gets_503() {
    let gateway = start(Fate::Silent, &["--max-body=2KiB"]).await;
    assert_eq!(gateway.post(ROUTE, "first", vec![b' '; 2049]).await.status(), 503);
    assert_eq!(gateway.metric("customerio_dead_letters_total"), 0.0);
}

#[tokio::test]
async fn a_chunked_body_is_verified_and_stored_whole() {
    let gateway = start(Fate::Stored, &[]).await;
    let signature = sign(&SigningKey::new("first"), "1", BODY.as_bytes());
    let (head, tail) = BODY.split_at(20);
    let request = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {signature}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n",
        head.len(),
        tail.len()
    );
    assert!(gateway.raw(request.as_bytes()).await.starts_with("HTTP/1.1 202"));
    assert_eq!(gateway.stored.lock().unwrap()[0].body, BODY.as_bytes());
}

#[tokio::test]
async fn with_a_timestamp_tolerance_an_old_timestamp_gets_401_and_a_current_one_202() {
    let gateway = start(Fate::Stored, &["--timestamp-tolerance=5m"]).await;
    assert_eq!(gateway.post(ROUTE, "first", BODY).await.status(), 401);
    let now = (service::unix_millis() / 1000).to_string();
    let answer = reqwest::Client::new()
        .post(gateway.url(ROUTE))
        .header(TIMESTAMP, &now)
        .header(SIGNATURE, sign(&SigningKey::new("first"), &now, BODY.as_bytes()))
        .body(BODY)
        .send();
    assert_eq!(answer.await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_body_that_cannot_be_stored_gets_503_within_two_seconds() {
    for fate in [Fate::Refused, Fate::Unacknowledged, Fate::Silent, Fate::Panic] {
        let gateway = start(fate, &[]).await;
        let started = Instant::now();
        let answer = gateway.post(ROUTE, "first", BODY).await;
        assert_eq!(answer.status(), 503, "{fate:?}");
        assert_eq!(answer.headers()["retry-after"], "5");
        // Printing the backtrace of a panic, as tests do, can take longer.
        assert!(fate == Fate::Panic || started.elapsed() < Duration::from_secs(2), "{fate:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_delivery_report_stays_in_the_budget_and_a_full_budget_gives_503() {
    let gateway = start(Fate::Silent, &["--max-body=4KiB", "--in-flight-bytes=8KiB"]).await;
    assert_eq!(gateway.post(ROUTE, "first", vec![b' '; 4000]).await.status(), 503);
    assert!(gateway.budget.used() > 4000, "there is no delivery report yet");
    let answer = gateway.post(ROUTE, "first", vec![b' '; 4000]).await;
    assert_eq!(answer.headers()["connection"], "close", "no other request may follow unread bytes");
    assert!(answer.text().await.unwrap().contains("overloaded"));
    gateway.shares.lock().unwrap().clear();
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn malformed_requests_get_a_4xx_and_the_next_valid_request_gets_202() {
    let gateway = start(Fate::Stored, &[]).await;
    let huge = format!("POST {ROUTE} HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let cases = [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "POST / HTTP/9.9\r\n\r\n",
        &huge,
        "POST /webhooks/customerio HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ];
    for case in cases {
        assert!(gateway.raw(case.as_bytes()).await.starts_with("HTTP/1.1 4"), "{:.40}", case);
    }
    assert_eq!(gateway.post(ROUTE, "first", BODY).await.status(), 202);
}
