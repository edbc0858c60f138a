//! The pipeline with a real Schema Registry (Apicurio): Confluent wire format, an independent reader, a registry that is
//! down while the services need it or do not need it, and a record with an unknown schema id.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::accounting::{Topics, assert_accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::{Process, command};
use e2e::real_registry::RealRegistry;
use e2e::{free_port, wait_until};
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::{OwnedRecord, header};
use kafka::{Headers, KafkaError};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

fn with_registry(mut variables: Vec<(&'static str, String)>, registry: &RealRegistry) -> Vec<(&'static str, String)> {
    variables.push(("SCHEMA_REGISTRY_URL", registry.url()));
    variables
}

fn transformer(pipeline: &Pipeline, registry: &RealRegistry) -> Process {
    Process::start("transformer", &with_registry(pipeline.transformer_variables(), registry), Some(free_port()))
}

fn sink(pipeline: &Pipeline, registry: &RealRegistry) -> Process {
    Process::start("sink", &with_registry(pipeline.sink_variables(), registry), Some(free_port()))
}

/// Returns the schema id of the registry from the beginning of a record.
fn schema_id(record: &OwnedRecord) -> u32 {
    let [0, a, b, c, d, ..] = record.value[..] else { panic!("no Confluent wire format: {:?}", &record.value[..5]) };
    u32::from_be_bytes([a, b, c, d])
}

/// Returns the event that `customerio-aep map` prints for a raw record.
fn map(record: &OwnedRecord) -> Value {
    let received_at = record.text_header(header::RECEIVED_AT).unwrap();
    let arguments = ["map", "--compact", "--tenant", "acme", "--received-at", received_at];
    let mut map = command("customerio-aep", &[]);
    let mut map = map.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    map.stdin.take().unwrap().write_all(&record.value).unwrap();
    let output = map.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_independent_reader_of_the_typed_topic_gets_the_event_that_map_prints() {
    let kafka = shared_kafka();
    let pipeline = Pipeline::new(kafka, "registry");
    let registry = RealRegistry::running();
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = transformer(&pipeline, &registry);
    let _sink = sink(&pipeline, &registry);
    // The load contains every catalogued pair of channel and metric, in every kind of message.
    let ids = pipeline.load(320, 320).finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    Topics::read(&kafka.connection(), &pipeline).assert_exactly_once(&pipeline);

    let subject = format!("{}-value", pipeline.topic("typed"));
    let (status, versions) = registry.get(&format!("/subjects/{subject}/versions")).unwrap();
    assert_eq!((status, versions.contains("[1]")), (200, true), "{versions}");
    assert!(registry.get(&format!("/config/{subject}")).unwrap().1.contains("FULL_TRANSITIVE"));

    let raw = read(&kafka.connection(), &pipeline.topic("raw"));
    let mut pairs = BTreeSet::new();
    let mut lines = String::new();
    for typed in read(&kafka.connection(), &pipeline.topic("typed")) {
        schema_id(&typed);
        let offset: i64 = typed.text_header(header::RAW_OFFSET).unwrap().parse().unwrap();
        let raw = raw.iter().find(|raw| (raw.partition, raw.offset.0) == (typed.partition, offset)).unwrap();
        let event = map(raw);
        let details = &event["_acme"]["customerio"];
        pairs.insert((details["objectType"].to_string(), details["metric"].to_string()));
        let hex: String = typed.value.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&json!({"record": hex, "event": event}).to_string());
        lines.push('\n');
    }
    assert_eq!(pairs.len(), 73, "catalogued pairs");
    let Ok(reader) = std::env::var("AVRO_READER") else {
        println!("not compared by an independent Avro reader: AVRO_READER does not name one (see .ci/run)");
        return;
    };
    let mut words = reader.split(' ');
    let mut reader = Command::new(words.next().unwrap());
    let mut reader = reader.args(words).arg(registry.url()).stdin(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(reader.wait().unwrap().success(), "the independent reader found a difference");
}

#[test]
fn services_wait_for_the_registry_at_the_start_and_deliver_without_it_later() {
    let mut registry = RealRegistry::stopped();
    let kafka = shared_kafka();
    let pipeline = Pipeline::new(kafka, "registry-down");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let variables = with_registry(pipeline.transformer_variables(), &registry);
    let transformer = Process::spawn("transformer", &variables, Some(free_port()));
    let mut impatient = Process::spawn("transformer", &variables, None);
    let mut sent = pipeline.load(200, 400).finish(SOON);
    wait_until("a log line about the registry", SOON, || {
        transformer.log().contains("cannot reach the Schema Registry")
    });
    wait_until("the log of the other transformer", SOON, || impatient.log().contains("SCHEMA_REGISTRY_URL"));
    assert!(!transformer.is_ready());
    assert_eq!(impatient.terminate(), Some(0), "a service that waits stops when it is asked to");
    registry.start();
    wait_until("the transformer to be ready", SOON, || transformer.is_ready());
    let mut before = sink(&pipeline, &registry);
    assert_accepted(&pipeline, &sent, SOON);

    registry.stop();
    sent.extend(pipeline.load(200, 400).finish(SOON));
    assert_accepted(&pipeline, &sent, SOON);
    assert_eq!(before.metric("customerio_sink_held"), 0.0);

    // A new sink must query the registry before it can deliver. It holds while the registry is down, and continues by
    // itself afterwards.
    assert_eq!(before.terminate(), Some(0));
    sent.extend(pipeline.load(200, 400).finish(SOON));
    let after = sink(&pipeline, &registry);
    let held = r#"customerio_sink_held{reason="schema_registry"}"#;
    wait_until("the sink to hold", SOON, || metric_line(&after, held) == Some(1.0));
    wait_until("a log line about the registry", SOON, || after.log().contains("cannot reach the Schema Registry"));
    registry.start();
    // The registry loses its data when it stops. Another transformer registers the schema, which gets the same id.
    let _again = transformer_of_another_group(&pipeline, &registry);
    assert_accepted(&pipeline, &sent, SOON);
    assert_eq!(metric_line(&after, held), Some(0.0));
    assert!(read(&kafka.connection(), &pipeline.topic("dead-letters")).is_empty());
}

/// Starts a transformer that registers the schema. It belongs to another group and reads another topic.
fn transformer_of_another_group(pipeline: &Pipeline, registry: &RealRegistry) -> Process {
    let mut variables = with_registry(pipeline.transformer_variables(), registry);
    variables.push(("KAFKA_GROUP_ID", format!("{}-other", pipeline.name)));
    variables.push(("TRANSFORMER_INSTANCE", "other".to_owned()));
    variables.push(("RAW_TOPIC", pipeline.topic("receipts").to_string()));
    Process::spawn("transformer", &variables, None)
}

fn metric_line(process: &Process, name: &str) -> Option<f64> {
    let (_, text) = process.admin_get("/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn the_sink_holds_a_record_with_an_unknown_schema_and_logs_the_version() {
    let kafka = shared_kafka();
    let pipeline = Pipeline::new(kafka, "registry-newer");
    let registry = RealRegistry::running();
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = transformer(&pipeline, &registry);
    let sent = pipeline.load(100, 400).finish(SOON);
    let mut sink = sink(&pipeline, &registry);
    assert_accepted(&pipeline, &sent, SOON);

    // The test registers a newer schema and writes a record with it, as a newer transformer would.
    let mut newer: Value = serde_json::from_str(xdm::schema::SCHEMA_JSON).unwrap();
    newer["schemaVersion"] = json!(9);
    newer["fields"].as_array_mut().unwrap().push(json!({"name": "mood", "type": ["null", "string"], "default": null}));
    let subject = format!("{}-value", pipeline.topic("typed"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let register = reqwest::Client::new()
        .post(format!("{}/subjects/{subject}/versions", registry.url()))
        .header("content-type", "application/json")
        .body(json!({"schema": newer.to_string()}).to_string());
    let answer: Value = runtime.block_on(async { register.send().await.unwrap().json().await.unwrap() });
    let newer_id = u32::try_from(answer["id"].as_u64().unwrap()).unwrap();
    let typed = read(&kafka.connection(), &pipeline.topic("typed"));
    let record = &typed[0];
    assert_ne!(schema_id(record), newer_id);
    let mut value = record.value.clone();
    value[1..5].copy_from_slice(&newer_id.to_be_bytes());
    value.push(0);
    produce(&pipeline, record, &value).unwrap();

    let held = r#"customerio_sink_held{reason="unknown_schema"}"#;
    wait_until("the sink to hold", SOON, || metric_line(&sink, held) == Some(1.0));
    let log = sink.log();
    assert!(log.contains("version 9 of the schema") && log.contains("reads versions 1 to 1"), "{log}");
    // The record stays on the topic, the records after it wait in every partition, and no record becomes a dead letter.
    let behind = pipeline.load(100, 400).finish(SOON);
    wait_until("the lag to show", SOON, || sink.metric("customerio_kafka_consumer_lag_records") > 0.0);
    assert_eq!(sink.terminate(), Some(0));
    assert!(read(&kafka.connection(), &pipeline.topic("dead-letters")).is_empty());
    let accepted = e2e::accounting::accepted(&pipeline);
    assert!(!behind.iter().any(|id| accepted.contains_key(id)), "records after the held one were delivered");
}

/// Writes a record to the typed topic with this value, and with partition, key and headers of `like`.
fn produce(pipeline: &Pipeline, like: &OwnedRecord, value: &[u8]) -> Result<(), KafkaError> {
    let settings = ProducerSettings {
        delivery_timeout: SOON,
        linger: Duration::ZERO,
        max_record_bytes: 1_000_000,
        queue_bytes: 1_000_000,
    };
    let producer: DurableProducer<()> = DurableProducer::new(&shared_kafka().connection(), &settings)?;
    let headers = like.headers().fold(Headers::with_capacity(8), Headers::with_header);
    let topic = pipeline.topic("typed");
    let record = NewRecord {
        topic: &topic,
        partition: Some(like.partition),
        key: like.key.as_deref(),
        value: Some(value),
        headers,
    };
    drop(producer.send(record, ()).unwrap());
    producer.flush(SOON)
}
