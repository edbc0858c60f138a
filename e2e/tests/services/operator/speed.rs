//! Measures the duration and the memory of an audit.

use std::time::{Duration, Instant};

use contract::Partition;
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::wait_until;
use kafka::record::header;
use serde_json::Value;

use super::{SOON, count};

/// Tests the documented limit: a million events within a minute. Without `E2E_FULL=1`, only 50,000 events are audited.
#[test]
#[ignore = "slow: make test-slow runs it"]
fn a_million_events_are_audited_within_a_minute() {
    let _alone = alone();
    let events: u64 = if std::env::var_os("E2E_FULL").is_some() { 1_000_000 } else { 50_000 };
    let pipeline = Pipeline::new(shared_kafka(), "million");
    let duplicates = write_history(&pipeline, events);
    let begun = Instant::now();
    let mut audit = Process::spawn_with("customerio-aep", &["audit", "--json"], &pipeline.operator_variables());
    let mut peak = 0;
    wait_until("the audit", Duration::from_secs(240), || {
        peak = peak.max(audit.resident_bytes_if_running().unwrap_or(0));
        !audit.is_running()
    });
    let took = begun.elapsed();
    // The audit reports only that no group has ever committed an offset.
    assert_eq!(audit.wait(SOON), Some(1));
    let audit: Value = serde_json::from_str(&audit.log()).unwrap();
    assert_eq!((&audit["findingsTotal"], audit["missingGroups"].as_array().map(Vec::len)), (&0.into(), Some(2)));
    let read = count(&audit["recordsRead"]);
    println!("{events} events ({read} records) audited in {took:.1?}, at most {} MiB resident", peak >> 20);
    assert_eq!(audit["raw"]["records"], events);
    // No group has committed anything, so records that are not typed may still get a typed record.
    assert_eq!((&audit["raw"]["ahead"], &audit["raw"]["unexplained"]), (&duplicates.into(), &0.into()));
    assert_eq!(audit["typed"]["accepted"], events - duplicates);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(peak < 512 << 20, "{peak} bytes resident");
}

/// Writes the records that the three services would have written for this many events; returns the number of
/// duplicates.
fn write_history(pipeline: &Pipeline, events: u64) -> u64 {
    use kafka::Headers;
    use kafka::producer::{DurableProducer, NewRecord, ProduceError, ProducerSettings};

    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(240),
        linger: Duration::from_millis(20),
        max_record_bytes: 2_000_000,
        queue_bytes: 128 << 20,
    };
    let producer = DurableProducer::new(&shared_kafka().connection(), &settings).unwrap();
    let send = |topic, partition: Option<i32>, value: &[u8], headers: &[(&str, &[u8])]| loop {
        let headers = headers.iter().fold(Headers::with_capacity(2), |all, (name, value)| all.with(name, value));
        let key = Some(&b"bbb3660007f68b86e00e9ea8af5f57b7"[..]);
        match producer
            .send(NewRecord { topic, partition: partition.map(Partition), key, value: Some(value), headers }, ())
        {
            Ok(_) => return,
            Err(ProduceError::QueueFull) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    };
    let [raw, typed, receipts] = &["raw", "typed", "receipts"].map(|topic| pipeline.topic(topic));
    let kinds: Vec<_> = customerio::sample::combinations().collect();
    let partitions = u64::try_from(pipeline.partitions).unwrap();
    let mut typed_ends = vec![0_u64; usize::try_from(partitions).unwrap()];
    let mut raw_ends = typed_ends.clone();
    let (mut receipt, mut duplicates) = (Vec::new(), 0);
    for number in 0..events {
        let partition = i32::try_from(number % partitions).unwrap();
        let index = usize::try_from(partition).unwrap();
        let duplicate = number % 32 == 31;
        let of = if duplicate { number - partitions } else { number };
        let (event, variant) = kinds[usize::try_from(of).unwrap() % kinds.len()];
        let (id, person) = (format!("01J9ZK{of:020}"), format!("person-{}", of % 1000));
        let person = customerio::sample::Person { id: &person, email: "someone@example.com", cio_id: "d9c106000001" };
        let sample =
            customerio::sample::Sample { event, variant, event_id: &id, timestamp: 1_700_000_000, person, number: of };
        send(raw, Some(partition), sample.body().as_bytes(), &[(header::RECEIVED_AT, b"1700000001000")]);
        let raw_offset = raw_ends[index];
        raw_ends[index] += 1;
        if duplicate {
            duplicates += 1;
        } else {
            let raw_offset = raw_offset.to_string();
            let headers = [(header::EVENT_ID, id.as_bytes()), (header::RAW_OFFSET, raw_offset.as_bytes())];
            send(typed, Some(partition), &[b'x'; 900], &headers);
            receipt.push(serde_json::json!([partition, typed_ends[index], id, "xaction", "accepted"]));
            typed_ends[index] += 1;
        }
        if receipt.len() == 200 || number + 1 == events {
            let entries = std::mem::take(&mut receipt);
            let json = serde_json::json!({"sentAt": 1_700_000_002_000_i64, "status": 207, "inletId": null, "batchId": "b", "records": entries});
            send(receipts, Some(0), json.to_string().as_bytes(), &[]);
        }
    }
    let offsets = kafka::offsets::Offsets::new(&shared_kafka().connection()).unwrap();
    for (topic, expected) in [(raw, events), (typed, events - duplicates)] {
        wait_until("the history to be written", Duration::from_secs(240), || {
            offsets.watermarks(topic).unwrap().values().map(|watermarks| watermarks.high.0).sum::<i64>()
                == i64::try_from(expected).unwrap()
        });
    }
    duplicates
}
