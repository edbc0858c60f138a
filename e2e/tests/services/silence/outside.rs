//! Outages that are not caused by Kafka: Platform's address, IMS, the Schema Registry, clocks, a full buffer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::Partition;
use e2e::http::request;
use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka, with};
use e2e::process::Process;
use e2e::proxy::{Fault, Proxy};
use e2e::real_registry::RealRegistry;
use e2e::sender::event;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::Headers;
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;
use reqwest::Method;

use super::{ACCEPTED, OVER, Trickle, UNANSWERED, line, over, reported};

/// Difference between a wrong clock and the right time, in seconds.
const WRONG: u64 = 120;

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_the_sink_reports_an_unreachable_address_of_platform_or_ims() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "no-address");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _trickle = Trickle::of_events(pipeline.gateway_port);
    let inlet = pipeline.sink_variables().into_iter().find(|(name, _)| *name == "PLATFORM_INLET_URL").unwrap().1;
    let without_tls = inlet.replace("http://", "https://");
    let mute = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mute = format!("http://{}", mute.local_addr().unwrap());
    let unreachable = format!("http://127.0.0.1:{}", free_port());
    for (row, variable, address, reason) in [
        ("Platform without TLS", "PLATFORM_INLET_URL", without_tls.as_str(), "tls"),
        ("Platform's name does not exist", "PLATFORM_INLET_URL", "https://no-such-host.invalid/collection/sim1", "dns"),
        ("Platform does not answer", "PLATFORM_INLET_URL", &format!("{mute}/collection/sim1"), "timeout"),
        ("IMS is away", "IMS_URL", &unreachable, "unavailable"),
        ("IMS does not answer", "IMS_URL", &mute, "timeout"),
        ("IMS' name does not exist", "IMS_URL", "https://no-such-host.invalid", "dns"),
        ("IMS without TLS", "IMS_URL", &format!("https://127.0.0.1:{}", pipeline.simulator_port), "tls"),
    ] {
        let variables = with(pipeline.sink_variables(), &[(variable, address)]);
        let begun = Instant::now() + UNANSWERED;
        let sink = Process::start("sink", &variables, Some(free_port()));
        reported(&sink, "sink", row, begun, 0, reason);
        assert!(sink.is_ready(), "{row}: the sink stays ready while it waits");
    }
    let sink = pipeline.sink();
    wait_until("what waited to be accepted", OVER, || sink.metric(ACCEPTED) >= 20.0);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_the_sink_reports_a_failing_ims_and_a_wrong_clock_of_platform() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "ims");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let sink = pipeline.sink();
    let _trickle = Trickle::of_events(pipeline.gateway_port);
    wait_until("events to be accepted", OVER, || sink.metric(ACCEPTED) >= 10.0);
    for (row, fault, reason) in [
        ("IMS 500", r#"[{"fault":"tokens","status":500},{"fault":"expire_tokens"}]"#, "unavailable"),
        (
            "IMS answers with a page",
            r#"[{"fault":"tokens","status":200,"body":"<html>sign in</html>"},{"fault":"expire_tokens"}]"#,
            "unexpected_answer",
        ),
        (
            "IMS refuses",
            r#"[{"fault":"tokens","status":401,"body":"{\"error\":\"invalid_client\"}"},{"fault":"expire_tokens"}]"#,
            "unauthenticated",
        ),
        ("Platform's clock is behind", &format!(r#"{{"fault":"clock","behind":{WRONG}}}"#), "clock"),
    ] {
        let from = sink.log().len();
        let begun = Instant::now();
        pipeline.fault(fault);
        reported(&sink, "sink", row, begun, from, reason);
        assert!(sink.is_ready(), "{row}: the sink stays ready while it waits");
        pipeline.clear_faults();
        over(&sink, "sink", from, reason);
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_gateway_and_transformer_report_a_wrong_clock() {
    let _alone = alone();
    let pipeline = Pipeline::with_partitions(shared_kafka(), "clocks", 1);
    let gateway = pipeline.gateway();
    let transformer = pipeline.transformer();
    let send = |id: &str, seconds: u64| {
        let (body, timestamp) = (event(id), seconds.to_string());
        let signature = customerio::sign(&customerio::SigningKey::new(SIGNING_KEY), &timestamp, body.as_bytes());
        let headers = [("x-cio-timestamp", timestamp.as_str()), ("x-cio-signature", &signature)];
        request(Method::POST, pipeline.gateway_port, "/webhooks/customerio", &headers, &body).unwrap().0
    };
    assert_eq!(send("ahead", unix_seconds() + WRONG), 202);
    wait_until("the gateway to see that its clock is behind", Duration::from_secs(10), || {
        assert_eq!(send("ahead", unix_seconds() + WRONG), 202);
        std::thread::sleep(Duration::from_millis(100));
        super::waits(&gateway, "gateway", "clock")
    });
    reported(&gateway, "gateway", "its clock is behind", Instant::now(), 0, "clock");
    wait_until("the gateway to see that its clock is right", OVER, || {
        assert_eq!(send("right", unix_seconds()), 202);
        std::thread::sleep(Duration::from_millis(100));
        !super::waits(&gateway, "gateway", "clock")
    });
    over(&gateway, "gateway", 0, "clock");

    let from = transformer.log().len();
    let receive = |ahead: u64| {
        let at = ((unix_seconds() + ahead) * 1000).to_string();
        let body = event(&format!("received-{at}"));
        produce(&pipeline, body.as_bytes(), &at);
    };
    wait_until("the transformer to see that the gateway's clock is ahead", Duration::from_secs(10), || {
        receive(WRONG);
        std::thread::sleep(Duration::from_millis(100));
        super::waits(&transformer, "transformer", "clock")
    });
    reported(&transformer, "transformer", "the gateway's clock is ahead", Instant::now(), from, "clock");
    wait_until("the transformer to see that the gateway's clock is right again", OVER, || {
        receive(0);
        std::thread::sleep(Duration::from_millis(100));
        !super::waits(&transformer, "transformer", "clock")
    });
    over(&transformer, "transformer", from, "clock");
}

/// Writes a raw record as a gateway would if its clock showed `received_at`, in Unix milliseconds.
fn produce(pipeline: &Pipeline, value: &[u8], received_at: &str) {
    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(10),
        linger: Duration::ZERO,
        max_record_bytes: 1_000_000,
        queue_bytes: 1_000_000,
    };
    let producer: DurableProducer<()> = DurableProducer::new(&shared_kafka().connection(), &settings).unwrap();
    let headers =
        Headers::with_capacity(2).with(header::RECEIVED_AT, received_at.as_bytes()).with(header::SOURCE, b"default");
    let topic = pipeline.topic("raw");
    let record = NewRecord { topic: &topic, partition: Some(Partition(0)), key: None, value: Some(value), headers };
    drop(producer.send(record, ()).unwrap());
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_the_sink_reports_that_its_buffer_is_full() {
    let _alone = alone();
    let pipeline = Pipeline::with_partitions(shared_kafka(), "full", 1);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let changes =
        [("SINK_BATCH_MAX_BYTES", "20KiB"), ("SINK_BUFFER_BYTES", "80KiB"), ("SINK_MAX_RECORDS_PER_SECOND", "1")];
    let sink = Process::start("sink", &with(pipeline.sink_variables(), &changes), Some(free_port()));
    let _ids = pipeline.load(2000, 500).finish(OVER);
    // A full buffer counts as an outage only after ten seconds.
    wait_until("the full buffer to be reported", Duration::from_secs(40), || line(&sink, 0, "buffer_full").is_some());
    reported(&sink, "sink", "paused by its budget", Instant::now(), 0, "buffer_full");
    assert!(sink.is_ready(), "the sink stays ready although its buffer is full");
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_transformer_and_sink_report_an_unreachable_registry() {
    let _alone = alone();
    let registry = RealRegistry::running();
    let proxy = Proxy::start(&[registry.port()]).unwrap();
    let pipeline = Pipeline::new(shared_kafka(), "no-registry");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let url = RealRegistry::url_at(proxy.port(0));
    let through = |variables: Variables| with(variables, &[("SCHEMA_REGISTRY_URL", url.as_str())]);
    proxy.set(Fault::Cut);
    let begun = Instant::now() + UNANSWERED;
    let transformer = Process::spawn("transformer", &through(pipeline.transformer_variables()), Some(free_port()));
    reported(&transformer, "transformer", "registry down at the start", begun, 0, "unavailable");
    proxy.heal();
    over(&transformer, "transformer", 0, "unavailable");
    let _trickle = Trickle::of_events(pipeline.gateway_port);
    wait_until("typed records", OVER, || transformer.metric("customerio_transformer_records_total") >= 10.0);
    proxy.set(Fault::Cut);
    let begun = Instant::now() + UNANSWERED;
    let sink = Process::start("sink", &through(pipeline.sink_variables()), Some(free_port()));
    reported(&sink, "sink", "registry down, unknown schema", begun, 0, "unavailable");
    assert!(sink.is_ready(), "the sink stays ready while it waits");
    proxy.heal();
    over(&sink, "sink", 0, "unavailable");
    wait_until("what waited to be accepted", OVER, || sink.metric(ACCEPTED) >= 10.0);
}
