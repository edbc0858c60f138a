//! Accesses the topics that a pass reads and writes, on Kafka. Reads block, so they run on separate threads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use contract::dead_letter::{CutValue, Mark};
use contract::receipt::{Receipt, ReceiptVerdict};
use contract::{Offset, Partition, Position};
use kafka::offsets::Offsets;
use kafka::producer::{DurableProducer, NewRecord, ProduceError, ProducerSettings};
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::{PackedRecord, header};
use kafka::{Connection, KafkaError, Record, TopicName, Watermarks};

use super::{Checked, Rejected, Topics};
use crate::config::Settings;
use crate::journal::mark_record;

/// Maximum wait for the next record of a read.
const NEXT_RECORD: Duration = Duration::from_secs(30);
/// Maximum wait for the end of an open transaction of the transformer.
const OPEN_TRANSACTION: Duration = Duration::from_secs(90);
/// The search for receipts begins this long before the batch was created. Platform creates the batch of an event within
/// minutes after it has accepted the event.
const RECEIPT_BEFORE_MS: i64 = 6 * 60 * 60 * 1000;
/// Without receipts, the search for typed records begins this long before the batch was created. This is longer than
/// for receipts, because a typed record may have waited before it was sent.
const TYPED_BEFORE_MS: i64 = 24 * 60 * 60 * 1000;
/// The search ends this long after the batch was created, because clocks may differ.
const AFTER_MS: i64 = 10 * 60 * 1000;
/// Maximum size of a record that is written whole, in bytes.
const LARGEST_RECORD: usize = 16 * 1024 * 1024;

/// The topics and a producer for dead letters.
#[derive(Debug)]
pub(crate) struct KafkaTopics {
    connection: Connection,
    typed: TopicName,
    dead_letters: TopicName,
    receipts: Option<TopicName>,
    producer: DurableProducer<()>,
}

impl KafkaTopics {
    pub(crate) fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let producer = ProducerSettings {
            delivery_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(5),
            max_record_bytes: LARGEST_RECORD,
            queue_bytes: 2 * LARGEST_RECORD,
        };
        Ok(Self {
            producer: DurableProducer::new(&settings.connection, &producer)?,
            connection: settings.connection.clone(),
            typed: settings.input.clone(),
            dead_letters: settings.dead_letters.clone(),
            receipts: settings.receipts.clone(),
        })
    }

    async fn send(&self, record: NewRecord<'_>) -> Result<(), ProduceError> {
        self.producer.send_alone(record, ())?.await.map(drop)
    }
}

impl Topics for KafkaTopics {
    async fn checked(&self, since: i64) -> Result<Checked, KafkaError> {
        let (connection, topic) = (self.connection.clone(), self.dead_letters.clone());
        blocking(move || {
            let offsets = Offsets::new(&connection)?;
            let mut checked = Checked::default();
            let ranges = between(&offsets, &topic, since, None)?;
            read(&connection, &topic, &ranges, |record| checked.add(record.headers().collect::<Vec<_>>().into_iter()))?;
            Ok(checked)
        })
        .await
    }

    async fn typed(&self, ids: HashSet<String>, around: i64) -> Result<HashMap<String, PackedRecord>, KafkaError> {
        let (connection, typed, receipts) = (self.connection.clone(), self.typed.clone(), self.receipts.clone());
        let before = if receipts.is_some() { RECEIPT_BEFORE_MS } else { TYPED_BEFORE_MS };
        let (from, until) = (around - before, around + AFTER_MS);
        blocking(move || find(&connection, (&typed, receipts.as_ref()), &ids, (from, Some(until)))).await
    }

    async fn write(&self, rejected: &Rejected) -> Result<(), ProduceError> {
        let topics = (&self.dead_letters, &self.typed);
        let now = service::unix_millis();
        match self.send(rejected.record(topics, rejected.value(), None, now)).await {
            Err(ProduceError::TooLarge) => {
                let value = CutValue::of(rejected.value());
                self.send(rejected.record(topics, value.kept, Some(value.cut.clone()), now)).await
            }
            written => written,
        }
    }

    async fn mark(&self, to: i64) -> Result<(), ProduceError> {
        self.send(mark_record(&self.dead_letters, &Mark::FailedBatchesCheckedTo(to))).await
    }
}

async fn blocking<R: Send + 'static>(
    call: impl FnOnce() -> Result<R, KafkaError> + Send + 'static,
) -> Result<R, KafkaError> {
    let called = tokio::task::spawn_blocking(call).await;
    called.unwrap_or_else(|_| Err(KafkaError::Configuration("reading a topic was interrupted".to_owned())))
}

