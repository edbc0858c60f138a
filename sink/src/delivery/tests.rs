//! Tests the delivery with a consumer on an embedded broker and with a simulated Platform.

use std::thread::JoinHandle;

use contract::{Offset, Position};
use kafka::Headers;
use kafka::consumer::{Consumer, ConsumerSettings};
use kafka::embedded::EmbeddedBroker;
use kafka::ledger::Ledgers;
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::{Header, header};
use kafka::start::FromBeginning;
use kafka::{KafkaError, KafkaHealth};
use platform::client::http_client;
use platform::{RecordVerdict, Verdict};
use platform_sim::{Fault, FaultKind, SimSettings, Simulator};
use prometheus::Registry;
use service::{Readiness, Ready, ServiceConfig, Waiting};
use settings::Variables;
use tokio_util::sync::CancellationToken;
use xdm::ExperienceEvent;
use xdm::avro::{Encoder, Framing};

use super::*;
use crate::config::Config;

fn settings(bootstrap: &str, inlet: &str, arguments: &[&str]) -> Settings {
    let sim = SimSettings::default();
    let base = [
        "sink".to_owned(),
        format!("--kafka-bootstrap-servers={bootstrap}"),
        format!("--platform-tenant={}", sim.tenant),
        format!("--platform-inlet-url={inlet}"),
        "--trial".to_owned(),
        format!("--platform-ims-org={}", sim.ims_org),
        format!("--platform-schema-id={}", sim.schema_id),
        format!("--platform-dataset-id={}", sim.dataset_id),
    ];
    let arguments = base.into_iter().chain(arguments.iter().map(|&argument| argument.to_owned()));
    Config::parse_with(&Variables::none(), arguments).unwrap().validate().unwrap()
}

fn consumer(settings: &Settings, stall_after: Duration) -> (ConsumerSettings, Metrics, ExternalWait) {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, &settings.input).unwrap();
    let external_wait = ExternalWait::default();
    let consumer = ConsumerSettings {
        connection: settings.connection.clone(),
        group: settings.group.clone(),
        input: settings.input.clone(),
        output: None,
        from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
        budget_bytes: settings.buffer_bytes,
        fetch_bytes: 1 << 20,
        commit_interval: Duration::from_millis(100),
        drain_timeout: Duration::from_secs(1),
        stall_after,
        external_wait: external_wait.clone(),
        metrics: metrics.consumer.clone(),
        health: KafkaHealth::new(&waiting(), Ready::Depends),
        readiness: Readiness::default(),
    };
    (consumer, metrics, external_wait)
}

fn waiting() -> Waiting {
    Waiting::register("sink", &Registry::new(), &Readiness::default()).unwrap()
}

fn delivery(
    settings: &Settings,
    metrics: Metrics,
    settler: Settler,
    external_wait: ExternalWait,
    partitions: usize,
) -> Delivery {
    let http = http_client(&settings.client).unwrap();
    let deps = DeliveryDeps {
        client: PlatformClient::new(&settings.client, http, None, Box::new(|_| {})).unwrap(),
        envelope: Envelope::new(&settings.envelope),
        journal: Journal::new(settings, KafkaHealth::new(&waiting(), Ready::Depends)).unwrap(),
        metrics,
        health: Health::new(&waiting()),
        settler,
        external_wait,
        holds: ExternalHolds::default(),
        partitions,
    };
    Delivery::new(settings, deps).unwrap()
}

fn typed(id: &str) -> Vec<u8> {
    let mut event = ExperienceEvent { id: id.into(), ..ExperienceEvent::default() };
    event.tenant.customerio.metric = "sent".into();
    let mut value = Vec::new();
    Encoder::new(Framing::SingleObject).unwrap().encode(&event, &mut value).unwrap();
    value
}

/// A running sink with its consumer thread and delivery task.
struct Running {
    thread: JoinHandle<Result<(), KafkaError>>,
    task: tokio::task::JoinHandle<Result<(), TaskError>>,
    stop: CancellationToken,
}

