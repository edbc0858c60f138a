//! Tests that a webhook that is delivered again becomes one typed record, whichever worker owns its partition, and how
//! the transformer handles records that could block it.

use std::io::Write;
use std::time::Duration;

use contract::Partition;
use e2e::accounting::{DeadLetter, Topics, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::Headers;
use kafka::offsets::Offsets;
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;
use kafka::transaction::TransactionalWriter;

const SOON: Duration = Duration::from_secs(60);

fn body(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"identifiers":{{"id":"{id}"}}}}}}"#
    )
}

/// Sends these events and checks that each is acknowledged.
fn send(pipeline: &Pipeline, ids: &[String]) {
    for id in ids {
        assert_eq!(pipeline.send(&body(id)), 202);
    }
}

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:04}")).collect()
}

fn topics(pipeline: &Pipeline) -> Topics {
    Topics::read(&shared_kafka().connection(), pipeline)
}

/// Waits until the transformer has processed `records` raw records since the topic was created.
fn wait_for(pipeline: &Pipeline, records: usize) {
    wait_for_offsets(pipeline, records);
    // The brokers end a transaction in one partition after the other, so the group's offsets may be readable before the
    // records.
    let (offsets, typed) = (Offsets::new(&shared_kafka().connection()).unwrap(), pipeline.topic("typed"));
    offsets.wait_until_settled(&typed, &offsets.watermarks(&typed).unwrap(), SOON).unwrap();
}

/// Waits until the transformer has committed the offsets of this many raw records.
fn wait_for_offsets(pipeline: &Pipeline, records: usize) {
    let group = format!("{}-transformer", pipeline.name);
    let client = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
    wait_until(&format!("{records} records to be done"), SOON, || {
        let committed = client.committed(&group, &pipeline.topic("raw"), SOON).unwrap();
        committed.values().map(|offset| offset.0).sum::<i64>() >= i64::try_from(records).unwrap()
    });
}

