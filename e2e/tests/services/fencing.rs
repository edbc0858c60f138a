//! If two transformers have the same name, or a transformer continues after a long pause, no record is lost or typed
//! twice.

use std::time::Duration;

use contract::Partition;
use e2e::accounting::Topics;
use e2e::pipeline::{Load, Pipeline, shared_kafka};
use e2e::process::{Process, Signal, signal};
use e2e::turn::alone;
use e2e::{free_port, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// Checks that nothing is lost or duplicated after the whole load is typed.
fn assert_exactly_once(pipeline: &Pipeline, load: Load) {
    let ids = load.finish(SOON * 2);
    let mut topics = None;
    wait_until("all to be typed", SOON * 2, || {
        let read = Topics::read(&shared_kafka().connection(), pipeline);
        let typed: std::collections::BTreeSet<_> = read.typed.iter().map(|(_, id)| id.clone()).collect();
        topics = Some(read);
        ids.iter().all(|id| typed.contains(id))
    });
    let topics = topics.unwrap();
    topics.assert_stored(&ids);
    topics.assert_exactly_once(pipeline);
    assert!(topics.dead_letters.is_empty());
}

fn short_transactions(pipeline: &Pipeline, instance: &str) -> Process {
    let mut variables = pipeline.transformer_variables();
    variables.retain(|(name, _)| *name != "TRANSFORMER_INSTANCE");
    variables.push(("TRANSFORMER_INSTANCE", instance.to_owned()));
    variables.push(("TRANSFORMER_TRANSACTION_TIMEOUT", "4s".to_owned()));
    Process::start("transformer", &variables, Some(free_port()))
}

#[test]
fn p3_the_older_of_two_transformers_with_one_name_exits_1_and_logs_the_reason() {
    let pipeline = Pipeline::new(shared_kafka(), "namesake");
    let _gateway = pipeline.gateway();
    let load = pipeline.load(6_000, 500);
    let mut older = pipeline.transformer();
    wait_until("the older one to work", SOON, || older.metric("customerio_transformer_records_total") > 200.0);
    let newer = pipeline.transformer();
    assert_eq!(older.wait(SOON), Some(1));
    let log = older.log();
    assert!(log.contains("another process has taken over") && log.contains("TRANSFORMER_INSTANCE"), "{log}");
    assert_exactly_once(&pipeline, load);
    assert!(newer.is_ready());
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_a_paused_transformer_exits_without_writing_after_another_took_its_name() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "zombie");
    let _gateway = pipeline.gateway();
    let load = pipeline.load(8_000, 500);
    let mut zombie = short_transactions(&pipeline, &pipeline.name);
    wait_until("the first transformer to work", SOON, || zombie.metric("customerio_transformer_records_total") > 200.0);
    signal(zombie.id(), Signal::STOP);
    let next = short_transactions(&pipeline, &pipeline.name);
    wait_until("the next one to work", SOON, || next.metric("customerio_transformer_records_total") > 500.0);
    signal(zombie.id(), Signal::CONT);
    assert_eq!(zombie.wait(SOON), Some(1), "{}", zombie.log());
    assert!(zombie.log().contains("another process has taken over"), "{}", zombie.log());
    assert_exactly_once(&pipeline, load);
}

/// Lets a transaction time out while its process is paused. This fences the process's producer in the same way as
/// another process with the same name would. `instance` is the name of the transformer.
fn sleep_through_a_transaction(test: &str, instance: Option<&str>) {
    let pipeline = Pipeline::new(shared_kafka(), test);
    let _gateway = pipeline.gateway();
    let mut variables = pipeline.transformer_variables();
    variables.retain(|(name, _)| *name != "TRANSFORMER_INSTANCE");
    variables.extend(instance.map(|instance| ("TRANSFORMER_INSTANCE", instance.to_owned())));
    variables.push(("TRANSFORMER_COMMIT_INTERVAL", "3s".to_owned()));
    variables.push(("TRANSFORMER_TRANSACTION_TIMEOUT", "6s".to_owned()));
    // There is only one worker. If a second one joined later, the first one would commit before it gives up partitions.
    variables.push(("TRANSFORMER_WORKERS", "1".to_owned()));
    let mut slept = Process::start("transformer", &variables, Some(free_port()));
    let load = pipeline.load(200, 1_000);
    let client = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
    let typed = pipeline.topic("typed");
    let end_of = |number| client.watermarks(&typed, Partition(number), SOON).unwrap().high.0;
    let end = || (0..pipeline.partitions).map(end_of).sum::<i64>();
    // The process is paused after it has written all records, and before it sends the offsets. When it continues, its
    // transaction has timed out.
    wait_until("all to be written", SOON, || end() >= 200);
    signal(slept.id(), Signal::STOP);
    assert!(
        Topics::read(&shared_kafka().connection(), &pipeline).typed.is_empty(),
        "the transaction was committed before the pause"
    );
    wait_until("the brokers to abort", SOON, || end() >= 200 + i64::from(pipeline.partitions));
    signal(slept.id(), Signal::CONT);
    assert_exactly_once(&pipeline, load);
    assert_eq!(slept.ended(), None, "no other process has its name; its log:\n{}", slept.log());
    assert!(slept.is_ready(), "the same process, with new clients");
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_without_transformer_instance_records_of_a_timed_out_transaction_are_read_again() {
    let _alone = alone();
    sleep_through_a_transaction("together", None);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p3_a_named_transformer_continues_after_a_transaction_has_timed_out() {
    let _alone = alone();
    sleep_through_a_transaction("slept", Some("slept"));
}