impl Running {
    fn start(settings: &Settings, stall_after: Duration, partitions: usize) -> Self {
        let (consumer_settings, metrics, external_wait) = consumer(settings, stall_after);
        let (consumer, records, settler) = Consumer::new(consumer_settings);
        let delivery = delivery(settings, metrics, settler, external_wait, partitions);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || consumer.run(&stopped));
        Self { thread, task: tokio::spawn(delivery.run(records)), stop }
    }

    /// Waits for a condition. Fails if the consumer ends before.
    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition() {
            assert!(!self.thread.is_finished(), "the consumer has ended");
            assert!(Instant::now() < deadline, "waited for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) -> Result<(), KafkaError> {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.thread.join().unwrap()
    }
}

/// Topics with typed records, and a simulated Platform.
struct World {
    settings: Settings,
    simulator: Simulator,
    /// Keeps the broker alive, because the topics disappear with it.
    _broker: EmbeddedBroker,
}

impl World {
    async fn with(partitions: i32, records: i32, arguments: &[&str]) -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        let open = SimSettings { credential: None, ..SimSettings::default() };
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), open).await.unwrap();
        let settings = settings(&broker.bootstrap(), &simulator.inlet_url(), arguments);
        for topic in [&settings.input, &settings.dead_letters, settings.receipts.as_ref().unwrap()] {
            broker.create_topic(topic, partitions).unwrap();
        }
        let (producer, topic) = (producer(&settings), &settings.input);
        for index in 0..records {
            let (id, partition) = (format!("event-{index}"), index % partitions);
            let headers = Headers::with_capacity(1).with(header::EVENT_ID, id.as_bytes());
            let value = typed(&id);
            let record =
                NewRecord { topic, partition: Some(Partition(partition)), key: None, value: Some(&value), headers };
            producer.send(record, ()).unwrap().await.unwrap();
        }
        Self { settings, simulator, _broker: broker }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_rate_limit_with_a_backlog_in_several_partitions_is_not_a_stall() {
    let arguments = ["--max-records-per-second=2", "--batch-max-records=1", "--batch-linger=10ms"];
    let world = World::with(6, 12, &arguments).await;
    // At two records per second, each partition waits three seconds for its next turn: longer than `stall_after`.
    let sink = Running::start(&world.settings, Duration::from_secs(2), 6);
    sink.until("all records to be accepted", || world.simulator.accepted().len() == 12).await;
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_because_of_retry_after_is_not_a_stall() {
    let world = World::with(2, 4, &[]).await;
    let kind = FaultKind::Status { status: 503, retry_after: Some(5), date: false, body: None };
    world.simulator.add_fault(Fault { kind, requests: Some(1), seconds: None });
    let sink = Running::start(&world.settings, Duration::from_secs(2), 2);
    sink.until("all records to be accepted", || world.simulator.accepted().len() == 4).await;
    assert!(world.simulator.stats().requests.contains_key(&503));
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_stops_the_consumer_as_stalled() {
    let world = World::with(2, 2, &[]).await;
    world.simulator.add_fault(Fault { kind: FaultKind::Delay { millis: 600_000 }, requests: None, seconds: None });
    let sink = Running::start(&world.settings, Duration::from_secs(1), 2);
    // The consumer must end before the request's timeout of 30 s.
    let deadline = Instant::now() + Duration::from_secs(25);
    while !sink.thread.is_finished() {
        assert!(Instant::now() < deadline, "waited for the consumer to end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = sink.thread.join().unwrap().unwrap_err();
    assert!(matches!(&error, KafkaError::Stalled { offset: Offset(0), .. }), "{error}");
    sink.task.abort();
}

fn producer(settings: &Settings) -> DurableProducer<()> {
    let producer = ProducerSettings {
        delivery_timeout: Duration::from_secs(10),
        linger: Duration::ZERO,
        max_record_bytes: 1_000_000,
        queue_bytes: 1 << 24,
    };
    DurableProducer::new(&settings.connection, &producer).unwrap()
}

/// Returns the partitions of the records in the next batch, and accepts that batch.
fn next_batch(delivery: &mut Delivery, now: Instant) -> Vec<Partition> {
    delivery.fill(now);
    let Next::Send(sending) = delivery.dispatch.next(now) else { panic!("there is a batch to send") };
    let partitions = sending.items().iter().map(|item| item.claim.partition).collect();
    let records = sending.items().iter().map(|_| RecordVerdict::Accepted { xaction_id: None }).collect();
    delivery.dispatch.answered(sending, Verdict::Records { inlet_id: None, batch_id: None, records }, now, 0.5);
    partitions
}

#[tokio::test]
async fn a_record_is_sent_within_two_batches_despite_the_backlog_of_another_partition() {
    let settings = settings("127.0.0.1:1", "http://127.0.0.1:1/collection/inlet", &["--max-records-per-second=0"]);
    let (consumer_settings, metrics, external_wait) = consumer(&settings, Duration::from_secs(300));
    let (_consumer, _records, settler) = Consumer::new(consumer_settings);
    let mut delivery = delivery(&settings, metrics, settler, external_wait, 2);
    let mut ledgers = Ledgers::default();
    for partition in 0..2 {
        ledgers.assign(Position::new(partition, 0));
    }
    let value = typed("event");
    let mut feed = |delivery: &mut Delivery, partition, offset| {
        let position = Position::new(partition, offset);
        let claim = ledgers.charge(position, 1).unwrap().unwrap();
        let headers = [Header { name: header::EVENT_ID, value: Some(b"event") }];
        let record = PackedRecord::pack(position, None, &value, headers.iter().copied());
        assert!(delivery.take_in(Feed::Record(claim, record)));
    };
    (0..100_000).for_each(|offset| feed(&mut delivery, 0, offset));
    let now = Instant::now();
    for _ in 0..3 {
        assert_eq!(next_batch(&mut delivery, now), [Partition(0); 200]);
    }
    feed(&mut delivery, 1, 0);
    let batches = (1..).find(|_| next_batch(&mut delivery, now).contains(&Partition(1))).unwrap();
    assert!(batches <= 2, "the record was sent in batch {batches}");
}

#[tokio::test]
async fn no_request_is_started_while_an_operator_holds_the_sink() {
    let settings = settings("127.0.0.1:1", "http://127.0.0.1:1/collection/inlet", &["--batch-linger=0ms"]);
    let (consumer_settings, metrics, external_wait) = consumer(&settings, Duration::from_secs(300));
    let (_consumer, _records, settler) = Consumer::new(consumer_settings);
    let mut delivery = delivery(&settings, metrics, settler, external_wait, 1);
    let operator = service::OperatorHold::default();
    operator.offer();
    delivery.holds = ExternalHolds::new(operator.clone());
    let mut ledgers = Ledgers::default();
    ledgers.assign(Position::new(0, 0));
    let claim = ledgers.charge(Position::new(0, 0), 1).unwrap().unwrap();
    let headers = [Header { name: header::EVENT_ID, value: Some(b"event") }];
    let record = PackedRecord::pack(Position::new(0, 0), None, &typed("event"), headers.iter().copied());
    assert!(delivery.take_in(Feed::Record(claim, record)));
    operator.set(true);
    let now = Instant::now();
    let next = delivery.start(now);
    assert!(delivery.in_progress.is_empty() && next <= now + LOOK_AGAIN, "the hold is checked again within LOOK_AGAIN");
    operator.set(false);
    delivery.start(now + Duration::from_secs(1));
    assert_eq!(delivery.in_progress.len(), 1);
}

#[tokio::test]
async fn the_smallest_valid_sink_buffer_bytes_allows_four_requests_in_flight() {
    let sizes = ["--buffer-bytes=68KiB", "--batch-max-bytes=17KiB"];
    let arguments = [&sizes[..], &["--max-records-per-second=0", "--max-requests-per-second=0"]].concat();
    let settings = settings("127.0.0.1:1", "http://127.0.0.1:1/collection/inlet", &arguments);
    let (consumer_settings, metrics, external_wait) = consumer(&settings, Duration::from_secs(300));
    let (_consumer, _records, settler) = Consumer::new(consumer_settings);
    let mut delivery = delivery(&settings, metrics, settler, external_wait, 1);
    let (mut ledgers, value) = (Ledgers::default(), typed("event"));
    ledgers.assign(Position::new(0, 0));
    for offset in 0..1_000 {
        let position = Position::new(0, offset);
        let claim = ledgers.charge(position, 1).unwrap().unwrap();
        let headers = [Header { name: header::EVENT_ID, value: Some(b"event") }];
        let record = PackedRecord::pack(position, None, &value, headers.iter().copied());
        assert!(delivery.take_in(Feed::Record(claim, record)));
    }
    // No request gets a response in this test.
    let now = Instant::now();
    for _ in 0..10 {
        delivery.start(now);
    }
    assert!(delivery.in_progress.len() >= 4, "{} requests", delivery.in_progress.len());
}