fn transformer(pipeline: &Pipeline, own: &[(&'static str, &str)]) -> Process {
    let mut variables = pipeline.transformer_variables();
    variables.retain(|(name, _)| own.iter().all(|(other, _)| name != other));
    variables.extend(own.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Process::start("transformer", &variables, Some(free_port()))
}

#[test]
fn p4_a_repeated_webhook_becomes_one_typed_record_under_any_partition_owner() {
    let pipeline = Pipeline::new(shared_kafka(), "again");
    let _gateway = pipeline.gateway();
    let mut first = pipeline.transformer();
    let ids = ids("again", 300);
    send(&pipeline, &ids);
    send(&pipeline, &ids[..100]);
    wait_for(&pipeline, 400);
    let duplicates =
        r#"customerio_transformer_records_total{metric="sent",object_type="email",outcome="duplicate"} 100"#;
    wait_until("the duplicates to be counted", SOON, || {
        first.admin_get("/metrics").is_some_and(|(_, text)| text.lines().any(|line| line == duplicates))
    });
    wait_until("the metric of the windows", SOON, || first.metric("customerio_transformer_dedup_window_ids") == 300.0);

    // After a clean restart, a kill, the start of a second owner, and the end of that owner, each new owner restores
    // its windows from the typed topic.
    assert_eq!(first.terminate(), Some(0));
    let mut second = pipeline.transformer();
    send(&pipeline, &ids);
    wait_for(&pipeline, 700);
    second.kill();
    let second = pipeline.transformer();
    send(&pipeline, &ids);
    wait_for(&pipeline, 1000);
    let mut other = transformer(&pipeline, &[("TRANSFORMER_INSTANCE", &format!("{}-2", pipeline.name))]);
    wait_until("the partitions to be shared", SOON, || {
        second.metric("customerio_kafka_rebalances_total") >= 1.0
            && other.metric("customerio_transformer_dedup_window_ids") > 0.0
    });
    send(&pipeline, &ids);
    wait_for(&pipeline, 1300);
    assert_eq!(other.terminate(), Some(0));
    send(&pipeline, &ids);
    wait_for(&pipeline, 1600);

    let topics = topics(&pipeline);
    topics.assert_stored(&ids);
    topics.assert_exactly_once(&pipeline);
    assert_eq!((topics.typed.len(), topics.collapsed(&pipeline)), (300, 1300));
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p4_a_kill_inside_a_transaction_leaves_no_gap_in_the_dedup_window() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "gap");
    let _gateway = pipeline.gateway();
    // Without an instance name, the next process cannot abort the transaction that the killed process leaves open. The
    // next process must not process records before the brokers have aborted this transaction.
    let unnamed = [("TRANSFORMER_INSTANCE", ""), ("TRANSFORMER_TRANSACTION_TIMEOUT", "5s")];
    let slow = [unnamed[0], unnamed[1], ("TRANSFORMER_COMMIT_INTERVAL", "4s")];
    let mut killed = transformer(&pipeline, &slow);
    let ids = ids("gap", 200);
    send(&pipeline, &ids[..100]);
    let typed_end = || -> i64 {
        let client = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
        let end = |number| client.watermarks(&pipeline.topic("typed"), Partition(number), SOON).unwrap().high.0;
        (0..pipeline.partitions).map(end).sum()
    };
    wait_until("records of an open transaction", SOON, || typed_end() > 0);
    killed.kill();
    let _next = transformer(&pipeline, &unnamed);
    send(&pipeline, &ids);
    wait_for(&pipeline, 300);
    let topics = topics(&pipeline);
    topics.assert_exactly_once(&pipeline);
    assert_eq!(topics.typed.len(), 200);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p4_a_partition_is_restored_only_after_its_open_transactions_have_ended() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "unsettled");
    let _gateway = pipeline.gateway();
    let typed = pipeline.topic("typed");
    let headers = Headers::with_capacity(1).with(header::EVENT_ID, b"unsettled");
    let record = NewRecord {
        topic: &typed,
        partition: Some(Partition(0)),
        key: None,
        value: Some(b"of an owner before"),
        headers,
    };
    let writer = TransactionalWriter::open(&shared_kafka().connection(), &pipeline.name, SOON).unwrap();
    let (settle, settled) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // The transaction stays open until the test ends it.
        let rest = std::iter::from_fn(move || {
            settled.recv().unwrap_or_default();
            None
        });
        scope.spawn(|| writer.write(std::iter::once(record).chain(rest)).unwrap());
        let client = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
        let typed_end = || client.watermarks(&typed, Partition(0), SOON).unwrap().high.0;
        wait_until("the open transaction", SOON, || typed_end() > 0);
        // The group has no committed offsets although the typed topic contains a record. In this state, the transformer
        // refuses to start without `--from-beginning`.
        let mut command = e2e::process::command("transformer", &pipeline.transformer_variables());
        command.arg("--from-beginning");
        let transformer = Process::start_command("transformer", command, free_port());
        let values = [body("unsettled"), body("new")];
        values.iter().for_each(|value| produce(&pipeline, 0, value.as_bytes(), Headers::with_capacity(0)));
        // Meanwhile, the transformer processes the other partitions. Only partition 0 has to wait.
        produce(&pipeline, 1, body("elsewhere").as_bytes(), Headers::with_capacity(0));
        wait_for_offsets(&pipeline, 1);
        wait_until("a report of the transaction", SOON, || {
            transformer.metric("customerio_transformer_waiting{reason=\"open_transaction\"}") == 1.0
                && transformer.log().contains(&format!("the latest records of {typed}[0] have not become readable"))
        });
        assert_eq!(typed_end(), 1, "nothing more was written to this partition");
        drop(settle);
        wait_for(&pipeline, 3);
        assert!(transformer.is_ready());
    });
    let typed = read(&shared_kafka().connection(), &typed);
    let mut ids: Vec<_> = typed.iter().map(|record| record.text_header(header::EVENT_ID).unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["elsewhere", "new", "unsettled"]);
}

#[test]
fn p4_an_event_outside_the_window_or_with_the_reprocess_header_is_mapped_again() {
    let pipeline = Pipeline::new(shared_kafka(), "reprocess");
    let transformer = transformer(&pipeline, &[("TRANSFORMER_DEDUP_WINDOW", "60s")]);
    let id = "reprocess-1";
    let write = |received_at: i64, reprocess: bool| {
        let mut headers = Headers::with_capacity(2).with(header::RECEIVED_AT, received_at.to_string().as_bytes());
        if reprocess {
            headers = headers.with(header::REPROCESS, b"1");
        }
        produce(&pipeline, 0, body(id).as_bytes(), headers);
    };
    let start = 1_700_000_100_000;
    write(start, false);
    write(start + 60_000, false);
    write(start + 60_000, true);
    write(start + 60_000, false);
    write(start + 121_000, false);
    wait_for(&pipeline, 5);
    let typed: Vec<_> = topics(&pipeline).typed.iter().map(|((_, offset), _)| *offset).collect();
    assert_eq!(typed, [0, 2, 4], "the first, the one with the reprocess header, and the one outside the window");
    // The metric is lower while partitions move to the second worker.
    wait_until("the metric of four windows", SOON, || {
        transformer.metric("customerio_transformer_dedup_window_seconds") == 4.0 * 60.0
    });
}

/// Writes a raw record as a program other than the gateway could.
fn produce(pipeline: &Pipeline, partition: i32, value: &[u8], headers: Headers) {
    let topic = pipeline.topic("raw");
    let record =
        NewRecord { topic: &topic, partition: Some(Partition(partition)), key: None, value: Some(value), headers };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(producer().send(record, ()).unwrap()).unwrap();
}