/// Returns the typed records of these events. With a receipts topic, the receipts in the time range give the positions
/// of the typed records. Otherwise, all typed records in the time range are searched.
fn find(
    connection: &Connection,
    (typed, receipts): (&TopicName, Option<&TopicName>),
    ids: &HashSet<String>,
    (from, until): (i64, Option<i64>),
) -> Result<HashMap<String, PackedRecord>, KafkaError> {
    let offsets = Offsets::new(connection)?;
    let mut found = HashMap::new();
    let Some(receipts) = receipts else {
        let ranges = between(&offsets, typed, from, until)?;
        read(connection, typed, &ranges, |record| keep(record, ids, &mut found))?;
        return Ok(found);
    };
    let ranges = between(&offsets, receipts, from, until)?;
    let mut positions: HashMap<String, Position> = HashMap::new();
    read(connection, receipts, &ranges, |record| accepted(record.value(), ids, &mut positions))?;
    for ranges in rounds(positions.values()) {
        read(connection, typed, &ranges, |record| keep(record, ids, &mut found))?;
    }
    Ok(found)
}

/// Returns the offset ranges of the records that were written between two times. Without `until`, the ranges end at the
/// current end of the topic.
fn between(
    offsets: &Offsets,
    topic: &TopicName,
    from: i64,
    until: Option<i64>,
) -> Result<Vec<OffsetRange>, KafkaError> {
    let watermarks = offsets.watermarks(topic)?;
    // All records were written after 1970, so a time before that means the beginning of the topic.
    let starts = if from > 0 { offsets.at(topic, &watermarks, from)? } else { BTreeMap::new() };
    let ends = until.map(|until| offsets.at(topic, &watermarks, until)).transpose()?;
    let range = |(&partition, watermark): (&Partition, &Watermarks)| {
        let end = ends.as_ref().and_then(|ends| ends.get(&partition)).copied().unwrap_or(watermark.high);
        OffsetRange { partition, start: starts.get(&partition).copied().unwrap_or(watermark.low), end }
    };
    offsets.wait_until_settled(topic, &watermarks, OPEN_TRANSACTION)?;
    Ok(watermarks.iter().map(range).collect())
}

fn read(
    connection: &Connection,
    topic: &TopicName,
    ranges: &[OffsetRange],
    mut visit: impl FnMut(&Record<'_>),
) -> Result<(), KafkaError> {
    read_offset_ranges(connection, topic, ranges, NEXT_RECORD, |record| {
        visit(record);
        Ok::<(), KafkaError>(())
    })
}

/// Keeps the newest typed record of each of these events.
fn keep(record: &Record<'_>, ids: &HashSet<String>, found: &mut HashMap<String, PackedRecord>) {
    let Some(id) = record.header(header::EVENT_ID).and_then(|id| std::str::from_utf8(id).ok()) else { return };
    if ids.contains(id) {
        found.insert(id.to_owned(), PackedRecord::from(record));
    }
}

/// Adds the positions of the typed records of these events that a receipt reports as accepted.
fn accepted(value: &[u8], ids: &HashSet<String>, positions: &mut HashMap<String, Position>) {
    let Some(receipt) = Receipt::read(value) else { return };
    for entry in receipt.records.iter().filter(|entry| entry.verdict == ReceiptVerdict::Accepted) {
        if ids.contains(&*entry.event_id) {
            positions.insert(entry.event_id.clone().into_owned(), entry.position);
        }
    }
}

/// Returns ranges of one record each, in rounds: a round has at most one range for each partition.
fn rounds<'p>(positions: impl Iterator<Item = &'p Position>) -> Vec<Vec<OffsetRange>> {
    let mut by_partition: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
    for position in positions {
        by_partition.entry(position.partition).or_default().push(position.offset);
    }
    let longest = by_partition.values().map(Vec::len).max().unwrap_or_default();
    let round = |number: usize| {
        let of = |(&partition, offsets): (&Partition, &Vec<Offset>)| {
            offsets.get(number).map(|&start| OffsetRange { partition, start, end: start.next() })
        };
        by_partition.iter().filter_map(of).collect()
    };
    (0..longest).map(round).collect()
}

#[cfg(test)]
mod tests {
    use ::settings::Variables;
    use contract::receipt::ReceiptEntry;
    use kafka::Headers;
    use kafka::embedded::EmbeddedBroker;
    use service::ServiceConfig;

    use super::super::Original;
    use super::*;
    use crate::config::Config;

