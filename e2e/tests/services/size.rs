//! P12 and P2: no record stops a partition because of its size. The tests send bodies around the limits of topics with
//! different limits: each body is stored completely, or becomes a dead letter with its size and hash, and the records
//! after it are processed.

use std::time::Duration;

use contract::dead_letter::{CutValue, Entry, KEPT_BYTES, header};
use e2e::accounting::{assert_accepted, read};
use e2e::pipeline::{Pipeline, SIGNING_KEY, shared_kafka, with};
use e2e::process::Process;
use e2e::sender::{event, request, send_once};
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::record::OwnedRecord;
use kafka::topic::Topics;

const SOON: Duration = Duration::from_secs(90);

const MIB: usize = 1024 * 1024;

/// Kafka's default of `max.message.bytes`.
const KAFKAS_DEFAULT: usize = 1_048_588;

/// Bytes of a record in addition to its value: the header of its batch, lengths, key and headers.
const OVERHEAD: usize = 2048;

/// Returns random bytes, which no codec can compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| dice.u8(b'!'..b'~')).filter(|byte| !b"\"\\".contains(byte)).take(bytes).collect()
}

/// Returns a webhook of about this size that the mapping accepts.
fn mappable(id: &str, bytes: usize) -> Vec<u8> {
    let small = event(id);
    let content = String::from_utf8(noise(bytes.saturating_sub(small.len() + 20))).unwrap();
    let mut body: serde_json::Value = serde_json::from_str(&small).unwrap();
    body["data"]["content"] = content.into();
    body.to_string().into_bytes()
}

fn post(pipeline: &Pipeline, body: &[u8]) -> u16 {
    let request = request("/webhooks/customerio", SIGNING_KEY, "", body);
    send_once(pipeline.gateway_port, &request).unwrap().status
}

fn limit(pipeline: &Pipeline, topic: &str, bytes: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let topics = Topics::new(&shared_kafka().connection()).unwrap();
    runtime.block_on(topics.set(&pipeline.topic(topic), &[("max.message.bytes", &bytes.to_string())])).unwrap();
}

/// Returns the dead letters, each with the hash of the original value. A truncated one has the hash in a header.
fn dead_letters(pipeline: &Pipeline) -> Vec<(String, OwnedRecord)> {
    let records = read(&shared_kafka().connection(), &pipeline.topic("dead-letters")).into_iter();
    records
        .map(|record| {
            let hash = record.header(header::ORIGINAL_SHA256).map(|hash| String::from_utf8_lossy(hash).into_owned());
            (hash.unwrap_or_else(|| CutValue::of(record.value.as_slice()).cut.sha256), record)
        })
        .collect()
}

/// A combination of limits, in bytes.
struct Limits {
    name: &'static str,
    max_body: usize,
    raw: usize,
    dead_letters: usize,
}

/// Sends a mappable and an unmappable body of each size, each followed by a small event, and checks their outcomes.
/// Returns the logs of the three services.
fn check(limits: &Limits) -> [String; 3] {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "size", 2);
    limit(&pipeline, "raw", limits.raw);
    limit(&pipeline, "dead-letters", limits.dead_letters);
    limit(&pipeline, "typed", KAFKAS_DEFAULT);
    let _simulator = pipeline.simulator();
    let max_body = limits.max_body.to_string();
    let gateway = with(pipeline.gateway_variables(), &[("GATEWAY_MAX_BODY", &max_body), ("DEAD_LETTER_LIMIT", "off")]);
    let gateway = Process::start("ingest-gateway", &gateway, Some(free_port()));
    let transformer = with(pipeline.transformer_variables(), &[("DEAD_LETTER_LIMIT", "off")]);
    let transformer = Process::start("transformer", &transformer, Some(free_port()));
    let sink = pipeline.sink();
    let mut small = Vec::new();
    let sizes = [MIB - 4096, MIB + 4096, 8 * MIB, 10 * MIB - 4096, 10 * MIB + 4096, 63 * MIB];
    let mut bodies = Vec::new();
    for size in sizes {
        let id = format!("big-{size}");
        let unmappable = [b"broken ".as_slice(), &noise(size - 7)].concat();
        for (kind, id, body) in [("mappable", Some(id.clone()), mappable(&id, size)), ("unmappable", None, unmappable)]
        {
            let status = post(&pipeline, &body);
            assert_eq!(status, 202, "{}: a {kind} body of {size} bytes: {}", limits.name, gateway.log());
            let after = format!("after-{kind}-{size}");
            assert_eq!(post(&pipeline, event(&after).as_bytes()), 202);
            small.push(after);
            bodies.push((kind, id, body));
        }
    }
    assert_accepted(&pipeline, &small, SOON);
    let fits_raw = |body: &[u8]| body.len() <= limits.max_body && body.len() + OVERHEAD <= limits.raw;
    let expected = bodies.iter().filter(|(kind, _, body)| *kind == "unmappable" || !fits_raw(body)).count();
    wait_until("every dead letter to be written", SOON, || dead_letters(&pipeline).len() >= expected);
    let found = dead_letters(&pipeline);
    println!(
        "{}: GATEWAY_MAX_BODY {}, raw {}, dead letters {}",
        limits.name, limits.max_body, limits.raw, limits.dead_letters
    );
    let mut accepted = Vec::new();
    for (kind, id, body) in &bodies {
        let whole = CutValue::of(body).cut;
        let dead_letter = found.iter().find(|(hash, _)| *hash == whole.sha256).map(|(_, record)| record);
        let code = dead_letter
            .and_then(|dead_letter| dead_letter.header(header::CODE))
            .map(|code| String::from_utf8_lossy(code).into_owned());
        let outcome = match (dead_letter, code.as_deref()) {
            (None, _) => "accepted".to_owned(),
            (Some(dead_letter), Some(code)) if dead_letter.value.len() == body.len() => {
                format!("dead letter {code}, whole")
            }
            (Some(dead_letter), Some(code)) => {
                assert_eq!(dead_letter.value.as_slice(), &body[..KEPT_BYTES], "its first 64 KiB");
                let Entry::DeadLetter(read) = Entry::read(dead_letter.headers()) else { panic!("a dead letter") };
                assert_eq!(read.cut, Some(whole));
                format!("dead letter {code}, cut")
            }
            (Some(_), None) => panic!("a dead letter without a code"),
        };
        println!("  {:>9} bytes {kind:<10} {outcome}", body.len());
        let right = match (*kind, fits_raw(body)) {
            (_, false) => "dead letter body_too_large, cut",
            ("mappable", true) => "accepted",
            (_, true) if body.len() + OVERHEAD <= limits.dead_letters => "dead letter not_json, whole",
            (_, true) => "dead letter not_json, cut",
        };
        assert_eq!(outcome, right, "{}: {kind}, {} bytes", limits.name, body.len());
        accepted.extend(id.clone().filter(|_| right == "accepted"));
    }
    assert_eq!(found.len(), expected, "one dead letter for each");
    assert_accepted(&pipeline, &accepted, SOON);
    assert_eq!(transformer.metric("customerio_transformer_held"), 0.0);
    [gateway, transformer, sink].map(|service| service.log())
}

