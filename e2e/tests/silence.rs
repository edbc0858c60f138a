//! P6: nothing that is waited for is silent. Each row is an outage; within ten seconds there is a line at WARN or ERROR that
//! names it, a gauge, and where the work depends on it readiness follows; its end is told too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its table"
)]

use std::time::{Duration, Instant};

use e2e::pipeline::{Pipeline, Variables, shared_kafka, with};
use e2e::process::Process;
use e2e::proxy::Fault;
use e2e::real_kafka::{Cluster, RealKafka};
use e2e::sender::event;
use e2e::{free_port, wait_until};

/// How soon an outage is told.
const TOLD: Duration = Duration::from_secs(10);

/// And how soon its end is.
const OVER: Duration = Duration::from_secs(40);

/// Whether the gauge of this reason shows that something is waited for.
fn waits(service: &Process, name: &str, reason: &str) -> bool {
    let Some((200, metrics)) = service.admin_get("/metrics") else { return false };
    metrics.contains(&format!("customerio_{name}_waiting{{reason=\"{reason}\"}} 1"))
}

/// The first line of the log after `from` that says what is waited for.
fn line(service: &Process, from: usize, reason: &str) -> Option<String> {
    let log = service.log();
    let said = log.get(from..).unwrap_or_default();
    let is_it = |line: &&str| line.contains("waiting") && line.contains(&format!("reason=\"{reason}\""));
    said.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).find(is_it).map(str::to_owned)
}

/// Waits until an outage is told in log and gauge; prints the row.
fn told(service: &Process, name: &str, row: &str, from: usize, reason: &str) {
    let begun = Instant::now();
    while !(waits(service, name, reason) && line(service, from, reason).is_some()) {
        assert!(begun.elapsed() < TOLD, "{row}, {name}: nothing told of `{reason}` in {TOLD:?}:\n{}", service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let line = line(service, from, reason).unwrap_or_default();
    let text = line.split("waiting").nth(1).unwrap_or_default();
    println!("{row} | {name} | after {:.1} s | {reason} |{text}", begun.elapsed().as_secs_f64());
}

fn over(service: &Process, name: &str, from: usize, reason: &str) {
    wait_until(&format!("{name}: the end of `{reason}` to be told"), OVER, || {
        !waits(service, name, reason) && service.log().get(from..).unwrap_or_default().contains("waiting no longer")
    });
}

#[test]
fn p6_a_kafka_that_is_away_is_told_by_every_service_also_when_idle_and_readiness_follows() {
    let mut kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::new(&kafka, "kafka-away");
    let _simulator = pipeline.simulator();
    let services =
        [("gateway", pipeline.gateway()), ("transformer", pipeline.transformer()), ("sink", pipeline.sink())];
    let from: Vec<usize> = services.iter().map(|(_, service)| service.log().len()).collect();
    kafka.kill(0);
    let killed = Instant::now();
    for ((name, service), &from) in services.iter().zip(&from) {
        told(service, name, "Kafka down, idle", from, "unavailable");
    }
    assert!(killed.elapsed() < TOLD + Duration::from_secs(1), "all three told it after {:?}", killed.elapsed());
    for (name, service) in &services[1..] {
        wait_until(&format!("{name} not to be ready"), Duration::from_secs(25), || !service.is_ready());
    }
    assert!(services[0].1.is_ready(), "a gateway out of rotation refuses connections");
    kafka.restart(0);
    for ((name, service), &from) in services.iter().zip(&from) {
        over(service, name, from, "unavailable");
        wait_until(&format!("{name} to be ready again"), OVER, || service.is_ready());
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_a_platform_that_does_not_take_events_is_told_whatever_it_does() {
    let pipeline = Pipeline::new(shared_kafka(), "platform-away");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let sink = pipeline.sink();
    assert_eq!(pipeline.send(&event("first")), 202);
    wait_until("the first event to be accepted", OVER, || sink.metric("customerio_sink_records_total") >= 1.0);
    for (row, fault, reason) in [
        ("Platform 503", r#"{"fault":"status","status":503}"#, "unavailable"),
        ("Platform 429", r#"{"fault":"status","status":429}"#, "throttled"),
        ("Platform 202", r#"{"fault":"status","status":202}"#, "unexpected_answer"),
        ("connection reset", r#"{"fault":"reset","when":"before"}"#, "unavailable"),
    ] {
        let from = sink.log().len();
        pipeline.fault(fault);
        assert_eq!(pipeline.send(&event(&format!("{row} {reason}"))), 202);
        told(&sink, "sink", row, from, reason);
        assert!(sink.is_ready(), "another sink would do no better");
        pipeline.clear_faults();
        over(&sink, "sink", from, reason);
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_a_kafka_that_answers_nothing_is_told_by_every_service() {
    let kafka = RealKafka::start(&Cluster { proxied: 3, own_controller: true, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "kafka-mute");
    let _simulator = pipeline.simulator();
    let through = |service: usize, variables: Variables| {
        let bootstrap = kafka.proxy(service).bootstrap();
        with(variables, &[("KAFKA_BOOTSTRAP_SERVERS", bootstrap.as_str())])
    };
    let start = |name: &str, variables: Variables| Process::start(name, &variables, Some(free_port()));
    let services = [
        ("gateway", start("ingest-gateway", through(0, pipeline.gateway_variables()))),
        ("transformer", start("transformer", through(1, pipeline.transformer_variables()))),
        ("sink", start("sink", through(2, pipeline.sink_variables()))),
    ];
    let from: Vec<usize> = services.iter().map(|(_, service)| service.log().len()).collect();
    for service in 0..3 {
        kafka.proxy(service).set(Fault::BlackHole);
    }
    for ((name, service), &from) in services.iter().zip(&from) {
        told(service, name, "Kafka mute, idle", from, "timeout");
    }
    for service in 0..3 {
        kafka.proxy(service).heal();
    }
    for ((name, service), &from) in services.iter().zip(&from) {
        over(service, name, from, "timeout");
        wait_until(&format!("{name} to be ready again"), OVER, || service.is_ready());
    }
}
