//! One service loses its brokers while everything else continues: a proxy between this service and the brokers cuts the
//! connections or drops their bytes.

use std::time::{Duration, Instant};

use contract::Partition;
use e2e::accounting::{Topics, accepted, assert_accepted};
use e2e::foreign::hold_offsets;
use e2e::pipeline::{Load, Pipeline, Variables, shared_kafka, through, with};
use e2e::process::Process;
use e2e::proxy::{Direction, Fault, Proxy};
use e2e::real_kafka::{Cluster, RealKafka};
use e2e::sender::event;
use e2e::turn::alone;
use e2e::watch::{Watch, Window};
use e2e::{free_port, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// `session.timeout.ms` of the services' consumers.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Maximum time until a service works again once its network is back.
const BACK: Duration = Duration::from_secs(15);

/// Maximum time of a stop without a network. Work that is in progress is given up after ten seconds.
const STOP: Duration = Duration::from_secs(20);

/// Time for which a transaction of another process holds offsets. It exceeds the transaction timeout of the tested
/// process.
const HELD: Duration = Duration::from_secs(25);

/// Sender's options for a load without duplicates, because the dedup windows are too small to recognise them.
const NO_DUPLICATES: [&str; 2] = ["--duplicates", "0"];

fn dice() -> fastrand::Rng {
    let seed = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("E2E_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn start(service: &str, variables: &Variables) -> Process {
    Process::start(service, variables, Some(free_port()))
}

/// Returns the variables of a transformer with this `TRANSFORMER_INSTANCE` and these changes.
fn transformer(pipeline: &Pipeline, instance: &str, changes: &[(&'static str, &str)]) -> Variables {
    let named = with(pipeline.transformer_variables(), &[("TRANSFORMER_INSTANCE", instance)]);
    with(named, changes)
}

fn processed(transformer: &Process) -> f64 {
    transformer.metric("customerio_transformer_records_total")
}

/// Waits until every raw record has an outcome, or until [`SOON`] has passed. Returns the content of the topics.
fn outcomes(kafka: &RealKafka, pipeline: &Pipeline) -> Topics {
    let deadline = Instant::now() + SOON;
    loop {
        let topics = Topics::read(&kafka.connection(), pipeline);
        if topics.balance(&pipeline.topic("raw")).unexplained.is_empty() || Instant::now() >= deadline {
            return topics;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Checks that every acknowledged event is stored, and that each raw record is typed exactly once.
fn assert_typed_exactly_once(kafka: &RealKafka, pipeline: &Pipeline, load: Load) {
    let ids = load.finish(SOON * 4);
    let topics = outcomes(kafka, pipeline);
    topics.assert_stored(&ids);
    assert!(topics.dead_letters.is_empty(), "{:?}", topics.dead_letters.first());
    if topics.raw.len() == ids.len() {
        topics.assert_exactly_once(pipeline);
    } else {
        // The gateway was slow, and a webhook was sent again. A dedup window with one id does not recognise the repeat.
        let balance = topics.balance(&pipeline.topic("raw"));
        assert!(balance.doubled.is_empty() && balance.unexplained.is_empty(), "{balance:?}");
    }
}

/// Drops all bytes of a proxy for this time.
fn black_hole(proxy: &Proxy, lasts: Duration) {
    proxy.set(Fault::BlackHole);
    std::thread::sleep(lasts);
    proxy.heal();
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_a_named_transformer_evicted_during_a_rebalance_writes_no_event_twice() {
    let _alone = alone();
    let mut dice = dice();
    let kafka = RealKafka::start(&Cluster { proxied: 1, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "evicted");
    let _gateway = pipeline.gateway();
    // A dedup window with one id does not recognise records that are read again, just as the default window does not
    // recognise older records.
    let tiny = [("TRANSFORMER_DEDUP_MAX_IDS", "1"), ("TRANSFORMER_COMMIT_INTERVAL", "1s")];
    let evicted = start("transformer", &through(kafka.proxy(0), transformer(&pipeline, "evicted", &tiny)));
    let mut load = pipeline.load_with(12_000, 100, &NO_DUPLICATES);
    wait_until("the transformer to work", SOON, || processed(&evicted) > 200.0);
    for round in 0..3 {
        // When the second transformer joins, the group rebalances. The first transformer loses its network before or
        // while it rejoins the group.
        let mut second = Process::spawn("transformer", &transformer(&pipeline, "second", &tiny), Some(free_port()));
        std::thread::sleep(Duration::from_millis(dice.u64(500..4_000)));
        black_hole(kafka.proxy(0), Duration::from_millis(dice.u64(12_000..18_000)));
        wait_until("the first one to have partitions again", SOON, || !evicted.partitions().is_empty());
        let before = processed(&evicted);
        assert_eq!(second.terminate(), Some(0), "round {round}");
        wait_until("the first one to process records again", SOON, || processed(&evicted) > before + 100.0);
        assert!(load.is_running(), "round {round} happens under load");
    }
    assert_typed_exactly_once(&kafka, &pipeline, load);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_a_named_transformer_continues_after_a_network_outage_longer_than_its_session() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster { proxied: 1, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "away");
    let _gateway = pipeline.gateway();
    let mut named = start("transformer", &through(kafka.proxy(0), pipeline.transformer_variables()));
    let load = pipeline.load_with(8_000, 100, &NO_DUPLICATES);
    wait_until("the transformer to work", SOON, || processed(&named) > 200.0);
    for fault in [Fault::BlackHole, Fault::Cut] {
        kafka.proxy(0).set(fault);
        std::thread::sleep(SESSION_TIMEOUT * 3 / 2);
        kafka.proxy(0).heal();
        let before = processed(&named);
        wait_until("the transformer to process records again", SOON, || {
            assert_eq!(named.ended(), None, "{fault:?} ended the transformer; its log:\n{}", named.log());
            processed(&named) > before + 100.0
        });
    }
    assert_typed_exactly_once(&kafka, &pipeline, load);
    assert_eq!(named.ended(), None);
}

/// Checks that Platform accepts all these ids and that every service continues to run. If not, prints the progress of
/// the services. The first service must be the transformer.
fn assert_all_accepted(kafka: &RealKafka, pipeline: &Pipeline, ids: &[String], services: &mut [Process]) {
    let deadline = Instant::now() + SOON;
    let is_missing = || {
        let accepted = accepted(pipeline);
        ids.iter().any(|id| !accepted.contains_key(id))
    };
    while is_missing() {
        for service in &mut *services {
            assert_eq!(service.ended(), None, "a service has ended; its log:\n{}", service.log());
        }
        if Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        let topics = Topics::read(&kafka.connection(), pipeline);
        let client = kafka::topic::Topics::new(&kafka.connection()).unwrap();
        let typed = pipeline.topic("typed");
        let ends =
            (0..pipeline.partitions).map(|number| client.watermarks(&typed, Partition(number), SOON).unwrap().high.0);
        let (raw, committed, written) = (topics.raw.len(), topics.typed.len(), ends.sum::<i64>());
        let processed = processed(&services[0]);
        println!("{raw} raw records, {processed} processed, {committed} typed and committed, {written} typed offsets");
        break;
    }
    assert_accepted(pipeline, ids, Duration::ZERO);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_no_service_ends_because_of_a_broker_restart() {
    let _alone = alone();
    let mut dice = dice();
    let mut kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::new(&kafka, "restarts");
    let _simulator = pipeline.simulator();
    let mut services = [pipeline.transformer(), pipeline.gateway(), pipeline.sink()];
    let mut ids = Vec::new();
    for round in 0..4 {
        ids.extend(pipeline.load(500, 500).finish(SOON));
        assert_all_accepted(&kafka, &pipeline, &ids, &mut services);
        let away = Duration::from_millis(dice.u64(500..15_000));
        println!("round {round}: the broker is away for {away:.1?}");
        kafka.stop_broker();
        std::thread::sleep(away);
        kafka.start_broker();
        wait_until("202 again", SOON, || pipeline.send(&event(&format!("restarts-{round}"))) == 202);
        ids.extend(pipeline.load(500, 500).finish(SOON));
        assert_all_accepted(&kafka, &pipeline, &ids, &mut services);
    }
    for service in &mut services {
        assert_eq!(service.ended(), None, "a broker restart ended a service; its log:\n{}", service.log());
    }
    outcomes(&kafka, &pipeline).assert_exactly_once(&pipeline);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p5_after_a_network_outage_a_sink_delivers_from_every_partition_within_15_s() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster { proxied: 1, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "sink-away");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let mut sink = start("sink", &through(kafka.proxy(0), pipeline.sink_variables()));
    let mut ids = pipeline.load(500, 500).finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    for (round, fault) in [Fault::BlackHole, Fault::Cut].into_iter().enumerate() {
        kafka.proxy(0).set(fault);
        std::thread::sleep(SESSION_TIMEOUT * 2);
        kafka.proxy(0).heal();
        let healed = Instant::now();
        // Forty persons are enough for events in every partition.
        let new: Vec<_> = (0..40).map(|number| format!("sink-away-{round}-{number}")).collect();
        for id in &new {
            assert_eq!(pipeline.send(&event(id)), 202);
        }
        assert_accepted(&pipeline, &new, BACK.saturating_sub(healed.elapsed()));
        println!("{fault:?}: accepted from every partition {:.1?} after the network was back", healed.elapsed());
        assert_eq!(sink.ended(), None, "{fault:?} ended the sink; its log:\n{}", sink.log());
        ids.extend(new);
    }
    assert_accepted(&pipeline, &ids, SOON);
}

/// Returns the services with their variables, all behind the first proxy.
fn behind_the_proxy(kafka: &RealKafka, pipeline: &Pipeline) -> [(&'static str, Variables); 3] {
    // In some tests, another gateway uses the port of the pipeline.
    let listen = format!("127.0.0.1:{}", free_port());
    [
        ("ingest-gateway", with(pipeline.gateway_variables(), &[("GATEWAY_LISTEN", &listen)])),
        ("transformer", with(pipeline.transformer_variables(), &[("TRANSFORMER_INSTANCE", "")])),
        ("sink", pipeline.sink_variables()),
    ]
    .map(|(service, variables)| (service, through(kafka.proxy(0), variables)))
}

/// Network faults in which a service gets no response from the brokers.
const FAULTS: [Fault; 4] =
    [Fault::BlackHole, Fault::OneWay(Direction::ToServer), Fault::OneWay(Direction::ToClient), Fault::Cut];

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_a_service_started_without_network_is_ready_within_15_s_of_recovery() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster { proxied: 1, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "start-away");
    let _simulator = pipeline.simulator();
    let mut late = Vec::new();
    for (service, variables) in behind_the_proxy(&kafka, &pipeline) {
        for fault in FAULTS {
            kafka.proxy(0).set(fault);
            let mut process = Process::spawn(service, &variables, Some(free_port()));
            std::thread::sleep(Duration::from_secs(8));
            kafka.proxy(0).heal();
            let healed = Instant::now();
            while !process.is_ready() && healed.elapsed() < SOON && process.is_running() {
                std::thread::sleep(Duration::from_millis(100));
            }
            let took = healed.elapsed();
            println!("{service} started in {fault:?}: ready {took:.1?} after the network was back");
            if took > BACK || !process.is_running() {
                late.push(format!("{service}, {fault:?}: {took:.1?}\n{}", process.log()));
            }
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_a_service_without_network_stops_within_20_s() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster { proxied: 1, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "stop-away");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    // Under this load, the transformer and the sink always have offsets to commit.
    let _load = pipeline.load_with(100_000, 200, &NO_DUPLICATES);
    let mut late = Vec::new();
    for (service, variables) in behind_the_proxy(&kafka, &pipeline) {
        for fault in FAULTS {
            // The fault begins before the service starts, or while it works.
            for works in [false, true] {
                if !works {
                    kafka.proxy(0).set(fault);
                }
                let mut process = Process::spawn(service, &variables, Some(free_port()));
                if works {
                    wait_until("the service to be ready", SOON, || process.is_ready());
                    std::thread::sleep(Duration::from_secs(2));
                    kafka.proxy(0).set(fault);
                }
                std::thread::sleep(Duration::from_secs(2));
                let asked = Instant::now();
                let code = process.terminate();
                let took = asked.elapsed();
                kafka.proxy(0).heal();
                println!("{service}, {fault:?}, at work {works}: ended with {code:?} after {took:.1?}");
                if code != Some(0) || took > STOP {
                    late.push(format!("{service}, {fault:?}, at work {works}: {code:?} {took:.1?}\n{}", process.log()));
                }
            }
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p5_a_partition_revoked_while_the_buffer_was_full_is_read_after_its_next_assignment() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "full");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let small = [("SINK_BATCH_MAX_BYTES", "20KiB"), ("SINK_BUFFER_BYTES", "80KiB")];
    let sink = || start("sink", &with(pipeline.sink_variables(), &small));
    let first = sink();
    let mut ids = pipeline.load(100, 500).finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    pipeline.fault(r#"{"fault": "status", "status": 503, "seconds": 600}"#);
    ids.extend(pipeline.load(1_000, 1_000).finish(SOON));
    let connection = shared_kafka().connection();
    wait_until("more to be typed than the budget holds", SOON, || {
        Topics::read(&connection, &pipeline).typed.len() >= 1_100
    });
    let all = usize::try_from(pipeline.partitions).unwrap();
    wait_until("the first sink to have all partitions", SOON, || first.partitions().len() == all);
    let mut second = sink();
    wait_until("the second sink to have partitions", SOON, || {
        !second.partitions().is_empty() && first.partitions().len() < all
    });
    pipeline.clear_faults();
    assert_accepted(&pipeline, &ids, SOON);
    assert_eq!(second.terminate(), Some(0));
    wait_until("the first sink to have all partitions again", SOON, || first.partitions().len() == all);
    let new = pipeline.load(400, 400).finish(SOON);
    assert_accepted(&pipeline, &new, SOON);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_a_transformer_that_waits_for_committed_offsets_keeps_processing_its_other_partitions() {
    let _alone = alone();
    let kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::new(&kafka, "assigned");
    let _gateway = pipeline.gateway();
    let changes = [
        ("TRANSFORMER_WORKERS", "1"),
        ("TRANSFORMER_COMMIT_INTERVAL", "1s"),
        ("TRANSFORMER_TRANSACTION_TIMEOUT", "5s"),
    ];
    let first = start("transformer", &transformer(&pipeline, "first", &changes));
    let load = pipeline.load_with(100_000, 200, &NO_DUPLICATES);
    wait_until("the first transformer to work", SOON, || processed(&first) > 200.0);
    let mut second = start("transformer", &transformer(&pipeline, "", &changes));
    wait_until("each of them to have partitions", SOON, || {
        first.partitions().len() == 2 && second.partitions().len() == 2 && processed(&second) > 100.0
    });
    let (stay, move_on) = (first.partitions(), second.partitions());
    let watch = Watch::start(&kafka.connection(), &pipeline.topic("typed"));
    // A transaction of another process contains offsets of the second transformer's partitions, which the first
    // transformer gets next.
    let held: Vec<i32> = move_on.into_iter().collect();
    let group = format!("{}-transformer", pipeline.name);
    hold_offsets(kafka.bootstrap(), &group, &pipeline.topic("raw"), &held, HELD);
    let begun = watch.now();
    assert_eq!(second.terminate(), Some(0));
    wait_until("a report of the transaction", HELD, || {
        first.metric("customerio_transformer_waiting{reason=\"open_transaction\"}") == 1.0
            && first.log().contains(&format!("the committed offsets of group `{group}`"))
    });
    wait_until("the first transformer to have all partitions", SOON, || first.partitions().len() == 4);
    let window = Window::of_load(begun, watch.now(), 0);
    let arrivals = watch.finish();
    let stalls: Vec<_> = stay.iter().filter_map(|&partition| arrivals.longest_stall_of(partition, &window)).collect();
    stalls.iter().for_each(|stall| println!("longest stall of a partition that stayed: {stall}"));
    let log = first.log();
    assert!(!log.contains("building a new consumer and producer"), "its transaction timed out:\n{log}");
    assert!(stalls.iter().all(|stall| stall.lasted < SESSION_TIMEOUT), "{stalls:?}\n{log}");
    drop(load);
    outcomes(&kafka, &pipeline).assert_exactly_once(&pipeline);
}
