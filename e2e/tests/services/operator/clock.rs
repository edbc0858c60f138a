//! If a gateway's clock is slow, the time of an event is ahead of its receive time (`received-at`). If it is some hours
//! ahead, the event gets the receive time. If it is days ahead, the event becomes a dead letter, which can be replayed
//! once the clock is correct.

use contract::Partition;
use e2e::accounting::{assert_accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::wait_until;
use kafka::Headers;
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;

use super::{SOON, dead_letters, somebody};

/// Writes a webhook with the event time 1,700,000,000 s and the `received-at` of a gateway whose clock is slow by
/// `behind` seconds.
fn write(pipeline: &Pipeline, id: &str, behind: i64) {
    let settings = ProducerSettings {
        delivery_timeout: SOON,
        linger: std::time::Duration::ZERO,
        max_record_bytes: 1_000_000,
        queue_bytes: 1_000_000,
    };
    let producer: DurableProducer<()> = DurableProducer::new(&shared_kafka().connection(), &settings).unwrap();
    let received = ((1_700_000_000 - behind) * 1000).to_string();
    let (topic, body) = (pipeline.topic("raw"), somebody(id));
    let headers =
        Headers::with_capacity(2).with(header::RECEIVED_AT, received.as_bytes()).with(header::SOURCE, b"default");
    let record =
        NewRecord { topic: &topic, partition: Some(Partition(0)), key: None, value: Some(body.as_bytes()), headers };
    drop(producer.send(record, ()).unwrap());
    producer.flush(SOON).unwrap();
}

#[test]
fn events_of_a_gateway_with_a_slow_clock_are_adjusted_and_a_replay_sets_a_new_received_at() {
    let pipeline = Pipeline::new(shared_kafka(), "slow-clock");
    let _simulator = pipeline.simulator();
    let transformer = pipeline.transformer();
    let _sink = pipeline.sink();
    write(&pipeline, "hours-behind", 7_200);
    write(&pipeline, "days-behind", 200_000);
    assert_accepted(&pipeline, &["hours-behind".to_owned()], SOON);
    wait_until("the dead letter", SOON, || dead_letters(&pipeline, &["--code", "bad_timestamp"]).len() == 1);
    assert_eq!(transformer.metric("customerio_transformer_timestamps_adjusted_total"), 1.0);
    assert_eq!(transformer.metric("customerio_transformer_event_time_ahead_seconds"), 7_200.0);
    let log = transformer.log();
    assert!(log.contains("WARN") && log.contains("the clock of a gateway is slow"), "{log}");

    let (code, done) = pipeline.ask(&["dead-letters", "replay", "--code", "bad_timestamp", "--yes"]);
    assert_eq!((code, &done["replayed"]), (Some(0), &1.into()), "{done:#}");
    assert_accepted(&pipeline, &["hours-behind".to_owned(), "days-behind".to_owned()], SOON);
    assert!(dead_letters(&pipeline, &[]).is_empty());
    let raw = read(&shared_kafka().connection(), &pipeline.topic("raw"));
    let replayed = raw.iter().find(|record| record.text_header(header::REPLAY_OF).is_some()).unwrap();
    assert_eq!(replayed.headers().filter(|header| header.name == header::RECEIVED_AT).count(), 1);
    let received: i64 = replayed.text_header(header::RECEIVED_AT).unwrap().parse().unwrap();
    assert!((service::unix_millis() - received).abs() < 300_000, "{received}");
}
