//! P6: no outage is silent. Within ten seconds, a service logs a WARN or ERROR line about the outage, sets a gauge and,
//! if its work depends on the failed system, becomes unready. It also reports the end of the outage.

mod kafka_refuses;
mod outside;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::Partition;
use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka, with};
use e2e::process::Process;
use e2e::proxy::Fault;
use e2e::real_kafka::{Cluster, RealKafka};
use e2e::sender::{event, request, send_once};
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::topic::Topics;

/// Metric of the events that Platform has accepted.
const ACCEPTED: &str = "customerio_sink_records_total{outcome=\"accepted\"}";

/// Maximum time from the first failed request to the report of an outage.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);

/// Additional time for a report if requests get no response: such a request counts as failed only after this time.
const UNANSWERED: Duration = Duration::from_secs(5);

/// Timeout of the test's own requests to the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time until the end of an outage is reported.
const OVER: Duration = Duration::from_secs(40);

/// A load that sends ten webhooks per second, one after the other, regardless of the responses.
struct Trickle {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    /// Starts the load; `body` builds the webhook for each number.
    fn start(port: u16, body: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let request = request("/webhooks/customerio", SIGNING_KEY, "", &body(number));
                // Failures are expected during the outages of these tests.
                drop(send_once(port, &request));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Starts a load of different small events.
    fn of_events(port: u16) -> Self {
        Self::start(port, |number| event(&format!("trickle-{number}")).into_bytes())
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Whether the gauge shows that the service waits for this reason.
fn waits(service: &Process, name: &str, reason: &str) -> bool {
    let Some((200, metrics)) = service.admin_get("/metrics") else { return false };
    metrics.contains(&format!("customerio_{name}_waiting{{reason=\"{reason}\"}} 1"))
}

/// Returns the first log line after `from` that reports a wait for this reason.
fn line(service: &Process, from: usize, reason: &str) -> Option<String> {
    let log = service.log();
    let lines = log.get(from..).unwrap_or_default();
    let is_it = |line: &&str| line.contains("waiting") && line.contains(&format!("reason=\"{reason}\""));
    lines.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).find(is_it).map(str::to_owned)
}

/// Waits until log and gauge report an outage, and prints a line about it.
fn reported(service: &Process, name: &str, row: &str, begun: Instant, from: usize, reason: &str) {
    while !(waits(service, name, reason) && line(service, from, reason).is_some()) {
        assert!(
            begun.elapsed() < REPORTED_WITHIN,
            "{row}, {name}: `{reason}` was not reported within {REPORTED_WITHIN:?}:\n{}",
            service.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let line = line(service, from, reason).unwrap_or_default();
    let text = line.split("waiting").nth(1).unwrap_or_default();
    println!("{row} | {name} | after {:.1} s | {reason} |{text}", begun.elapsed().as_secs_f64());
}

fn over(service: &Process, name: &str, from: usize, reason: &str) {
    wait_until(&format!("{name}: the end of `{reason}` to be reported"), OVER, || {
        !waits(service, name, reason) && service.log().get(from..).unwrap_or_default().contains("no longer waiting")
    });
}

#[test]
fn p6_idle_services_report_a_kafka_outage_and_the_consumers_become_unready() {
    let _alone = alone();
    let mut kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::new(&kafka, "kafka-away");
    let _simulator = pipeline.simulator();
    let services =
        [("gateway", pipeline.gateway()), ("transformer", pipeline.transformer()), ("sink", pipeline.sink())];
    let from: Vec<usize> = services.iter().map(|(_, service)| service.log().len()).collect();
    kafka.kill(0);
    let killed = Instant::now();
    for ((name, service), &from) in services.iter().zip(&from) {
        reported(service, name, "Kafka down, idle", killed, from, "unavailable");
    }
    assert!(
        killed.elapsed() < REPORTED_WITHIN + Duration::from_secs(1),
        "all three reported it after {:?}",
        killed.elapsed()
    );
    for (name, service) in &services[1..] {
        wait_until(&format!("{name} not to be ready"), Duration::from_secs(25), || service.is_unready());
    }
    assert!(services[0].1.is_ready(), "the gateway stays ready during an outage of Kafka");
    kafka.restart(0);
    for ((name, service), &from) in services.iter().zip(&from) {
        over(service, name, from, "unavailable");
        wait_until(&format!("{name} to be ready again"), OVER, || service.is_ready());
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_the_sink_reports_each_reason_why_platform_accepts_no_events() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "platform-away");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let sink = pipeline.sink();
    assert_eq!(pipeline.send(&event("first")), 202);
    wait_until("the first event to be accepted", OVER, || sink.metric(ACCEPTED) >= 1.0);
    for (row, fault, reason) in [
        ("Platform 503", r#"{"fault":"status","status":503}"#, "unavailable"),
        ("Platform 429", r#"{"fault":"status","status":429}"#, "throttled"),
        ("Platform 202", r#"{"fault":"status","status":202}"#, "unexpected_answer"),
        ("connection reset", r#"{"fault":"reset","when":"before"}"#, "unavailable"),
    ] {
        let from = sink.log().len();
        let begun = Instant::now();
        pipeline.fault(fault);
        assert_eq!(pipeline.send(&event(&format!("{row} {reason}"))), 202);
        reported(&sink, "sink", row, begun, from, reason);
        assert!(sink.is_ready(), "the sink stays ready while it waits for Platform");
        pipeline.clear_faults();
        over(&sink, "sink", from, reason);
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_every_service_reports_that_kafka_does_not_respond() {
    let _alone = alone();
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
    // A request that was sent just before the fault counts as failed after five seconds.
    let begun = Instant::now() + UNANSWERED;
    for service in 0..3 {
        kafka.proxy(service).set(Fault::BlackHole);
    }
    for ((name, service), &from) in services.iter().zip(&from) {
        reported(service, name, "Kafka mute, idle", begun, from, "timeout");
    }
    for service in 0..3 {
        kafka.proxy(service).heal();
    }
    for ((name, service), &from) in services.iter().zip(&from) {
        over(service, name, from, "timeout");
        wait_until(&format!("{name} to be ready again"), OVER, || service.is_ready());
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_during_an_open_transaction_the_sink_reports_it_and_shows_lag_and_record_age() {
    let _alone = alone();
    let pipeline = Pipeline::with_partitions(shared_kafka(), "open-transaction", 1);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let sink = pipeline.sink();
    // Without an instance name, no successor can end the transaction. The brokers end it after 60 s.
    let changes = [
        ("TRANSFORMER_INSTANCE", ""),
        ("TRANSFORMER_COMMIT_INTERVAL", "30s"),
        ("TRANSFORMER_TRANSACTION_TIMEOUT", "60s"),
    ];
    let mut transformer =
        Process::start("transformer", &with(pipeline.transformer_variables(), &changes), Some(free_port()));
    for number in 0..3 {
        assert_eq!(pipeline.send(&event(&format!("open-{number}"))), 202);
    }
    let topics = Topics::new(&shared_kafka().connection()).unwrap();
    let typed = || topics.watermarks(&pipeline.topic("typed"), Partition(0), TIMEOUT).unwrap().high.0;
    wait_until("uncommitted typed records", OVER, || typed() >= 3);
    let from = sink.log().len();
    transformer.kill();
    wait_until("the lag and the age of what waits", OVER, || {
        sink.metric("customerio_kafka_consumer_lag_records") >= 3.0
            && sink.metric("customerio_sink_oldest_unsettled_seconds") > 0.0
    });
    wait_until("the open transaction to be reported", OVER, || {
        waits(&sink, "sink", "open_transaction") && line(&sink, from, "open_transaction").is_some()
    });
    let line = line(&sink, from, "open_transaction").unwrap();
    let place = format!("a transaction in {}[0] has been open at offset 0", pipeline.topic("typed"));
    assert!(line.contains(&place) && line.contains("kafka-transactions.sh"), "{line}");
}
