//! Typed records without a Schema Registry: independent readers find the schema by the fingerprint at the beginning of
//! a record.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use customerio::sample::{Person, Sample, combinations};
use mapping::{ReceivedAt, SourceOptions, map};
use serde_json::{Value, json};
use xdm::avro::{Encoder, Framing};

/// A record as the transformer writes it, and the event that `customerio-aep map` prints for it.
struct Record {
    hex: String,
    event: Value,
}

/// Returns a record for every catalogued pair of channel and metric, in every kind of message.
fn records() -> Vec<Record> {
    let (source, encoder) = (SourceOptions::default(), Encoder::new(Framing::SingleObject).unwrap());
    let person = Person { id: "u1", email: "a@example.com", cio_id: "c1" };
    let samples = combinations().enumerate().map(|(number, (event, variant))| {
        let id = format!("01X{number}");
        let number = u64::try_from(number).unwrap();
        let sample = Sample { event, variant, event_id: &id, timestamp: 1_700_000_000, person, number };
        let body = sample.body();
        let mapped = map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_001_480), &source).unwrap();
        let (mut avro, mut json) = (Vec::new(), Vec::new());
        encoder.encode(&mapped.event, &mut avro).unwrap();
        xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
        let hex = avro.iter().map(|byte| format!("{byte:02x}")).collect();
        Record { hex, event: serde_json::from_slice(&json).unwrap() }
    });
    samples.collect()
}

fn schema() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/experience-event.avsc"))
}

#[test]
fn independent_readers_find_the_schema_of_a_single_object_record_by_its_fingerprint() {
    let records = records();
    assert!(records.len() > 73, "{}", records.len());
    let published = std::fs::read_to_string(schema().with_extension("fingerprint")).unwrap();
    assert!(records.iter().all(|record| record.hex.starts_with(&format!("c301{}", published.trim()))));
    let Ok(reader) = std::env::var("AVRO_READER") else {
        println!("not read by fastavro and Java's Avro: AVRO_READER does not name a reader (see `make independent`)");
        return;
    };
    let (mut pairs, mut ids) = (String::new(), String::new());
    for Record { hex, event } in &records {
        writeln!(pairs, "{}", json!({"record": hex, "event": event})).unwrap();
        writeln!(ids, "{hex}\t{}", event["_id"].as_str().unwrap()).unwrap();
    }
    let mut words = reader.split(' ');
    let mut fastavro = Command::new(words.next().unwrap());
    let mut fastavro = fastavro.args(words).arg(schema()).stdin(Stdio::piped()).spawn().unwrap();
    fastavro.stdin.take().unwrap().write_all(pairs.as_bytes()).unwrap();
    assert!(fastavro.wait().unwrap().success(), "fastavro found a difference");
    println!("{}", e2e::java_avro::read_single_objects(schema(), &ids).unwrap());
}