    #[test]
    fn only_accepted_entries_of_a_receipt_give_the_position_of_an_event() {
        let entry = |offset, id: &'static str, verdict| ReceiptEntry {
            position: Position::new(1, offset),
            event_id: id.into(),
            xaction_id: None,
            verdict,
        };
        let records = vec![
            entry(1, "a", ReceiptVerdict::Refused),
            entry(2, "a", ReceiptVerdict::Accepted),
            entry(3, "b", ReceiptVerdict::Accepted),
        ];
        let receipt = Receipt { records, ..Receipt::default() };
        let mut positions = HashMap::new();
        accepted(&receipt.json(), &HashSet::from(["a".to_owned()]), &mut positions);
        accepted(b"no receipt", &HashSet::from(["a".to_owned()]), &mut positions);
        assert_eq!(positions, HashMap::from([("a".to_owned(), Position::new(1, 2))]));
    }

    #[test]
    fn a_round_has_at_most_one_record_of_each_partition() {
        let positions = [Position::new(0, 5), Position::new(1, 9), Position::new(0, 7)];
        let rounds = rounds(positions.iter());
        let range = |partition, start| {
            let (partition, start) = (Partition(partition), Offset(start));
            OffsetRange { partition, start, end: start.next() }
        };
        assert_eq!(rounds, [vec![range(0, 5), range(1, 9)], vec![range(0, 7)]]);
        assert!(super::rounds(std::iter::empty()).is_empty());
    }

    fn settings(bootstrap: &str, receipts: &str) -> Settings {
        let arguments = [
            "sink",
            &format!("--kafka-bootstrap-servers={bootstrap}"),
            "--platform-tenant=acme",
            "--platform-inlet-url=http://127.0.0.1:1/collection/abc",
            "--platform-ims-org=A@AdobeOrg",
            "--platform-schema-id=https://ns.adobe.com/acme/schemas/1",
            "--platform-dataset-id=d",
            &format!("--receipts-topic={receipts}"),
        ];
        Config::parse_with(&Variables::none(), arguments).unwrap().validate().unwrap()
    }

    fn rejected(id: &str, original: Original) -> Rejected {
        let (batch, message) = ("01B".to_owned(), "type".to_owned());
        Rejected { batch, event_id: id.to_owned(), message, keyword: "type", original }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rejected_events_are_found_with_and_without_receipts_and_progress_is_read_back() {
        let broker = EmbeddedBroker::start().unwrap();
        let settings = settings(&broker.bootstrap(), "receipts");
        for topic in [&settings.input, &settings.dead_letters, settings.receipts.as_ref().unwrap()] {
            broker.create_topic(topic, 2).unwrap();
        }
        let topics = KafkaTopics::new(&settings).unwrap();
        let typed = |id: &'static str| {
            let headers = Headers::with_capacity(1).with(header::EVENT_ID, id.as_bytes());
            NewRecord {
                topic: &settings.input,
                partition: Some(Partition(1)),
                key: Some(b"key"),
                value: Some(b"avro"),
                headers,
            }
        };
        for id in ["good", "bad", "other"] {
            topics.send(typed(id)).await.unwrap();
        }
        let entry = ReceiptEntry {
            position: Position::new(1, 1),
            event_id: "bad".into(),
            xaction_id: None,
            verdict: ReceiptVerdict::Accepted,
        };
        let receipt = Receipt { records: vec![entry], ..Receipt::default() }.json();
        let headers = Headers::with_capacity(0);
        let topic = settings.receipts.as_ref().unwrap();
        topics.send(NewRecord { topic, partition: None, key: None, value: Some(&receipt), headers }).await.unwrap();

        let ids = HashSet::from(["bad".to_owned(), "missing".to_owned()]);
        let connection = settings.connection.clone();
        let find = |receipts: Option<&TopicName>| {
            tokio::task::block_in_place(|| find(&connection, (&settings.input, receipts), &ids, (0, None))).unwrap()
        };
        for receipts in [settings.receipts.as_ref(), None] {
            let found = find(receipts);
            let found: Vec<_> = found.iter().map(|(id, record)| (id.as_str(), record.position)).collect();
            assert_eq!(found, [("bad", Position::new(1, 1))]);
        }
        let record = find(settings.receipts.as_ref()).remove("bad").unwrap();
        topics.write(&rejected("bad", Original::Typed(record))).await.unwrap();
        topics.write(&rejected("missing", Original::Row(b"{}".to_vec()))).await.unwrap();
        topics.mark(7).await.unwrap();
        let events = ["bad", "missing"].map(|id| ("01B".to_owned(), id.to_owned()));
        let expected = Checked { to: Some(7), events: HashSet::from(events) };
        assert_eq!(topics.checked(0).await.unwrap(), expected);
    }
}
