//! A topic is deleted and created again while its reader is paused: no record of the new topic is skipped without a
//! report.

use std::time::Duration;

use contract::Partition;
use e2e::accounting::{accepted, assert_accepted};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::{Process, Signal, signal};
use e2e::sender::event;
use e2e::wait_until;
use kafka::topic::{TopicSpec, Topics};

const SOON: Duration = Duration::from_secs(60);

fn replace(pipeline: &Pipeline, topic: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let topics = Topics::new(&shared_kafka().connection()).unwrap();
    let name = pipeline.topic(topic);
    runtime.block_on(topics.delete(&name)).unwrap();
    let settings = vec![("max.message.bytes", "12000000".to_owned())];
    let spec = TopicSpec { name, partitions: pipeline.partitions, replication: Some(1), settings };
    wait_until("the topic to be created again", SOON, || {
        topics.partitions(&spec.name, Duration::from_secs(1)).is_err() && runtime.block_on(topics.ensure(&spec)).is_ok()
    });
    wait_until("the topic to have a leader", SOON, || {
        topics.watermarks(&spec.name, Partition(0), Duration::from_secs(1)).is_ok()
    });
}

fn send(pipeline: &Pipeline, prefix: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|number| format!("{prefix}{number:02}")).collect();
    for id in &ids {
        wait_until("the gateway to store a webhook", SOON, || pipeline.send(&event(id)) == 202);
    }
    ids
}

fn end(pipeline: &Pipeline, topic: &str) -> i64 {
    let topics = Topics::new(&shared_kafka().connection()).unwrap();
    let watermarks = topics.watermarks(&pipeline.topic(topic), Partition(0), Duration::from_secs(10));
    watermarks.map_or(0, |watermarks| watermarks.high.0)
}

/// Replaces a topic by one that grows beyond the position of its paused reader, and checks that the reader reports the
/// replacement and that all events are accepted.
fn assert_noticed(pipeline: &Pipeline, topic: &str, reader: &Process) {
    let first = send(pipeline, "A", 3);
    assert_accepted(pipeline, &first, SOON);
    wait_until("the lag to be zero", SOON, || reader.metric("customerio_kafka_consumer_lag_records") == 0.0);
    let position = end(pipeline, topic);
    // In this time, the reader commits, and checks the record that it processed last.
    std::thread::sleep(Duration::from_secs(5));
    signal(reader.id(), Signal::STOP);
    replace(pipeline, topic);
    let mut ids = Vec::new();
    let mut batch = 0;
    wait_until("the new topic to be longer than the old one", SOON, || {
        batch += 1;
        ids.extend(send(pipeline, &format!("B{batch}-"), 3));
        end(pipeline, topic) > position + 2
    });
    signal(reader.id(), Signal::CONT);
    wait_until("the replacement to be reported", SOON, || {
        reader.log().contains("the partition's log is not the one that was read")
    });
    assert_accepted(pipeline, &ids, SOON);
    assert!(reader.metric("customerio_kafka_logs_replaced_total") >= 1.0);
    assert!(accepted(pipeline).len() >= first.len() + ids.len());
}

#[test]
fn p7_a_recreated_typed_topic_is_reported_and_read_from_the_beginning() {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "replaced-typed", 1);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let sink = pipeline.sink();
    assert_noticed(&pipeline, "typed", &sink);
}

#[test]
fn p7_a_recreated_raw_topic_is_reported_and_read_from_the_beginning() {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "replaced-raw", 1);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _sink = pipeline.sink();
    let transformer = pipeline.transformer();
    assert_noticed(&pipeline, "raw", &transformer);
}
