//! Runs `check` with a user that lacks ACLs on a real Kafka: `check` reports each missing ACL with its remedy.

use std::time::Duration;

use e2e::acls::{Acl, Operation, Resource, grant};
use e2e::pipeline::{Pipeline, with};
use e2e::process::command;
use e2e::real_kafka::{Cluster, RealKafka, password};
use e2e::sender::event;
use e2e::turn::alone;
use e2e::wait_until;
use serde_json::Value;

const USER: &str = "operator";
const TOPICS: [&str; 4] = ["raw", "typed", "dead-letters", "receipts"];

/// Runs `check --only kafka` as [`USER`]. Returns the lines with these ids.
fn lines(kafka: &RealKafka, pipeline: &Pipeline, ids: &[&str]) -> Vec<Value> {
    let variables = with(
        pipeline.operator_variables(),
        &[
            ("KAFKA_BOOTSTRAP_SERVERS", &kafka.sasl_bootstrap()),
            ("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
            ("KAFKA_SASL_MECHANISM", "PLAIN"),
            ("KAFKA_SASL_USERNAME", USER),
            ("KAFKA_SASL_PASSWORD", &password(USER)),
        ],
    );
    let output = command("customerio-aep", &variables).args(["check", "--only", "kafka", "--json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    let lines = found["lines"].as_array().unwrap().iter();
    lines.filter(|line| ids.contains(&line["id"].as_str().unwrap())).cloned().collect()
}

/// Runs `check`, and returns its line about the permission to write to a topic.
fn writing(kafka: &RealKafka, pipeline: &Pipeline, topic: &str) -> Value {
    let lines = lines(kafka, pipeline, &["write"]);
    let ends = format!(" may write to {}", pipeline.topic(topic));
    let found = lines.iter().find(|line| line["asked"].as_str().unwrap().ends_with(&ends));
    found.unwrap_or_else(|| panic!("{topic}: {lines:#?}")).clone()
}

fn allow(kafka: &RealKafka, resource: Resource, operation: Operation) {
    grant(kafka.bootstrap(), &[Acl { user: USER, resource, operation }]);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn check_reports_each_missing_acl_and_its_records_do_not_prevent_the_first_start_of_the_services() {
    let _alone = alone();
    let kafka = RealKafka::start(&Cluster { users: &[USER], ..Cluster::default() }).unwrap();
    let pipeline = Pipeline::with_partitions(&kafka, "permissions", 2);
    let _simulator = pipeline.simulator();
    let topic = |name: &str| Resource::Topic(pipeline.topic(name).to_string());

    let described = lines(&kafka, &pipeline, &["topic"]);
    assert!(described.iter().all(|line| line["next"]["step"].as_str().unwrap().contains("Describe")), "{described:#?}");
    assert_eq!(described.len(), 4, "{described:#?}");
    for name in TOPICS {
        allow(&kafka, topic(name), Operation::Read);
        allow(&kafka, topic(name), Operation::DescribeConfigs);
    }
    let transaction = &lines(&kafka, &pipeline, &["transaction"])[0];
    assert_eq!(transaction["level"], "bad", "{transaction}");
    assert!(transaction["next"]["step"].as_str().unwrap().contains("--transactional-id customerio-transformer-check-"));

    allow(&kafka, Resource::TransactionalIds("customerio-transformer-check-".to_owned()), Operation::Write);
    let dead_letters = writing(&kafka, &pipeline, "dead-letters");
    let acl = |name: &str| format!("--operation Write --topic {}", pipeline.topic(name));
    assert_eq!(dead_letters["level"], "bad", "{dead_letters}");
    assert!(dead_letters["next"]["step"].as_str().unwrap().contains(&acl("dead-letters")), "{dead_letters}");
    allow(&kafka, topic("dead-letters"), Operation::Write);
    assert_eq!(writing(&kafka, &pipeline, "dead-letters")["level"], "good");
    assert_eq!(writing(&kafka, &pipeline, "typed")["level"], "note", "`check` does not write to an empty typed topic");

    // The services start for the first time, and must not take the records of `check` for earlier output.
    let _services = [pipeline.gateway(), pipeline.transformer(), pipeline.sink()];
    assert_eq!(pipeline.send(&event("one")), 202);
    let has_event = || writing(&kafka, &pipeline, "typed")["level"] == "bad";
    wait_until("the typed topic to have a record", Duration::from_secs(60), has_event);
    let typed = writing(&kafka, &pipeline, "typed");
    assert!(typed["next"]["step"].as_str().unwrap().contains(&acl("typed")), "{typed}");
    allow(&kafka, topic("typed"), Operation::Write);
    assert_eq!(writing(&kafka, &pipeline, "typed")["level"], "good");

    assert_eq!(pipeline.send(&event("two")), 202);
    let explains = || {
        let (code, audit) = pipeline.ask(&["audit"]);
        code == Some(0) && audit["typed"]["accepted"] == 2
    };
    wait_until("the audit to count both events as accepted", Duration::from_secs(60), explains);
}
