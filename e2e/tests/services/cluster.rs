//! Tests exactly-once processing while brokers are killed and coordinators move, and how long a reader waits after a
//! transformer is killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::accounting::{Topics, assert_accepted};
use e2e::pipeline::Pipeline;
use e2e::process::Process;
use e2e::real_kafka::{Cluster, FENCED_AFTER, RealKafka};
use e2e::turn::alone;
use e2e::watch::{Watch, Window};
use e2e::{free_port, wait_until};

const SOON: Duration = Duration::from_secs(60);

fn seed() -> u64 {
    let seed = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("E2E_SEED={seed}");
    seed
}

/// Checks that every acknowledged id is stored, typed exactly once, and accepted.
fn assert_nothing_lost(kafka: &RealKafka, pipeline: &Pipeline, ids: &[String]) {
    assert_accepted(pipeline, ids, SOON);
    let topics = Topics::read(&kafka.connection(), pipeline);
    topics.assert_stored(ids);
    topics.assert_exactly_once(pipeline);
    assert!(topics.dead_letters.is_empty(), "{:?}", topics.dead_letters.first());
}

/// Waits until every raw record has an outcome, for at most `timeout`. Returns the partitions with records that still
/// have no outcome.
fn outstanding_after(kafka: &RealKafka, pipeline: &Pipeline, timeout: Duration) -> BTreeSet<i32> {
    let deadline = Instant::now() + timeout;
    loop {
        let balance = Topics::read(&kafka.connection(), pipeline).balance(&pipeline.topic("raw"));
        if balance.unexplained.is_empty() || Instant::now() >= deadline {
            return balance.unexplained.into_iter().map(|(partition, _)| partition).collect();
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p1_p3_killing_brokers_in_turn_gives_only_202_or_503_and_loses_no_record() {
    let _alone = alone();
    let mut dice = fastrand::Rng::with_seed(seed());
    let mut kafka = RealKafka::start(&Cluster::of_three()).unwrap();
    let pipeline = Pipeline::new(&kafka, "brokers");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _sink = pipeline.sink();
    let watch = Watch::start(&kafka.connection(), &pipeline.topic("typed"));
    let begun = watch.now();
    let mut load = pipeline.load_with(24_000, 500, &["--concurrency", "1024"]);
    let mut brokers = [0, 1, 2];
    dice.shuffle(&mut brokers);
    for broker in brokers {
        std::thread::sleep(Duration::from_millis(dice.u64(2000..4000)));
        assert!(load.is_running(), "the load must outlast the kills");
        let killed = watch.now();
        kafka.kill(broker);
        std::thread::sleep(Duration::from_millis(dice.u64(500..5000)));
        kafka.restart(broker);
        kafka.wait();
        println!("broker {broker} killed at {killed:.1?}, back at {:.1?}", watch.now());
    }
    let until = watch.now();
    let sent = load.sent(Duration::from_secs(120));
    println!("answers {:?}", sent.answers);
    assert_eq!(sent.ids.len() as u64, sent.events, "an event was not acknowledged: {:?}", sent.answers);
    let others: Vec<_> = sent.answers.keys().filter(|status| !["202", "503"].contains(&status.as_str())).collect();
    assert!(others.is_empty(), "answers that are neither 202 nor 503: {others:?}");
    // A partition with records that have no outcome stalls until the watch ends, not only until the load ends.
    let outstanding = outstanding_after(&kafka, &pipeline, SOON);
    let load = Window::of_load(begun, until, pipeline.partitions).with_outstanding(outstanding, watch.now());
    if let Some(stall) = watch.finish().longest_stall(&load) {
        println!("longest stall of a reader: {stall}");
    }
    assert_nothing_lost(&kafka, &pipeline, &sent.ids);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_p4_records_of_a_timed_out_transaction_are_not_mistaken_for_duplicates() {
    let _alone = alone();
    let mut kafka = RealKafka::start(&Cluster { own_controller: true, ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::new(&kafka, "away");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _sink = pipeline.sink();
    let mut variables = pipeline.transformer_variables();
    variables.push(("TRANSFORMER_TRANSACTION_TIMEOUT", "5s".to_owned()));
    let transformer = Process::start("transformer", &variables, Some(free_port()));
    let load = pipeline.load(6_000, 500);
    wait_until("the transformer to work", SOON, || transformer.metric("customerio_transformer_records_total") > 1000.0);
    kafka.kill(0);
    wait_until("the transformer to replace its clients", SOON, || {
        transformer.log().contains("building a new consumer and producer")
    });
    std::thread::sleep(FENCED_AFTER);
    kafka.restart(0);
    let ids = load.finish(SOON * 2);
    assert_nothing_lost(&kafka, &pipeline, &ids);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn killing_a_transformer_right_after_an_assignment_leaves_no_partition_unread() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster::default()).unwrap();
    let pipeline = Pipeline::new(&kafka, "orphans");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _sink = pipeline.sink();
    let start = || Process::spawn("transformer", &pipeline.transformer_variables(), Some(free_port()));
    // The first worker to join gets all four partitions. When the second worker joins, the first one gives up two of
    // them at its next heartbeat. Each kill happens at about that time.
    let mut transformer = start();
    for _ in 0..3 {
        wait_until("the first worker to have its partitions", SOON, || {
            transformer.log().contains("partitions assigned")
        });
        transformer.kill();
        transformer = start();
    }
    let ids = pipeline.load(2_000, 500).finish(SOON);
    assert_nothing_lost(&kafka, &pipeline, &ids);
}

/// Kills the transformer `kills` times under load, and starts it again at once each time. Returns the time from each
/// kill until every partition of the typed topic had new records, and checks that no record is lost or duplicated.
fn stalls_after_kills(
    kafka: &RealKafka,
    test: &str,
    variables: &[(&'static str, &str)],
    kills: usize,
) -> Vec<Duration> {
    let mut dice = fastrand::Rng::with_seed(seed());
    let pipeline = Pipeline::new(kafka, test);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _sink = pipeline.sink();
    let start = || {
        let mut all = pipeline.transformer_variables();
        for (name, value) in variables {
            all.retain(|(known, _)| known != name);
            all.push((name, (*value).to_owned()));
        }
        Process::spawn("transformer", &all, Some(free_port()))
    };
    let mut transformer = start();
    wait_until("the transformer", SOON, || transformer.is_ready());
    let watch = Watch::start(&kafka.connection(), &pipeline.topic("typed"));
    let load = pipeline.load_with(600_000, 1000, &[]);
    wait_until("the transformer to work", SOON, || transformer.metric("customerio_transformer_records_total") > 1000.0);
    let mut stalls = Vec::new();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(dice.u64(500..2500)));
        transformer.kill();
        let killed = watch.now();
        transformer = start();
        let mut stall = None;
        wait_until("a reader to receive new records of every partition", SOON * 2, || {
            stall = watch.seen().all_again(killed);
            stall.is_some()
        });
        stalls.extend(stall);
    }
    drop(load);
    let topics = || Topics::read(&kafka.connection(), &pipeline);
    wait_until("every raw record to have its outcome", SOON, || {
        topics().balance(&pipeline.topic("raw")).unexplained.is_empty()
    });
    topics().assert_exactly_once(&pipeline);
    stalls
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_after_a_transformer_kill_readers_wait_at_most_transaction_timeout_plus_cleanup_interval() {
    let _alone = alone();
    // The brokers' default clean-up interval is 10 s.
    let kafka = RealKafka::start(&Cluster { transaction_cleanup: None, ..Cluster::default() }).unwrap();
    let unnamed = [("TRANSFORMER_INSTANCE", ""), ("TRANSFORMER_TRANSACTION_TIMEOUT", "10s")];
    let stalls = stalls_after_kills(&kafka, "unnamed", &unnamed, 2);
    println!("without TRANSFORMER_INSTANCE a reader waited {stalls:.1?}");
    // The last 4 s are the time that the new process needs to start, read, map and commit on a busy machine.
    let most = Duration::from_secs(10 + 10 + 4);
    assert!(stalls.iter().all(|stall| *stall <= most), "{stalls:.1?} where {most:?} are promised");
    assert!(
        stalls.iter().any(|stall| *stall > Duration::from_secs(5)),
        "no transaction was open at any kill: {stalls:.1?}"
    );
    let stalls = stalls_after_kills(&kafka, "named", &[("TRANSFORMER_TRANSACTION_TIMEOUT", "60s")], 4);
    println!("with TRANSFORMER_INSTANCE a reader waited {stalls:.1?}");
    // The killed process stays a member of the group until its session times out.
    let most = Duration::from_secs(6 + 4);
    assert!(stalls.iter().all(|stall| *stall <= most), "{stalls:.1?} where {most:?} are promised");
}
