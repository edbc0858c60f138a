//! Tests the gateway with many kinds of clients: clients that repeat and reorder webhooks, that compress, that send too
//! much, that stall, and thousands of clients at once.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::accounting::read;
use e2e::pipeline::{Pipeline, SIGNING_KEY, shared_kafka};
use e2e::process::Process;
use e2e::sender::{Senders, connect, event, read_answer, request, send_once};
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::record::OwnedRecord;

const PATH: &str = "/webhooks/customerio";

fn gateway(pipeline: &Pipeline, more: &[(&'static str, &str)]) -> Process {
    let mut variables = pipeline.gateway_variables();
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Process::start("ingest-gateway", &variables, Some(free_port()))
}

fn records(pipeline: &Pipeline, topic: &str) -> Vec<OwnedRecord> {
    read(&shared_kafka().connection(), &pipeline.topic(topic))
}

#[test]
fn p2_repeated_and_reordered_webhooks_are_stored_unchanged() {
    let pipeline = Pipeline::new(shared_kafka(), "repeats");
    let _gateway = gateway(&pipeline, &[]);
    let port = pipeline.gateway_port;
    // The second event of a person is sent before the first one, and the client does not read the first 20 responses.
    let (first, second) = (event("person-a").replace("sent", "delivered"), event("person-a"));
    let lost = request(PATH, SIGNING_KEY, "", second.as_bytes());
    for _ in 0..20 {
        let mut stream = connect(port).unwrap();
        stream.write_all(&lost).unwrap();
        drop(stream);
    }
    for body in [&second, &first, &second] {
        let answer = send_once(port, &request(PATH, SIGNING_KEY, "", body.as_bytes())).unwrap();
        assert_eq!(answer.status, 202);
    }
    let stored = records(&pipeline, "raw");
    let mut counts: BTreeMap<&[u8], usize> = BTreeMap::new();
    for record in &stored {
        *counts.entry(&record.value).or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "the bodies are stored unchanged");
    assert_eq!(counts[first.as_bytes()], 1);
    assert!(counts[second.as_bytes()] >= 2, "each delivery is stored; the transformer recognises duplicates");
    let partitions: std::collections::BTreeSet<_> = stored.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), 1, "one person, one partition");
    let last = |body: &str| stored.iter().rposition(|record| record.value == body.as_bytes());
    assert!(last(&second) > last(&first), "in the order in which they were acknowledged");
}

#[test]
fn p2_a_compressed_body_is_stored_unchanged_with_its_encoding() {
    let pipeline = Pipeline::new(shared_kafka(), "encoded");
    let _gateway = gateway(&pipeline, &[]);
    // The first body is the gzip of `{}`. The gateway does not decompress bodies, so the second body may be anything.
    let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    for body in [gzip, b"\x1f\x8b no gzip at all"] {
        let headers = "content-encoding: gzip\r\ncontent-type: application/json\r\n";
        let answer = send_once(pipeline.gateway_port, &request(PATH, SIGNING_KEY, headers, body)).unwrap();
        assert_eq!(answer.status, 202);
    }
    let stored = records(&pipeline, "raw");
    assert_eq!(stored.len(), 2);
    assert!(stored.iter().any(|record| record.value == gzip));
    for record in &stored {
        assert_eq!(record.text_header("content-encoding"), Some("gzip"));
        assert_eq!(
            record.key.as_ref().map(Vec::len),
            Some(32),
            "the key is the hash of the body, because the body names no person"
        );
    }
}

