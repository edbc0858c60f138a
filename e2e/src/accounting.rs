//! The proof at the end of a test: every id looked up, on the topics and at Platform. Counts are not compared: each
//! record is followed by its own id and offset.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka::dead_letter::header as dead_letter;
use kafka::reader::{Isolation, TopicReader};
use kafka::record::{OwnedRecord, header};
use kafka::{Connection, TopicName};

use crate::pipeline::Pipeline;
use crate::process::http_get;

/// How long reading a topic may take.
const READ: Duration = Duration::from_secs(120);

/// A topic's records that are there for good.
///
/// # Panics
/// When the topic cannot be read.
#[must_use]
pub fn read(connection: &Connection, topic: &TopicName) -> Vec<OwnedRecord> {
    let reader = TopicReader::new(connection, topic, Isolation::ReadCommitted).expect("a reader");
    let mut records = Vec::new();
    reader.read_to_end(READ, |record| records.push(OwnedRecord::from(record))).expect("the topic's end");
    records
}

/// What the topics say.
#[derive(Debug)]
pub struct Topics {
    /// Event id of each raw record that has one, by partition and offset.
    pub raw: BTreeMap<(i32, i64), Option<String>>,
    /// For each typed record: the raw record it was made of.
    pub typed: Vec<((i32, i64), String)>,
    /// For each dead letter: topic, partition and offset of the record, and the code.
    pub dead_letters: Vec<(String, i32, i64, String)>,
}

impl Topics {
    /// Reads them.
    ///
    /// # Panics
    /// When a record lacks a header that the contract asks for.
    #[must_use]
    pub fn read(connection: &Connection, pipeline: &Pipeline) -> Self {
        let number = |record: &OwnedRecord, name: &str| -> i64 {
            record.text_header(name).unwrap_or_else(|| panic!("no header {name}")).parse().expect("a number")
        };
        let raw = read(connection, &pipeline.topic("raw"))
            .into_iter()
            .map(|record| {
                let body: Option<serde_json::Value> = serde_json::from_slice(&record.value).ok();
                let id = body.and_then(|body| Some(body.get("event_id")?.as_str()?.to_owned()));
                ((record.partition, record.offset), id)
            })
            .collect();
        let typed = read(connection, &pipeline.topic("typed"))
            .into_iter()
            .map(|record| {
                let id = record.text_header(header::EVENT_ID).expect("event-id").to_owned();
                ((record.partition, number(&record, header::RAW_OFFSET)), id)
            })
            .collect();
        let dead_letters = read(connection, &pipeline.topic("dead-letters"))
            .into_iter()
            .filter(|record| record.header(dead_letter::RESOLVES).is_none())
            .map(|record| {
                let text = |name: &str| record.text_header(name).unwrap_or_default().to_owned();
                let partition = i32::try_from(number(&record, dead_letter::PARTITION)).expect("a partition");
                (text(dead_letter::TOPIC), partition, number(&record, dead_letter::OFFSET), text(dead_letter::CODE))
            })
            .collect();
        Self { raw, typed, dead_letters }
    }

    /// Every raw record is exactly one typed record, or one dead letter of the transformer, or a repeat of an earlier
    /// record of its partition that is typed; and no event is typed twice.
    ///
    /// # Panics
    /// When one is missing, doubled, or made of nothing.
    pub fn assert_exactly_once(&self, pipeline: &Pipeline) {
        let raw_topic = pipeline.topic("raw");
        let mut outcomes: BTreeMap<(i32, i64), u32> = self.raw.keys().map(|&place| (place, 0)).collect();
        let typed = self.typed.iter().map(|(place, _)| *place);
        let dead = self.dead_letters.iter().filter(|(topic, ..)| topic == raw_topic.as_str());
        for place in typed.chain(dead.map(|(_, partition, offset, _)| (*partition, *offset))) {
            *outcomes.get_mut(&place).unwrap_or_else(|| panic!("{place:?} was made of no raw record")) += 1;
        }
        let mut typed_at: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
        for (place, id) in &self.typed {
            let before = typed_at.insert(id, *place);
            assert!(before.is_none(), "{id} is typed twice: of {before:?} and of {place:?}");
        }
        let is_repeat = |(partition, offset): (i32, i64)| {
            let id = self.raw.get(&(partition, offset)).and_then(Option::as_deref);
            let first = id.and_then(|id| typed_at.get(id));
            first.is_some_and(|first| first.0 == partition && first.1 < offset)
        };
        let wrong: Vec<_> =
            outcomes.iter().filter(|(place, count)| **count != 1 && !(**count == 0 && is_repeat(**place))).collect();
        assert!(wrong.is_empty(), "{} raw records with a wrong number of outcomes: {:?}", wrong.len(), wrong.first());
    }

    /// Raw records beyond the typed ones and the transformer's dead letters: repeats that became no record.
    #[must_use]
    pub fn collapsed(&self, pipeline: &Pipeline) -> usize {
        let raw_topic = pipeline.topic("raw");
        let dead = self.dead_letters.iter().filter(|(topic, ..)| topic == raw_topic.as_str()).count();
        self.raw.len() - self.typed.len() - dead
    }

    /// The raw topic holds each of these ids.
    ///
    /// # Panics
    /// When one is missing.
    pub fn assert_stored(&self, ids: &[String]) {
        let stored: BTreeSet<&str> = self.raw.values().flatten().map(String::as_str).collect();
        let missing: Vec<_> = ids.iter().filter(|id| !stored.contains(id.as_str())).take(10).collect();
        assert!(missing.is_empty(), "acknowledged but not stored: {missing:?}");
    }
}

/// Ids that Platform (the simulator) has accepted, with how often.
///
/// # Panics
/// When the simulator does not answer.
#[must_use]
pub fn accepted(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let mut accepted = BTreeMap::new();
    loop {
        let path = format!("/admin/events?offset={}&limit=10000", accepted.len());
        let (_, body) = http_get(pipeline.simulator_port, &path).expect("the simulator");
        let page: serde_json::Value = serde_json::from_str(&dechunk(&body)).expect("JSON");
        let page = page["events"].as_array().expect("events");
        for entry in page {
            accepted.insert(entry[0].as_str().expect("an id").to_owned(), entry[1].as_u64().expect("a count"));
        }
        if page.is_empty() {
            return accepted;
        }
    }
}

/// Waits until Platform has accepted each of these ids.
///
/// # Panics
/// When some are missing after `timeout`.
pub fn assert_accepted(pipeline: &Pipeline, ids: &[String], timeout: Duration) {
    let deadline = std::time::Instant::now() + timeout;
    loop {
        let accepted = accepted(pipeline);
        let missing: Vec<_> = ids.iter().filter(|id| !accepted.contains_key(id.as_str())).collect();
        if missing.is_empty() {
            return;
        }
        let some: Vec<_> = missing.iter().take(5).collect();
        assert!(std::time::Instant::now() < deadline, "{} ids were not accepted, for example {some:?}", missing.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The body of an answer that may have come in chunks.
fn dechunk(body: &str) -> String {
    if body.starts_with('{') {
        return body.to_owned();
    }
    let mut rest = body;
    let mut whole = String::with_capacity(body.len());
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&tail[..size]);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    whole
}