fn producer() -> DurableProducer<()> {
    let settings = ProducerSettings {
        delivery_timeout: SOON,
        linger: Duration::from_millis(5),
        max_record_bytes: 1_000_000,
        queue_bytes: 1 << 30,
    };
    DurableProducer::new(&shared_kafka().connection(), &settings).unwrap()
}

#[test]
fn p2_every_signed_body_is_stored_and_then_typed_or_dead_lettered() {
    let pipeline = Pipeline::new(shared_kafka(), "authentic");
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let bodies = [
        String::new(),
        "no json at all".to_owned(),
        "\u{0}\u{1}\u{fffd}".to_owned(),
        "[1,2,3]".to_owned(),
        r#"{"event_id":"new-1","object_type":"telepathy","metric":"received","timestamp":1700000000,"data":{"identifiers":{"id":"1"}}}"#.to_owned(),
        r#"{"event_id":"new-2","object_type":"email","metric":"framed","timestamp":1700000000,"data":{"identifiers":{"id":"1"},"frame":"oak"}}"#.to_owned(),
        r#"{"event_id":7,"metric":[],"timestamp":"never","data":null}"#.to_owned(),
        format!("{{\"event_id\":\"deep\",\"data\":{}{}}}", "[".repeat(5000), "]".repeat(5000)),
    ];
    for body in &bodies {
        assert_eq!(pipeline.send(body), 202, "{body:.60}");
    }
    wait_for(&pipeline, bodies.len());
    let topics = topics(&pipeline);
    topics.assert_exactly_once(&pipeline);
    let mut typed: Vec<_> = topics.typed.iter().map(|(_, id)| id.as_str()).collect();
    typed.sort_unstable();
    assert_eq!(typed, ["new-1", "new-2"], "unknown channels and metrics pass");
    assert_eq!(topics.dead_letters.len(), bodies.len() - 2);
}