#[test]
fn p2_an_oversized_body_is_a_dead_letter_if_signed_and_is_refused_otherwise() {
    let pipeline = Pipeline::new(shared_kafka(), "oversized");
    let gateway = gateway(&pipeline, &[]);
    let port = pipeline.gateway_port;
    let body = event("big").replace("jo@example.com", &"ö".repeat(6 << 20)).into_bytes();
    assert!(body.len() > 12 << 20);
    assert_eq!(send_once(port, &request(PATH, SIGNING_KEY, "", &body)).unwrap().status, 202);
    assert_eq!(send_once(port, &request(PATH, "another key", "", &body)).unwrap().status, 413);
    let mut unsigned =
        format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    unsigned.extend_from_slice(&body);
    assert_eq!(send_once(port, &unsigned).unwrap().status, 401, "the response comes before the body is read");
    assert!(records(&pipeline, "raw").is_empty());
    let dead_letters = records(&pipeline, "dead-letters");
    let [dead_letter] = dead_letters.as_slice() else { panic!("{} dead letters", dead_letters.len()) };
    assert_eq!((dead_letter.key.as_ref(), dead_letter.value.as_slice()), (None, &body[..64 * 1024]));
    let header = |name: &str| dead_letter.text_header(name);
    assert_eq!((header("dead-letter-stage"), header("dead-letter-code")), (Some("gateway"), Some("body_too_large")));
    let message = header("dead-letter-message").unwrap();
    let sha256 = customerio::sha256_hex([std::str::from_utf8(&body).unwrap()]);
    assert!(message.contains(&body.len().to_string()) && message.contains(&sha256), "{message}");
    for absent in ["dead-letter-topic", "dead-letter-partition", "dead-letter-offset"] {
        assert_eq!(header(absent), None);
    }
    assert_eq!((header("source"), header("cio-timestamp")), (Some("default"), Some("1700000000")));
    assert_eq!(gateway.metric("customerio_dead_letters_total"), 1.0);
    assert!(gateway.resident_bytes() < 120 << 20, "{} bytes of memory", gateway.resident_bytes());
}

/// Signature headers of a request; the signature is not valid.
const SIGNED: &str = "x-cio-timestamp: 1700000000\r\nx-cio-signature: 00\r\n";

#[test]
fn a_client_that_stalls_in_headers_or_body_gets_408() {
    let pipeline = Pipeline::new(shared_kafka(), "stalls");
    let gateway = gateway(&pipeline, &[("GATEWAY_READ_TIMEOUT", "700ms")]);
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n");
    // Without a signature, the gateway would not wait for the body.
    let body = format!("{head}{SIGNED}content-length: 100\r\n\r\nhalf");
    for stalled in [&head, &body] {
        let started = Instant::now();
        let mut stream = connect(pipeline.gateway_port).unwrap();
        stream.write_all(stalled.as_bytes()).unwrap();
        let answer = read_answer(&mut stream).unwrap();
        assert_eq!((answer.status, answer.closes), (408, true));
        assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "closed, not reset");
    }
    assert_eq!(gateway.metric("customerio_gateway_in_flight_bytes"), 0.0);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p8_thousands_of_slow_clients_do_not_delay_responses_to_other_clients() {
    let _alone = alone();
    const SLOW: usize = 3000;
    assert!(service::allow_open_files(SLOW as u64 + 500) > SLOW as u64 + 200, "the test needs as many sockets");
    let pipeline = Pipeline::new(shared_kafka(), "slow");
    let gateway = gateway(&pipeline, &[("GATEWAY_MAX_CONNECTIONS", "2000")]);
    let port = pipeline.gateway_port;
    let before = gateway.resident_bytes();
    let honest = Senders::start(port, PATH, SIGNING_KEY, 4, Duration::from_millis(10), "honest");
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\n");
    // Together, the clients announce more bytes than `GATEWAY_IN_FLIGHT_BYTES` allows.
    let announced = format!("{head}{SIGNED}content-length: 10000000\r\n\r\n{}", "x".repeat(1500));
    let long_head = format!("{head}x: {}", "y".repeat(12_000));
    let kinds = [b"".as_slice(), head.as_bytes(), announced.as_bytes(), long_head.as_bytes()];
    let mut slow: Vec<TcpStream> = Vec::with_capacity(SLOW);
    for number in 0..SLOW {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(kinds[number % kinds.len()]).unwrap();
        slow.push(stream);
    }
    // The clients keep sending slowly until the gateway has closed 95 % of their connections.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut most = 0;
    slow.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    while slow.len() > SLOW / 20 {
        assert!(Instant::now() < deadline, "{} slow senders are still there", slow.len());
        slow.retain_mut(|stream| match stream.peek(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.write(b"z").is_ok(),
            _ => false,
        });
        most = most.max(gateway.resident_bytes());
        std::thread::sleep(Duration::from_millis(300));
    }
    let outcome = honest.finish();
    outcome.assert_all_stored();
    assert!(outcome.slowest < Duration::from_secs(2), "{:?}", outcome.slowest);
    assert!(most < before + (100 << 20), "{before} bytes before, {most} at most");
    let evicted = gateway.metric("customerio_gateway_connections_evicted_total");
    assert!(evicted >= 1000.0, "{evicted} connections were closed to make room");
    wait_until("all of them to be gone", Duration::from_secs(30), || {
        gateway.metric("customerio_gateway_connections") <= 1.0
            && gateway.metric("customerio_gateway_in_flight_bytes") == 0.0
    });
}
