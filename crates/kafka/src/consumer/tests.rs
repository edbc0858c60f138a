//! Tests the consumer on librdkafka's mock cluster: budget, rebalances, rebuilds, stalls, failed commits. The tests of
//! the ledger and the end-to-end tests on a real Kafka cover the committed offsets.

use std::thread::JoinHandle;

use contract::Offset;
use prometheus::Registry;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use service::{Ready, Waiting};

use super::*;
use crate::producer::{DurableProducer, NewRecord, ProducerSettings};
use crate::record::Headers;
use crate::start::FromBeginning;
use crate::topic::Topics;

const SOON: Duration = Duration::from_secs(30);

struct Kafka(MockCluster<'static, DefaultProducerContext>, Topics);

impl Kafka {
    fn start(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("typed", partitions, 1).unwrap();
        let topics = Topics::new(&Connection::plaintext(&cluster.bootstrap_servers(), "test")).unwrap();
        Self(cluster, topics)
    }

    fn connection(&self) -> Connection {
        Connection::plaintext(&self.0.bootstrap_servers(), "test")
    }

    async fn produce(&self, partition: Partition, count: usize, bytes: usize) {
        let settings = ProducerSettings {
            delivery_timeout: Duration::from_secs(10),
            linger: Duration::ZERO,
            max_record_bytes: 1_000_000,
            queue_bytes: 1 << 24,
        };
        let producer = DurableProducer::new(&self.connection(), &settings).unwrap();
        let topic: TopicName = "typed".parse().unwrap();
        let value = vec![7; bytes];
        for _ in 0..count {
            let headers = Headers::with_capacity(0);
            let record =
                NewRecord { topic: &topic, partition: Some(partition), key: None, value: Some(&value), headers };
            producer.send(record, ()).unwrap().await.unwrap();
        }
    }

    /// The group's committed offset in a partition.
    fn committed(&self, partition: Partition) -> Option<i64> {
        self.1.committed("group", &"typed".parse().unwrap(), SOON).unwrap().get(&partition).map(|offset| offset.0)
    }
}

/// A running consumer.
struct Running {
    records: mpsc::UnboundedReceiver<Feed>,
    settler: Settler,
    external_wait: ExternalWait,
    stop: CancellationToken,
    thread: JoinHandle<Result<(), KafkaError>>,
    registry: Registry,
    claims: Vec<Claim>,
    /// Partitions that were reported as revoked.
    revoked: Vec<Partition>,
    assigned: usize,
    stopping: bool,
}

impl Running {
    fn start(kafka: &Kafka, change: impl FnOnce(&mut ConsumerSettings)) -> Self {
        let registry = Registry::new();
        let input: TopicName = "typed".parse().unwrap();
        let external_wait = ExternalWait::default();
        let mut settings = ConsumerSettings {
            connection: kafka.connection(),
            group: "group".to_owned(),
            metrics: ConsumerMetrics::register(&registry, "test", "the gateway", &input).unwrap(),
            health: KafkaHealth::new(
                &Waiting::register("test", &registry, &Readiness::default()).unwrap(),
                Ready::Depends,
            ),
            input,
            output: None,
            from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
            budget_bytes: 1 << 20,
            fetch_bytes: 1 << 20,
            commit_interval: Duration::from_millis(50),
            drain_timeout: Duration::from_millis(300),
            stall_after: Duration::from_secs(300),
            external_wait: external_wait.clone(),
            readiness: Readiness::default(),
        };
        change(&mut settings);
        let (consumer, records, settler) = Consumer::new(settings);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || consumer.run(&stopped));
        Self {
            records,
            settler,
            external_wait,
            stop,
            thread,
            registry,
            claims: Vec::new(),
            revoked: Vec::new(),
            assigned: 0,
            stopping: false,
        }
    }

    /// Receives all messages that have arrived.
    fn take_in(&mut self) {
        while let Ok(feed) = self.records.try_recv() {
            match feed {
                Feed::Record(claim, _) => self.claims.push(claim),
                Feed::Revoking(partitions) => self.revoked.extend(partitions),
                Feed::Assigned(partitions) => self.assigned = partitions,
                Feed::Stopping => self.stopping = true,
            }
        }
    }

    /// Receives messages until `condition` holds.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            self.take_in();
            if condition(self) {
                return;
            }
            let commits = self.metric("customerio_kafka_commit_failures_total");
            assert!(
                Instant::now() < deadline,
                "waited for {what}; {} records, {commits} failed commits",
                self.claims.len()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Receives messages until no record has arrived for 1.5 s.
    fn until_quiet(&mut self) {
        let (mut before, mut since) = (self.claims.len(), Instant::now());
        self.until("quiet", |running| {
            if running.claims.len() != before {
                (before, since) = (running.claims.len(), Instant::now());
            }
            since.elapsed() > Duration::from_millis(1500)
        });
    }

    /// Receives messages for this long. The consumer must not end during that time.
    fn until_passed(&mut self, time: Duration) {
        let since = Instant::now();
        self.until("time to pass", |running| {
            assert!(!running.thread.is_finished(), "the consumer has ended");
            since.elapsed() > time
        });
    }

    fn settle_all(&mut self) {
        self.settler.settle(std::mem::take(&mut self.claims));
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        metrics.map(|metric| metric.get_counter().get_value()).sum()
    }

    fn stop(self) -> Result<(), KafkaError> {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_neither_exceeds_the_byte_budget_nor_leaves_a_partition_paused() {
    let kafka = Kafka::start(2);
    kafka.produce(Partition(0), 60, 10_000).await;
    kafka.produce(Partition(1), 60, 10_000).await;
    let mut one = Running::start(&kafka, |settings| settings.budget_bytes = 200_000);
    one.until("the first records", |one| !one.claims.is_empty());
    one.until_quiet();
    // During the pause, polling also returns no records that were already in librdkafka's queue.
    let read = one.claims.len();
    assert!((20..=22).contains(&read), "{read} records of 10 kB in a budget of 200 kB");
    // Another member gets a partition and reads it to its end.
    let mut other = Running::start(&kafka, |_| {});
    other.until("its partition", |other| {
        one.take_in();
        !other.claims.is_empty()
    });
    let left = other.claims[0].partition;
    let kept = Partition(1 - left.0);
    assert_eq!(one.revoked, [left]);
    other.until("the end of its partition", |other| {
        other.settle_all();
        kafka.committed(left) == Some(60)
    });
    one.claims.retain(|claim| claim.partition == kept);
    one.until_quiet();
    assert!((20..=22).contains(&one.claims.len()), "{} records", one.claims.len());
    // Two settled records free less than a quarter of the budget, so the partitions stay paused. Then the other member
    // stops, and its partition, which has no unread records, is assigned to this member again.
    let settled = one.claims.drain(..2).collect();
    one.settler.settle(settled);
    one.until_quiet();
    assert!((18..=20).contains(&one.claims.len()), "still paused: {} records", one.claims.len());
    other.stop().unwrap();
    one.until("both partitions", |one| one.assigned == 2);
    one.until_quiet();
    assert!((18..=20).contains(&one.claims.len()), "still paused: {} records", one.claims.len());
    kafka.produce(left, 60, 10_000).await;
    one.until_quiet();
    assert!((18..=20).contains(&one.claims.len()), "the new partition is paused as well: {} records", one.claims.len());
    // From here on, each record is settled as it arrives, so every record of both partitions arrives.
    one.until("the end of both partitions", |one| {
        one.settle_all();
        kafka.committed(left) == Some(120) && kafka.committed(kept) == Some(60)
    });
    one.stop().unwrap();
}

/// A resume includes a seek: without it, librdkafka's broker threads notice the resume up to a second later.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_read_through_a_small_budget_without_long_gaps() {
    const RECORDS: i64 = 400;
    let kafka = Kafka::start(4);
    for partition in Partition::all(4) {
        kafka.produce(partition, 400, 1_000).await;
    }
    let mut running = Running::start(&kafka, |settings| settings.budget_bytes = 100_000);
    // Settles the first half so slowly that the partitions are paused every time, and the second half at once.
    let (mut read, mut gaps) = (0, Vec::new());
    while read < 2 * RECORDS {
        running.until("the budget to be used up", |running| running.claims.len() >= 80);
        running.until_passed(Duration::from_millis(300));
        read += i64::try_from(running.claims.len()).unwrap();
        running.settle_all();
        let since = Instant::now();
        running.until("the next record", |running| !running.claims.is_empty());
        gaps.push(since.elapsed());
    }
    gaps.sort();
    assert!(gaps.len() >= 6 && gaps[gaps.len() / 2] < Duration::from_millis(400), "{gaps:?}");
    let since = Instant::now();
    running.until("the end of all partitions", |running| {
        running.settle_all();
        Partition::all(4).all(|partition| kafka.committed(partition) == Some(RECORDS))
    });
    let took = since.elapsed();
    assert!(
        took < Duration::from_secs(6),
        "800 records took {took:?}; with a gap of a second after every 100 it would be 8 s"
    );
    running.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_consumer_ignores_claims_of_the_previous_client() {
    let kafka = Kafka::start(1);
    kafka.produce(Partition(0), 5, 10).await;
    let mut running = Running::start(&kafka, |_| {});
    running.until("all records", |running| running.claims.len() == 5);
    let old = std::mem::take(&mut running.claims);
    // Settling a claim twice breaks a rule of the ledger: the consumer reports all its partitions as revoked, and
    // builds a new client.
    running.settler.settle(vec![old[4], old[4]]);
    running.until("all records again", |running| running.claims.len() == 5);
    assert_eq!(running.revoked, [Partition(0)]);
    // The work on the records of the previous client ends only now.
    running.settler.release(vec![old[0]]);
    running.settler.settle(old[1..4].to_vec());
    running.until("the stale completions to be counted", |running| {
        running.metric("customerio_kafka_stale_completions_total") == 4.0
    });
    assert_eq!(kafka.committed(Partition(0)), Some(0), "no record of the new client is settled yet");
    running.settle_all();
    running.until("all to be committed", |_| kafka.committed(Partition(0)) == Some(5));
    running.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_ends_the_consumer_unless_the_work_waits_for_an_external_system() {
    let kafka = Kafka::start(1);
    kafka.produce(Partition(0), 3, 10).await;
    let mut running = Running::start(&kafka, |settings| settings.stall_after = Duration::from_millis(500));
    running.external_wait.set(true);
    running.until("the records", |running| running.claims.len() == 3);
    running.settler.started(running.claims.clone());
    running.until_passed(Duration::from_millis(1500));
    running.external_wait.set(false);
    // Progress of the frontier restarts the stall clock.
    running.settler.settle(vec![running.claims.remove(0)]);
    running.until("the end", |running| running.thread.is_finished());
    let error = running.stop().unwrap_err();
    assert!(matches!(&error, KafkaError::Stalled { partition: Partition(0), offset: Offset(1), .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_in_which_every_record_waits_is_not_stalled() {
    let kafka = Kafka::start(2);
    kafka.produce(Partition(0), 3, 10).await;
    kafka.produce(Partition(1), 3, 10).await;
    let mut running = Running::start(&kafka, |settings| settings.stall_after = Duration::from_millis(500));
    running.until("the records", |running| running.claims.len() == 6);
    // No record of partition 0 is started. In partition 1 an attempt failed, and its records wait for the next attempt.
    let (waiting, deferred): (Vec<Claim>, Vec<Claim>) =
        running.claims.drain(..).partition(|claim| claim.partition == Partition(0));
    running.settler.started(deferred.clone());
    running.settler.deferred(deferred.clone());
    running.until_passed(Duration::from_millis(1500));
    running.settler.settle(deferred);
    running.settler.started(waiting.clone());
    running.settler.settle(waiting);
    running.until("all to be committed", |_| {
        kafka.committed(Partition(0)) == Some(3) && kafka.committed(Partition(1)) == Some(3)
    });
    running.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_is_counted_and_repeated() {
    let kafka = Kafka::start(1);
    kafka.produce(Partition(0), 3, 10).await;
    let mut running = Running::start(&kafka, |_| {});
    running.until("the records", |running| running.claims.len() == 3);
    let failure = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    kafka.0.request_errors(RDKafkaApiKey::OffsetCommit, &[failure; 3]);
    running.settle_all();
    running.until("the failures", |running| running.metric("customerio_kafka_commit_failures_total") >= 3.0);
    running.until("the commit", |_| kafka.committed(Partition(0)) == Some(3));
    let failures = running.metric("customerio_kafka_commit_failures_total");
    assert_eq!(failures, 3.0);
    running.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_commit_past_a_record_that_is_unsettled_at_the_drain_timeout() {
    let kafka = Kafka::start(1);
    kafka.produce(Partition(0), 3, 10).await;
    let mut running = Running::start(&kafka, |settings| settings.drain_timeout = Duration::from_millis(700));
    running.until("the records", |running| running.claims.len() == 3);
    let started = Instant::now();
    running.stop.cancel();
    running.until("the stop", |running| running.stopping);
    // The second record is not settled in time, so only the first one can be committed.
    running.settler.settle(vec![running.claims[0], running.claims[2]]);
    running.stop().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(kafka.committed(Partition(0)), Some(1));
}