#[test]
fn a_body_is_decompressed_according_to_its_bytes_and_not_to_its_header() {
    let pipeline = Pipeline::new(shared_kafka(), "gzip");
    let _transformer = transformer(&pipeline, &[("GATEWAY_MAX_BODY", "100KiB")]);
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let headers = |encoding: &str| Headers::with_capacity(1).with(header::CONTENT_ENCODING, encoding.as_bytes());
    produce(&pipeline, 0, &gzip(body("packed").as_bytes()), headers("gzip"));
    produce(&pipeline, 0, &gzip(&vec![b' '; 5_000_000]), headers("gzip"));
    produce(&pipeline, 0, b"\x1b\x10 brotli", headers("br"));
    // The bytes decide, not the header: a proxy has decompressed one body and kept the header, and has removed the
    // header of another body.
    produce(&pipeline, 0, body("plain").as_bytes(), headers("gzip"));
    produce(&pipeline, 0, &gzip(body("bare").as_bytes()), Headers::with_capacity(0));
    wait_for(&pipeline, 5);
    let topics = topics(&pipeline);
    let typed = [(0, "packed"), (3, "plain"), (4, "bare")];
    assert_eq!(topics.typed, typed.map(|(offset, id)| ((0, offset), id.to_owned())));
    let of = |dead_letter: &DeadLetter| (dead_letter.of.clone().unwrap().2, dead_letter.code.clone());
    let codes: Vec<_> = topics.dead_letters.iter().map(of).collect();
    assert_eq!(codes, [(1, "too_large".to_owned()), (2, "unsupported_encoding".to_owned())]);
    let dead_letters = read(&shared_kafka().connection(), &pipeline.topic("dead-letters"));
    assert_eq!(dead_letters[0].value, gzip(&vec![b' '; 5_000_000]), "the original value, untouched");
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_broken_records_over_the_dead_letter_limit_are_deferred() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "drain");
    let _gateway = pipeline.gateway();
    let one = [("TRANSFORMER_WORKERS", "1")];
    let mut held = transformer(&pipeline, &one);
    for number in 0..50 {
        assert_eq!(pipeline.send(&body(&format!("good-{number}"))), 202);
    }
    for number in 0..400 {
        assert_eq!(pipeline.send(&format!("broken {number}")), 202);
    }
    wait_until("the transformer to hold", SOON, || held.metric("customerio_transformer_held") == 1.0);
    assert!(held.log().contains("DEAD_LETTER_LIMIT"), "{}", held.log());
    // The transformer defers the other broken records, and continues with all other records: valid events, and dead
    // letters with another code.
    for number in 0..20 {
        assert_eq!(pipeline.send(&body(&format!("later-{number}"))), 202);
        assert_eq!(pipeline.send(&body(&format!("silent-{number}")).replace("metric", "mood")), 202);
    }
    let counts = || (topics(&pipeline).typed.len(), topics(&pipeline).dead_letters.len());
    wait_until("the other records to be processed", SOON, || counts() == (70, 199 + 20));
    let deferred = |process: &Process| process.metric("customerio_transformer_deferred_records");
    wait_until("the metric of the deferred records", SOON, || deferred(&held) == 201.0);
    assert!(held.metric("customerio_kafka_consumer_lag_records") >= 201.0);
    assert_eq!(held.log().matches("DEAD_LETTER_LIMIT").count(), 1, "logged once: {}", held.log());
    held.kill();
    // A restarted transformer counts dead letters from 0 again, so it dead-letters 199 of the deferred records. It
    // repeats no other record.
    let mut again = transformer(&pipeline, &one);
    wait_until("the transformer to defer records again", SOON, || {
        counts() == (70, 199 + 20 + 199) && deferred(&again) == 2.0
    });
    assert_eq!(again.terminate(), Some(0));
    let after = transformer(&pipeline, &[one[0], ("DEAD_LETTER_LIMIT", "off")]);
    wait_for(&pipeline, 490);
    wait_until("no record to be deferred or unread", SOON, || {
        after.metric("customerio_kafka_consumer_lag_records") == 0.0 && deferred(&after) == 0.0
    });
    let topics = topics(&pipeline);
    topics.assert_exactly_once(&pipeline);
    assert_eq!((topics.typed.len(), topics.dead_letters.len()), (70, 420));
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn a_dedup_window_of_100_000_ids_is_restored_within_20_s() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "full-window");
    let count = 100_000;
    let producer = producer();
    let topic = pipeline.topic("typed");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut last = None;
        for number in 0..count {
            let headers = Headers::with_capacity(1).with(header::EVENT_ID, format!("full-{number}").as_bytes());
            let value = [0_u8; 700];
            let record =
                NewRecord { topic: &topic, partition: Some(Partition(0)), key: None, value: Some(&value), headers };
            last = Some(producer.send(record, ()).unwrap());
        }
        last.unwrap().await.unwrap();
    });
    let mut command = e2e::process::command("transformer", &pipeline.transformer_variables());
    command.arg("--from-beginning");
    let transformer = Process::start_command("transformer", command, free_port());
    wait_until("the window", SOON, || {
        transformer.metric("customerio_transformer_dedup_window_ids") == f64::from(count)
    });
    let seconds = transformer.metric("customerio_transformer_dedup_rebuild_duration_seconds_sum");
    let megabytes = transformer.resident_bytes() / 1_000_000;
    println!("{count} ids read back in {seconds:.2} s (sum of four partitions); the process has {megabytes} MB");
    assert!(seconds < 20.0, "{seconds}");
    let _gateway = pipeline.gateway();
    produce(&pipeline, 0, body("full-99999").as_bytes(), Headers::with_capacity(0));
    produce(&pipeline, 0, body("full-100000").as_bytes(), Headers::with_capacity(0));
    wait_for(&pipeline, 2);
    let typed = read(&shared_kafka().connection(), &topic);
    let made: Vec<_> =
        typed.iter().filter_map(|record| Some((record.text_header(header::RAW_OFFSET)?, record))).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].1.text_header(header::EVENT_ID), Some("full-100000"));
}

#[test]
fn p9_the_events_of_one_person_keep_their_order_and_stay_in_one_partition() {
    let pipeline = Pipeline::new(shared_kafka(), "order");
    let _gateway = pipeline.gateway();
    let mut transformer = pipeline.transformer();
    for number in 0..200 {
        let body = body(&format!("order-{number:04}"))
            .replace(&format!(r#""id":"order-{number:04}""#), &format!(r#""id":"person-{}""#, number % 5));
        assert_eq!(pipeline.send(&body), 202);
        if number == 100 {
            transformer.kill();
            transformer = pipeline.transformer();
        }
    }
    wait_for(&pipeline, 200);
    let connection = shared_kafka().connection();
    let places = |topic: &str| {
        let mut places = std::collections::BTreeMap::<Vec<u8>, Vec<(i32, String)>>::new();
        for record in read(&connection, &pipeline.topic(topic)) {
            let id = match record.text_header(header::EVENT_ID) {
                Some(id) => id.to_owned(),
                None => serde_json::from_slice::<serde_json::Value>(&record.value).unwrap()["event_id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            };
            places.entry(record.key.unwrap()).or_default().push((record.partition.0, id));
        }
        places
    };
    let typed = places("typed");
    assert_eq!(typed, places("raw"), "each key has the same partition number and the same order");
    assert_eq!(typed.len(), 5);
    for events in typed.values() {
        assert!(events.iter().all(|(partition, _)| *partition == events[0].0));
        assert!(events.is_sorted_by_key(|(_, id)| id.clone()), "{events:?}");
        assert_eq!(events.len(), 40);
    }
}
