//! Situations in which the sink holds: topics that it cannot write to, and unreadable records. Also tests the rate
//! limit of a whole group.

use std::time::{Duration, Instant};

use contract::Partition;
use e2e::accounting::{accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;
use kafka::topic::{TopicSpec, Topics};
use kafka::{Headers, TopicName};

use super::{SOON, dead_letters, sink, sink_variables, typed, wait_for_the_end};

/// Writes bytes that are not an event to the typed topic.
fn write_garbage(pipeline: &Pipeline, count: usize) {
    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(30),
        linger: Duration::from_millis(5),
        max_record_bytes: 1_000_000,
        queue_bytes: 1 << 24,
    };
    let producer = DurableProducer::new(&shared_kafka().connection(), &settings).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for number in 0..count {
        let record = NewRecord {
            topic: &pipeline.topic("typed"),
            partition: Some(Partition(0)),
            key: None,
            value: Some(b"no event"),
            headers: Headers::with_capacity(1).with(header::EVENT_ID, format!("garbage-{number}").as_bytes()),
        };
        runtime.block_on(producer.send(record, ()).unwrap()).unwrap();
    }
}

/// Creates a topic that refuses records of more than 80 bytes.
fn tiny_topic(pipeline: &Pipeline, name: &str) -> TopicName {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let spec = TopicSpec {
        name: pipeline.topic(name),
        partitions: pipeline.partitions,
        replication: Some(1),
        settings: vec![("max.message.bytes", "80".to_owned())],
    };
    runtime.block_on(Topics::new(&shared_kafka().connection()).unwrap().ensure(&spec)).unwrap();
    spec.name
}

/// Returns the sum of the committed offsets of the sink's group.
fn committed(pipeline: &Pipeline) -> i64 {
    let topics = Topics::new(&shared_kafka().connection()).unwrap();
    let group = format!("{}-sink", pipeline.name);
    topics.committed(&group, &pipeline.topic("typed"), SOON).unwrap().values().map(|offset| offset.0).sum()
}

fn is_held(sink: &Process, reason: &str) -> bool {
    let (_, text) = sink.admin_get("/metrics").unwrap_or_default();
    text.lines().any(|line| line == format!(r#"customerio_sink_held{{reason="{reason}"}} 1"#))
}

fn with(mut variables: Vec<(&'static str, String)>, name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value.to_owned()));
    variables
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p7_no_offset_is_committed_while_a_receipt_or_dead_letter_cannot_be_written() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "unwritable");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let ids = pipeline.load(300, 300).finish(SOON);
    wait_until("the typed records", SOON, || typed(&pipeline).len() == ids.len());
    let tiny = tiny_topic(&pipeline, "tiny");
    for variable in ["RECEIPTS_TOPIC", "DEAD_LETTER_TOPIC"] {
        if variable == "DEAD_LETTER_TOPIC" {
            write_garbage(&pipeline, 1);
        }
        let before = committed(&pipeline);
        let variables = with(sink_variables(&pipeline), variable, tiny.as_str());
        let mut sink = Process::start("sink", &variables, Some(free_port()));
        wait_until("the sink to say that it cannot write", SOON, || is_held(&sink, "kafka"));
        assert!(sink.log().contains(tiny.as_str()), "{}", sink.log());
        if variable == "RECEIPTS_TOPIC" {
            wait_until("acceptance", SOON, || accepted(&pipeline).len() == ids.len());
        }
        // A sink that commits although it must not would do so within this time.
        std::thread::sleep(Duration::from_secs(2));
        let unwritten = committed(&pipeline) - before;
        if variable == "RECEIPTS_TOPIC" {
            assert_eq!(unwritten, 0, "committed without receipts");
        } else {
            let garbage = typed_offset(&pipeline, "garbage-0");
            let topics = Topics::new(&shared_kafka().connection()).unwrap();
            let group = format!("{}-sink", pipeline.name);
            let of_partition_0 = topics.committed(&group, &pipeline.topic("typed"), SOON).unwrap()[&Partition(0)].0;
            assert!(of_partition_0 <= garbage, "committed to {of_partition_0}, past {garbage} without its dead letter");
        }
        sink.kill();
    }
    let sink = sink(&pipeline);
    wait_until("the dead letter", SOON, || dead_letters(&pipeline).contains_key("garbage-0"));
    wait_until("the lag to be 0", SOON, || {
        sink.metric("customerio_kafka_consumer_lag_records") == 0.0 && committed(&pipeline) > 0
    });
    assert_eq!(dead_letters(&pipeline).len(), 1);
}

fn typed_offset(pipeline: &Pipeline, id: &str) -> i64 {
    let records = read(&shared_kafka().connection(), &pipeline.topic("typed"));
    records.iter().find(|record| record.text_header("event-id") == Some(id)).unwrap().offset.0
}

#[test]
fn p6_the_sink_holds_unreadable_records_over_the_dead_letter_limit() {
    let pipeline = Pipeline::new(shared_kafka(), "garbage");
    let _simulator = pipeline.simulator();
    write_garbage(&pipeline, 300);
    // Receipts are disabled, which is allowed.
    let variables = with(sink_variables(&pipeline), "RECEIPTS_TOPIC", "");
    let mut sink = Process::start("sink", &variables, Some(free_port()));
    wait_until("the sink to hold", SOON, || is_held(&sink, "dead_letter_limit"));
    assert_eq!(sink.log().matches("raise DEAD_LETTER_LIMIT").count(), 1, "{}", sink.log());
    assert_eq!(dead_letters(&pipeline).len(), 199);
    assert_eq!(sink.terminate(), Some(0));
    let off = with(variables, "DEAD_LETTER_LIMIT", "off");
    let sink = Process::start("sink", &off, Some(free_port()));
    wait_until("all of them", SOON, || dead_letters(&pipeline).len() == 300);
    wait_until("the lag to be 0", SOON, || sink.metric("customerio_kafka_consumer_lag_records") == 0.0);
    assert!(read(&shared_kafka().connection(), &pipeline.topic("receipts")).is_empty());
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn two_sinks_of_a_group_together_stay_below_the_rate_limit() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "rate");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let variables = with(sink_variables(&pipeline), "SINK_MAX_RECORDS_PER_SECOND", "300");
    let variables = with(variables, "SINK_BATCH_MAX_RECORDS", "10");
    let sinks = [(); 2].map(|()| Process::start("sink", &variables, Some(free_port())));
    let ids = pipeline.load(5_000, 2_500).finish(SOON);
    let of_each = || sinks.each_ref().map(|sink| sink.metric("customerio_sink_records_total"));
    wait_until("both to deliver", SOON, || of_each().iter().all(|records| *records > 50.0));
    let (before, start) = (of_each(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let after = of_each();
    let seconds = start.elapsed().as_secs_f64();
    let rates = [0, 1].map(|sink| (after[sink] - before[sink]) / seconds);
    println!("records a second: {rates:.0?}");
    assert!(rates.iter().sum::<f64>() <= 300.0 * 1.1, "{rates:?}");
    assert!(rates.iter().all(|rate| *rate > 75.0), "{rates:?}");
    wait_for_the_end(&pipeline, &ids);
}
