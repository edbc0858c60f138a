//! P7: the audit reports every kind of damage to a pipeline. Each command reports within ten seconds that Kafka does
//! not respond.

use std::time::Duration;

use super::{SOON, settled_audit, somebody};
use contract::Partition;
use e2e::accounting::{assert_accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::command;
use e2e::turn::shared;
use kafka::Headers;
use kafka::producer::NewRecord;
use kafka::transaction::TransactionalWriter;
use serde_json::Value;

/// Returns the kinds of the findings, without duplicates.
fn kinds(audit: &Value) -> Vec<String> {
    let findings = audit["findings"].as_array().unwrap();
    let mut kinds: Vec<String> = findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Writes the newest record of a topic once more.
fn write_again(pipeline: &Pipeline, topic: &str) {
    let connection = shared_kafka().connection();
    let record = read(&connection, &pipeline.topic(topic)).pop().unwrap();
    let headers = record.headers().fold(Headers::with_capacity(8), Headers::with_header);
    let writer = TransactionalWriter::open(&connection, &format!("{}-again", pipeline.name), SOON).unwrap();
    let again = NewRecord {
        topic: &pipeline.topic(topic),
        partition: Some(record.partition),
        key: record.key.as_deref(),
        value: Some(record.value.as_slice()),
        headers,
    };
    writer.write([again]).unwrap();
}

#[test]
fn p7_the_audit_exits_1_for_each_kind_of_damage() {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "red", 2);
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let mut transformer = pipeline.transformer();
    let mut sink = pipeline.sink();
    let ids: Vec<String> = (0..40).map(|number| format!("red-{number}")).collect();
    for id in &ids {
        assert_eq!(pipeline.send(&somebody(id)), 202);
    }
    assert_accepted(&pipeline, &ids, SOON);
    settled_audit(&pipeline);

    // The audit gets a group that does not exist.
    for (option, topic) in [("--transformer-group", "raw"), ("--sink-group", "typed")] {
        let (code, audit) = pipeline.ask(&["audit", option, "no-such-group"]);
        let missing = &audit["missingGroups"][0];
        assert_eq!((code, &missing["group"]), (Some(1), &"no-such-group".into()), "{option}: {audit:#}");
        assert_eq!(missing["topic"], pipeline.topic(topic).as_str());
        let (_, text, problems) = pipeline.operate(&["audit", option, "no-such-group"]);
        assert!(
            problems.contains("the group `no-such-group` has no committed offset") && text.contains("NOT"),
            "{problems}"
        );
    }
    // The audit gets a topic that does not exist.
    for option in ["--raw-topic", "--typed-topic", "--dead-letter-topic"] {
        let (code, _, problems) = pipeline.operate(&["audit", option, "nowhere"]);
        assert_eq!(code, Some(1), "{option}: {problems}");
        assert!(problems.contains("the topic `nowhere` does not exist"), "{option}: {problems}");
    }
    let receipts = pipeline.topic("receipts").to_string();
    assert_eq!(pipeline.operate(&["audit", "--typed-topic", &receipts]).0, Some(1));

    // First the sink is stopped, then the transformer.
    for (stopped, topic) in [(&mut sink, "typed"), (&mut transformer, "raw")] {
        assert_eq!(stopped.terminate(), Some(0));
        assert_eq!(pipeline.send(&somebody(&format!("stuck-{topic}"))), 202);
        e2e::wait_until("the record to be late", SOON, || {
            let (code, audit) = pipeline.ask(&["audit", "--late", "1s"]);
            code == Some(1) && audit[topic]["late"] == 1
        });
        let (_, audit) = pipeline.ask(&["audit", "--late", "1s"]);
        assert_eq!(kinds(&audit), ["late"], "{audit:#}");
        let (code, young) = pipeline.ask(&["audit"]);
        assert_eq!(code, Some(0), "a record in progress for less than 15 minutes is not late: {young:#}");
    }
    let (_transformer, _sink) = (pipeline.transformer(), pipeline.sink());
    settled_audit(&pipeline);

    // A typed record is written twice.
    write_again(&pipeline, "typed");
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!((code, &audit["raw"]["doubled"]), (Some(1), &1.into()), "{audit:#}");
    assert!(kinds(&audit).contains(&"doubled".to_owned()), "{audit:#}");

    // A person has deleted typed records.
    let topics = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for partition in 0..2 {
        runtime.block_on(topics.delete_before(&pipeline.topic("typed"), Partition(partition), None)).unwrap();
    }
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!(code, Some(1), "{audit:#}");
    assert!(kinds(&audit).contains(&"unexplained".to_owned()), "{audit:#}");
}

#[test]
fn commands_exit_3_within_ten_seconds_when_kafka_does_not_respond() {
    let _turn = shared();
    for arguments in [
        &["audit"][..],
        &["find", "--event-id", "an-event"],
        &["dead-letters", "list"],
        &["setup", "plan", "--only", "kafka"],
    ] {
        // The first call of `command` in a test process compiles the binaries. The measured time does not include this.
        let mut command = command("customerio-aep", &[("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1".to_owned())]);
        let begun = std::time::Instant::now();
        let output = command.args(arguments).arg("--json").output().unwrap();
        let problems = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {problems}");
        assert!(problems.contains("no Kafka broker responded at 127.0.0.1:1"), "{arguments:?}: {problems}");
        let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&failure["version"], &failure["error"]["code"]), (&1.into(), &"kafka_unreachable".into()));
        assert!(begun.elapsed() < Duration::from_secs(10), "{arguments:?} took {:?}", begun.elapsed());
    }
}
