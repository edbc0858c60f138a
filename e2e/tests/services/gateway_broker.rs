//! A broker is paused while its connections stay open. This is the most difficult outage, because no error shows it.

use std::collections::HashSet;
use std::time::Duration;

use e2e::accounting::read;
use e2e::pipeline::{Pipeline, SIGNING_KEY};
use e2e::process::Process;
use e2e::real_kafka::RealKafka;
use e2e::sender::{Senders, event, request, send_once};
use e2e::turn::alone;
use e2e::{free_port, wait_until};

const PATH: &str = "/webhooks/customerio";

/// Returns an event of 100 kB.
fn large(id: &str) -> String {
    event(id).replace("jo@example.com", &"x".repeat(100_000))
}

#[test]
fn p1_p8_while_a_broker_is_paused_webhooks_get_503_in_time_with_bounded_memory() {
    let _alone = alone();
    let mut kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::new(&kafka, "paused");
    let mut variables = pipeline.gateway_variables();
    variables.push(("GATEWAY_IN_FLIGHT_BYTES", "24MiB".to_owned()));
    let gateway = Process::start("ingest-gateway", &variables, Some(free_port()));
    let port = pipeline.gateway_port;
    let patience = Duration::from_secs(60);
    let load = || Senders::start_with(port, PATH, SIGNING_KEY, 40, Duration::ZERO, "paused", large);
    let calm = load();
    wait_until("a load at full speed", patience, || calm.answered() > 2000);
    calm.finish().assert_all_stored();
    let before = gateway.resident_bytes();

    kafka.pause_broker();
    // The clients send more at once than fits into the in-flight budget: some requests wait for the broker, and the
    // others get a 503 at once.
    let load = Senders::start_with(port, PATH, SIGNING_KEY, 400, Duration::from_millis(200), "outage", large);
    let mut most = 0;
    wait_until("requests that reached their deadline", patience, || {
        most = most.max(gateway.resident_bytes());
        load.answered() > 2000 && gateway.metric("customerio_gateway_publish_failures_total") > 400.0
    });
    assert!(gateway.is_ready(), "the gateway stays ready during an outage of Kafka");
    let used = gateway.metric("customerio_gateway_in_flight_bytes");
    assert!(used <= f64::from(24 << 20), "{used}");
    // This limit covers the bodies, librdkafka's copies of them, and the memory of 400 connections.
    assert!(most < before + (90 << 20), "{before} bytes before, {most} at most");
    let outage = load.finish();
    let answers: Vec<_> = outage.answers.keys().map(String::as_str).collect();
    assert_eq!(answers, ["503"], "{:?}", outage.answers);
    assert!(outage.slowest < Duration::from_secs(4), "{:?}", outage.slowest);

    kafka.resume_broker();
    wait_until("202 again", patience, || {
        send_once(port, &request(PATH, SIGNING_KEY, "", event("first").as_bytes())).unwrap().status == 202
    });
    let after = Senders::start_with(port, PATH, SIGNING_KEY, 10, Duration::ZERO, "after", large);
    wait_until("a load at full speed", patience, || after.answered() > 500);
    let after = after.finish();
    after.assert_all_stored();
    wait_until("the in-flight budget to be free again", patience, || {
        gateway.metric("customerio_gateway_in_flight_bytes") == 0.0
    });
    let stored: HashSet<Vec<u8>> =
        read(&kafka.connection(), &pipeline.topic("raw")).into_iter().map(|record| record.value).collect();
    for id in &after.acknowledged {
        assert!(stored.contains(large(id).as_bytes()), "{id}");
    }
}
