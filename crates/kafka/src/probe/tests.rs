use prometheus::Registry;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use service::{Readiness, Ready, Waiting};

use super::*;

struct Setting {
    registry: Registry,
    metrics: ConsumerMetrics,
    probe: Probe,
    waiting: Waiting,
    readiness: Readiness,
}

fn setting(bootstrap: &str) -> Setting {
    let topic: TopicName = "input".parse().unwrap();
    let (registry, readiness) = (Registry::new(), Readiness::default());
    readiness.set_ready();
    let waiting = Waiting::register("test", &registry, &readiness).unwrap();
    let health = KafkaHealth::new(&waiting, Ready::Depends);
    let metrics = ConsumerMetrics::register(&registry, "test", "the gateway", &topic).unwrap();
    let connection = Connection::plaintext(bootstrap, "test");
    let probe = Probe::of_reader(&connection, &topic, &health, &metrics).unwrap();
    Setting { registry, metrics, probe, waiting, readiness }
}

fn value(registry: &Registry, line: &str) -> Option<f64> {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn the_probe_shows_lag_and_age_of_unprocessed_records_without_a_reader() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("input", 2, 1).unwrap();
    let producer: BaseProducer = Connection::plaintext(&cluster.bootstrap_servers(), "test").config().create().unwrap();
    let old = service::unix_millis() - 90_000;
    for _ in 0..5 {
        let record = BaseRecord::<(), [u8]>::to("input").partition(1).payload(b"value").timestamp(old);
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    let Setting { registry, metrics, mut probe, .. } = setting(&cluster.bootstrap_servers());
    metrics.processed_to(Position::new(0, 0));
    metrics.processed_to(Position::new(1, 2));
    let oldest = "customerio_test_oldest_unsettled_seconds";
    let lag = |partition| {
        let line = format!("customerio_kafka_consumer_lag_records{{partition=\"{partition}\",topic=\"input\"}}");
        value(&registry, &line)
    };
    probe.ask().unwrap();
    assert_eq!((lag(0), lag(1)), (Some(0.0), Some(3.0)));
    assert_eq!(value(&registry, "customerio_kafka_partitions{topic=\"input\"}"), Some(2.0));
    assert_eq!(value(&registry, oldest), Some(0.0), "no earlier check has seen these records");
    probe.ask().unwrap();
    let age = value(&registry, oldest).unwrap();
    assert!((90.0..120.0).contains(&age), "{age}");
    metrics.processed_to(Position::new(1, 5));
    probe.ask().unwrap();
    assert_eq!((lag(1), value(&registry, oldest)), (Some(0.0), Some(0.0)));
    metrics.forget(Partition(1));
    probe.ask().unwrap();
    assert_eq!((lag(0), lag(1)), (Some(0.0), None), "another member reports the lag");
}

#[test]
fn the_age_of_the_oldest_record_counts_from_its_received_at_header_or_else_its_timestamp() {
    for has_header in [true, false] {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("input", 1, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let producer: BaseProducer = connection.config().create().unwrap();
        let old = service::unix_millis() - 90_000;
        let text = old.to_string();
        let record = BaseRecord::<(), [u8]>::to("input").partition(0).payload(b"value");
        let record = if has_header {
            record.headers(OwnedHeaders::new().insert(Header { key: header::RECEIVED_AT, value: Some(&text) }))
        } else {
            record.timestamp(old)
        };
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
        let Setting { registry, metrics, mut probe, .. } = setting(&cluster.bootstrap_servers());
        metrics.processed_to(Position::new(0, 0));
        probe.ask().unwrap();
        probe.ask().unwrap();
        let age = value(&registry, "customerio_test_oldest_unsettled_seconds").unwrap();
        assert!((90.0..120.0).contains(&age), "{has_header}: {age}");
    }
}

#[test]
fn an_outage_is_reported_although_no_record_is_read_or_written() {
    // No process listens on port 1.
    let Setting { registry, probe, waiting, readiness, .. } = setting("127.0.0.1:1");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    runtime.spawn(waiting.watch(stop.clone()));
    let stopped = stop.clone();
    let asking = std::thread::spawn(move || probe.run(&stopped));
    let started = Instant::now();
    while value(&registry, "customerio_test_waiting{reason=\"unavailable\"}") != Some(1.0) {
        assert!(started.elapsed() < Duration::from_secs(10), "the outage was not reported");
        std::thread::sleep(Duration::from_millis(50));
    }
    while readiness.unready_reason().is_none() {
        assert!(started.elapsed() < Duration::from_secs(25), "ready without a broker");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(started.elapsed() > Duration::from_secs(13), "a short outage does not take the service out of rotation");
    stop.cancel();
    asking.join().unwrap().unwrap();
}