#[test]
fn p2_p12_a_body_of_any_size_is_accounted_for_with_kafkas_default_limits() {
    let limits = Limits { name: "default", max_body: 10 * MIB, raw: KAFKAS_DEFAULT, dead_letters: KAFKAS_DEFAULT };
    let [gateway, transformer, sink] = check(&limits);
    // Each service logs at its start which settings its topics should have.
    for (service, log, named) in [
        ("gateway", gateway, "raw: max.message.bytes is 1048588, wanted 10551296"),
        ("transformer", transformer, "dead-letters: max.message.bytes is 1048588, wanted 1114124"),
        ("sink", sink, "dead-letters: max.message.bytes is 1048588, wanted 1114124"),
    ] {
        assert!(log.contains(named), "{service}: {log}");
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p2_p12_a_body_of_any_size_is_accounted_for_with_any_limits_of_the_topics() {
    let _alone = alone();
    for limits in [
        Limits { name: "equal", max_body: 10 * MIB, raw: 12_582_912, dead_letters: 12_582_912 },
        Limits { name: "tight", max_body: 10 * MIB, raw: 10 * MIB, dead_letters: 10 * MIB },
        Limits { name: "small dead letters", max_body: 64 * MIB, raw: 70 * MIB, dead_letters: KAFKAS_DEFAULT },
        Limits { name: "large", max_body: 64 * MIB, raw: 70 * MIB, dead_letters: 70 * MIB },
    ] {
        check(&limits);
    }
}

#[test]
fn p12_only_typed_records_over_the_topic_limit_become_dead_letters() {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "typed-size", 1);
    // A batch of several small records exceeds the limit, but no single record does.
    limit(&pipeline, "typed", 1500);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _sink = pipeline.sink();
    let mut fitting = Vec::new();
    for number in 0..40 {
        let id = format!("small-{number:02}");
        assert_eq!(post(&pipeline, event(&id).as_bytes()), 202);
        fitting.push(id);
        if number % 10 == 5 {
            let mut body: serde_json::Value = serde_json::from_str(&event(&format!("large-{number:02}"))).unwrap();
            body["data"]["subject"] = String::from_utf8(noise(2000)).unwrap().into();
            assert_eq!(post(&pipeline, body.to_string().as_bytes()), 202);
        }
    }
    let transformer = pipeline.transformer();
    assert_accepted(&pipeline, &fitting, SOON);
    wait_until("the large ones to become dead letters", SOON, || dead_letters(&pipeline).len() >= 4);
    for (_, dead_letter) in dead_letters(&pipeline) {
        assert_eq!(dead_letter.header(header::CODE), Some(b"too_large".as_slice()));
        assert!(String::from_utf8_lossy(dead_letter.value.as_slice()).contains("large-"));
    }
    assert_eq!(dead_letters(&pipeline).len(), 4);
    assert!(transformer.log().contains("raise its max.message.bytes"), "{}", transformer.log());
}

#[test]
fn p12_the_transformer_holds_if_the_dead_letter_topic_refuses_even_a_truncated_record() {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "dead-letter-size", 1);
    limit(&pipeline, "dead-letters", KEPT_BYTES / 2);
    let _gateway = pipeline.gateway();
    let body = [b"broken ".as_slice(), &noise(2 * KEPT_BYTES)].concat();
    assert_eq!(post(&pipeline, &body), 202);
    let mut held = pipeline.transformer();
    let reason = |reason| held.metric(&format!("customerio_transformer_held{{reason=\"{reason}\"}}"));
    wait_until("the transformer to hold", SOON, || reason("dead_letter_size") == 1.0);
    assert_eq!(reason("dead_letter_limit"), 0.0);
    assert!(held.log().contains("raise its max.message.bytes, then restart"), "{}", held.log());
    assert!(dead_letters(&pipeline).is_empty());
    limit(&pipeline, "dead-letters", KAFKAS_DEFAULT);
    assert_eq!(held.terminate(), Some(0));
    let _restarted = pipeline.transformer();
    wait_until("the dead letter to be written", SOON, || dead_letters(&pipeline).len() == 1);
    assert_eq!(dead_letters(&pipeline)[0].1.value, body, "after the restart, the whole record fits");
}
