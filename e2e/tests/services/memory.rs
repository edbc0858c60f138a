//! Memory grows neither with the backlog nor with an outage: the services keep only what their budgets allow, and the
//! other records stay in Kafka.
//!
//! Two runs process the same number of records, so that a service remembers the same ids. In one run, all records wait
//! at once; in the other run, at most 100,000 at a time. With `E2E_FULL=1`, a run processes 1,000,000 records.

use std::ops::Range;
use std::time::{Duration, Instant};

use contract::Partition;
use e2e::http;
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::Headers;
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;
use mapping::{ReceivedAt, SourceOptions};
use serde_json::Value;
use xdm::avro::{Encoder, Framing};

/// A typical event of Customer.io, of 1.2 kB.
const TYPICAL: &str = include_str!("../../../bench/typical.json");
const RECEIVED_AT: i64 = 1_700_000_001_480;

const PATIENCE: Duration = Duration::from_secs(300);

/// Maximum memory of a service, for any backlog.
const LIMIT: u64 = 150 * 1024 * 1024;

/// Maximum ratio of the memory with the large backlog to the memory with the small backlog.
const FLAT: f64 = 1.15;

fn is_full() -> bool {
    std::env::var_os("E2E_FULL").is_some()
}

/// Returns the sizes of the small and of the large backlog. The large one is a multiple of the small one.
fn backlogs() -> (usize, usize) {
    if is_full() { (100_000, 1_000_000) } else { (100_000, 300_000) }
}

fn body(number: usize) -> String {
    let mut body: Value = serde_json::from_str(TYPICAL).unwrap();
    body["event_id"] = format!("01GW20GXAAXBKZD8J9{number:08}").into();
    body["data"]["identifiers"]["id"] = format!("u-{number}").into();
    body.to_string()
}

/// Fills a topic; `record` returns key, value and headers of the record with a number.
fn fill(
    pipeline: &Pipeline,
    topic: &str,
    numbers: Range<usize>,
    mut record: impl FnMut(usize) -> (String, Vec<u8>, Headers),
) {
    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(60),
        linger: Duration::from_millis(20),
        max_record_bytes: 1_000_000,
        queue_bytes: 1 << 26,
    };
    let producer = DurableProducer::new(&shared_kafka().connection(), &settings).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topic = pipeline.topic(topic);
    let partitions = usize::try_from(pipeline.partitions).unwrap();
    for first in numbers.clone().step_by(10_000) {
        let mut deliveries = Vec::new();
        for number in first..(first + 10_000).min(numbers.end) {
            let (key, value, headers) = record(number);
            let partition = Some(Partition(i32::try_from(number % partitions).unwrap()));
            let record =
                NewRecord { topic: &topic, partition, key: Some(key.as_bytes()), value: Some(&value), headers };
            deliveries.push(producer.send(record, ()).unwrap());
        }
        for delivery in deliveries {
            runtime.block_on(delivery).unwrap();
        }
    }
}

/// Writes typed records as the transformer writes them.
fn fill_typed(pipeline: &Pipeline, numbers: Range<usize>) {
    let (source, encoder) = (SourceOptions::default(), Encoder::new(Framing::SingleObject).unwrap());
    fill(pipeline, "typed", numbers, |number| {
        let body = body(number);
        let mapped = mapping::map(body.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &source).unwrap();
        let mut value = Vec::new();
        encoder.encode(&mapped.event, &mut value).unwrap();
        let headers = Headers::with_capacity(4)
            .with(header::EVENT_ID, format!("01GW20GXAAXBKZD8J9{number:08}").as_bytes())
            .with(header::RAW_OFFSET, number.to_string().as_bytes())
            .with(header::RECEIVED_AT, RECEIVED_AT.to_string().as_bytes())
            .with(header::SOURCE, b"default");
        (format!("{number:032x}"), value, headers)
    });
}

/// Writes raw records as the gateway writes them.
fn fill_raw(pipeline: &Pipeline, numbers: Range<usize>) {
    fill(pipeline, "raw", numbers, |number| {
        let headers = Headers::with_capacity(2)
            .with(header::RECEIVED_AT, RECEIVED_AT.to_string().as_bytes())
            .with(header::SOURCE, b"default");
        (format!("{number:032x}"), body(number).into_bytes(), headers)
    });
}

/// Measures the memory of a process until `is_over` returns true. Prints the values and returns the maximum.
fn watch(process: &Process, what: &str, timeout: Duration, mut is_over: impl FnMut(Duration) -> bool) -> u64 {
    let start = Instant::now();
    let (mut most, mut curve) = (0, Vec::new());
    while !is_over(start.elapsed()) {
        assert!(start.elapsed() < timeout, "{what} takes longer than {timeout:?}");
        most = most.max(process.resident_bytes());
        if start.elapsed() >= Duration::from_secs(1) * u32::try_from(curve.len()).unwrap() {
            curve.push((process.resident_bytes() >> 20).to_string());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{what}: MiB by the second: {}", curve.join(" "));
    most
}

fn accepted(pipeline: &Pipeline) -> usize {
    let (_, text) = http::get(pipeline.simulator_port, "/admin/stats").unwrap();
    usize::try_from(serde_json::from_str::<Value>(&text).unwrap()["accepted"].as_u64().unwrap()).unwrap()
}

/// Splits `0..total` into ranges of at most `backlog` records. A test writes a range after the previous one is done.
fn parts(backlog: usize, total: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(backlog).map(move |first| first..(first + backlog).min(total))
}

/// Returns the maximum memory of the sink with this backlog: while Platform fails, and while `total` records are sent
/// afterwards.
fn sink_with(backlog: usize, total: usize) -> (u64, u64) {
    let pipeline = Pipeline::new(shared_kafka(), "memory");
    let mut parts = parts(backlog, total);
    fill_typed(&pipeline, parts.next().unwrap());
    let _simulator = pipeline.simulator_with(&["--count-only"]);
    pipeline.fault(r#"[{"fault":"status","status":503,"seconds":5},{"fault":"reset","when":"before","seconds":5},{"fault":"status","status":500}]"#);
    let mut variables = pipeline.sink_variables();
    variables.push(("SINK_MAX_RECORDS_PER_SECOND", "0".to_owned()));
    let sink = Process::start("sink", &variables, Some(free_port()));
    let lasts = Duration::from_secs(15);
    let down = watch(&sink, &format!("{backlog} behind, Platform down"), lasts * 2, |passed| passed >= lasts);
    assert_eq!(accepted(&pipeline), 0);
    pipeline.clear_faults();
    let what = format!("{backlog} behind, sending {total}");
    let most = std::thread::scope(|scope| {
        let (pipeline, mut sent) = (&pipeline, backlog);
        scope.spawn(move || {
            for part in parts {
                wait_until("the previous part to be accepted", PATIENCE, || accepted(pipeline) >= sent);
                sent = part.end;
                fill_typed(pipeline, part);
            }
        });
        watch(&sink, &what, PATIENCE, |_| accepted(pipeline) >= total)
    });
    (down, most)
}

fn assert_flat(what: &str, (small, few): (usize, u64), (large, many): (usize, u64)) {
    println!("{what}: {} MiB with {small} behind, {} MiB with {large}", few >> 20, many >> 20);
    assert!(many < LIMIT, "{what}: {} MiB", many >> 20);
    assert!(many as f64 <= few as f64 * FLAT, "{what}: from {} to {} MiB", few >> 20, many >> 20);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p8_the_sinks_memory_does_not_grow_with_the_backlog_or_a_platform_outage() {
    let _alone = alone();
    let (small, large) = backlogs();
    let (few, many) = (sink_with(small, large), sink_with(large, large));
    assert_flat("sink, Platform down", (small, few.0), (large, many.0));
    assert_flat("sink, sending", (small, few.1), (large, many.1));
}

/// Returns the transformer's maximum memory while it processes `total` webhooks, of which `backlog` wait at a time.
fn transformer_with(backlog: usize, total: usize, workers: usize) -> u64 {
    let pipeline = Pipeline::with_partitions(shared_kafka(), "raw-memory", i32::try_from(PARTITIONS).unwrap());
    let mut parts = parts(backlog, total);
    fill_raw(&pipeline, parts.next().unwrap());
    let mut variables = pipeline.transformer_variables();
    variables.retain(|(name, _)| *name != "TRANSFORMER_WORKERS");
    variables.push(("TRANSFORMER_WORKERS", workers.to_string()));
    let transformer = Process::start("transformer", &variables, Some(free_port()));
    let done = |count: usize| {
        transformer.metric("customerio_transformer_records_total") >= f64::from(u32::try_from(count).unwrap())
    };
    std::thread::scope(|scope| {
        let (pipeline, done, mut sent) = (&pipeline, &done, backlog);
        scope.spawn(move || {
            for part in parts {
                wait_until("the previous part to be transformed", PATIENCE, || done(sent));
                sent = part.end;
                fill_raw(pipeline, part);
            }
        });
        watch(&transformer, &format!("transformer, {backlog} of {total} behind"), PATIENCE, |_| done(total))
    })
}

/// Default number of partitions of a topic. One instance has all of them here.
const PARTITIONS: usize = 12;

/// Default number of ids in a dedup window.
const WINDOW_IDS: usize = 200_000;
/// Maximum memory of one id, which `transformer/src/dedup/tests.rs` tests.
const BYTES_AN_ID: usize = 28;

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p8_the_transformers_memory_does_not_grow_with_the_backlog() {
    let _alone = alone();
    let (small, large) = backlogs();
    // There is only one worker, because a second one would join some seconds later, and the result would depend on the
    // number of records that are left by then.
    let (few, many) = (transformer_with(small, large, 1), transformer_with(large, large, 1));
    assert_flat("transformer", (small, few), (large, many));
    let many = transformer_with(large, large, 2);
    let missing = (PARTITIONS * WINDOW_IDS).saturating_sub(large) * BYTES_AN_ID;
    let full = many + u64::try_from(missing).unwrap();
    println!("transformer with two workers: {} MiB, with all windows full {} MiB", many >> 20, full >> 20);
    assert!(full < LIMIT, "{} MiB", full >> 20);
}
