//! Accounts for every event at the end of a test: looks up each id and each offset on the topics and at Platform.
//! Comparing only counts would not show a lost event if another one is duplicated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::dead_letter::header as dead_letter;
use kafka::offsets::Offsets;
use kafka::reader::{Isolation, TopicReader};
use kafka::record::{OwnedRecord, Record, header};
use kafka::{Connection, KafkaError, TopicName};

use crate::http;
use crate::pipeline::Pipeline;

/// Maximum time to read a topic.
const READ: Duration = Duration::from_secs(120);

/// Reads the committed records of a topic.
///
/// # Panics
/// Panics if the topic cannot be read.
#[must_use]
pub fn read(connection: &Connection, topic: &TopicName) -> Vec<OwnedRecord> {
    let mut records = Vec::new();
    each(connection, topic, |record| records.push(OwnedRecord::from(record)));
    records
}

/// Maximum time until a committed transaction is readable in every partition.
const MARKERS: Duration = Duration::from_secs(5);

/// Calls `visit` with each committed record of a topic.
pub(crate) fn each(connection: &Connection, topic: &TopicName, visit: impl FnMut(&Record<'_>)) {
    // A group's offsets may be committed shortly before the records of the same transaction are readable, because the
    // brokers end the transaction in one partition after the other. A transaction that a dead process left open delays
    // the read by at most `MARKERS`.
    let offsets = Offsets::new(connection).expect("a client");
    let watermarks = offsets.watermarks(topic).expect("the topic's ends");
    match offsets.wait_until_settled(topic, &watermarks, MARKERS) {
        Ok(()) | Err(KafkaError::OpenTransaction { .. }) => {}
        Err(error) => panic!("waiting for the ends of transactions in {topic}: {error}"),
    }
    let reader = TopicReader::new(connection, topic, Isolation::ReadCommitted).expect("a reader");
    reader.read_to_end(READ, visit).expect("the topic's end");
}

/// The position of a raw record: partition and offset.
pub type Place = (i32, i64);

/// A dead letter and its original record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Topic, partition and offset of the original record; `None` for dead letters of the gateway.
    pub of: Option<(String, i32, i64)>,
    /// Code of the reason.
    pub code: String,
    /// Id of the event, if it is known.
    pub event_id: Option<String>,
}

/// Content of the topics, reduced to ids and positions.
#[derive(Debug, Default)]
pub struct Topics {
    /// Raw records by position, with the event id if the body has one.
    pub raw: BTreeMap<Place, Option<String>>,
    /// Position of the raw record, and event id, of each typed record.
    pub typed: Vec<(Place, String)>,
    /// Dead letters, including resolved ones.
    pub dead_letters: Vec<DeadLetter>,
}

/// Outcomes of the raw records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Number of duplicates: raw records without output whose event was typed from an earlier record of the partition.
    pub collapsed: usize,
    /// Raw records that have no output and are not duplicates.
    pub unexplained: Vec<Place>,
    /// Raw records with more than one outcome, and positions of outcomes without a raw record.
    pub doubled: Vec<Place>,
    /// Ids of events that were typed more than once, from different raw records of one partition.
    pub repeated: Vec<String>,
}

fn event_id(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("event_id")?.as_str()?.to_owned())
}

/// Returns a header as text.
fn text<'r>(record: &Record<'r>, name: &str) -> Option<&'r str> {
    record.header(name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Returns a header as a number.
fn number<T: std::str::FromStr>(record: &Record<'_>, name: &str) -> Option<T> {
    text(record, name)?.parse().ok()
}

/// Returns the position of the raw record that a typed record was mapped from.
pub(crate) fn raw_place(typed: &Record<'_>) -> Place {
    (typed.partition().0, number(typed, header::RAW_OFFSET).expect("raw-offset"))
}

impl Topics {
    /// Reads the topics, and keeps only ids and positions.
    ///
    /// # Panics
    /// Panics if a topic cannot be read, or a record lacks a required header.
    #[must_use]
    pub fn read(connection: &Connection, pipeline: &Pipeline) -> Self {
        let mut topics = Self { dead_letters: Self::read_dead_letters(connection, pipeline), ..Self::default() };
        each(connection, &pipeline.topic("raw"), |record| {
            topics.raw.insert((record.partition().0, record.offset().0), event_id(record.value()));
        });
        each(connection, &pipeline.topic("typed"), |record| {
            let id = text(record, header::EVENT_ID).expect("event-id").to_owned();
            topics.typed.push((raw_place(record), id));
        });
        topics
    }

    /// Reads only the dead letters, without their resolutions.
    ///
    /// # Panics
    /// Panics under the same conditions as [`Topics::read`].
    #[must_use]
    pub fn read_dead_letters(connection: &Connection, pipeline: &Pipeline) -> Vec<DeadLetter> {
        let mut dead_letters = Vec::new();
        each(connection, &pipeline.topic("dead-letters"), |record| {
            if record.header(dead_letter::RESOLVES).is_some() {
                return;
            }
            let of = text(record, dead_letter::TOPIC).map(|topic| {
                let partition = number(record, dead_letter::PARTITION).expect("the partition next to the topic");
                (
                    topic.to_owned(),
                    partition,
                    number(record, dead_letter::OFFSET).expect("the offset next to the topic"),
                )
            });
            let code = text(record, dead_letter::CODE).expect("a code").to_owned();
            let event_id = text(record, header::EVENT_ID).map(str::to_owned).or_else(|| event_id(record.value()));
            dead_letters.push(DeadLetter { of, code, event_id });
        });
        dead_letters
    }

    /// Finds the outcome of each raw record: exactly one typed record, exactly one dead letter of the transformer, or
    /// nothing because its event was typed before.
    #[must_use]
    pub fn balance(&self, raw_topic: &TopicName) -> Balance {
        let mut balance = Balance::default();
        let mut outcomes: BTreeMap<Place, u32> = self.raw.keys().map(|&place| (place, 0)).collect();
        let dead = self.dead_letters.iter().filter_map(|dead_letter| match &dead_letter.of {
            Some((topic, partition, offset)) if topic == raw_topic.as_str() => Some((*partition, *offset)),
            _ => None,
        });
        for place in self.typed.iter().map(|(place, _)| *place).chain(dead) {
            match outcomes.get_mut(&place) {
                Some(count) => *count += 1,
                None => balance.doubled.push(place),
            }
        }
        let mut first_typed: BTreeMap<(i32, &str), i64> = BTreeMap::new();
        let mut repeated: BTreeSet<&str> = BTreeSet::new();
        for ((partition, offset), id) in &self.typed {
            first_typed
                .entry((*partition, id))
                .and_modify(|first| {
                    if *first != *offset {
                        repeated.insert(id);
                    }
                    *first = (*first).min(*offset);
                })
                .or_insert(*offset);
        }
        balance.repeated = repeated.into_iter().map(str::to_owned).collect();
        for (&(partition, offset), count) in &outcomes {
            let id = self.raw.get(&(partition, offset)).and_then(Option::as_deref);
            let earlier = id.and_then(|id| first_typed.get(&(partition, id))).is_some_and(|first| *first < offset);
            match count {
                0 if earlier => balance.collapsed += 1,
                0 => balance.unexplained.push((partition, offset)),
                1 => {}
                _ => balance.doubled.push((partition, offset)),
            }
        }
        balance
    }

    /// Checks that every raw record became exactly one typed record or one dead letter of the transformer, unless its
    /// event was typed before in its partition. Also checks that no event is typed twice in a partition.
    ///
    /// # Panics
    /// Panics if an outcome is missing, duplicated, or has no raw record.
    pub fn assert_exactly_once(&self, pipeline: &Pipeline) {
        let Balance { unexplained, doubled, repeated, .. } = self.balance(&pipeline.topic("raw"));
        let some = |places: &[Place]| format!("{} raw records, for example {:?}", places.len(), places.first());
        assert!(unexplained.is_empty(), "without an outcome: {}", some(&unexplained));
        assert!(doubled.is_empty(), "with more than one outcome: {}", some(&doubled));
        assert!(repeated.is_empty(), "{} events are typed twice, for example {:?}", repeated.len(), repeated.first());
    }

    /// Returns the number of raw records that have no output because their event was typed before.
    #[must_use]
    pub fn collapsed(&self, pipeline: &Pipeline) -> usize {
        self.balance(&pipeline.topic("raw")).collapsed
    }

    /// Returns the given ids that are not on the raw topic.
    #[must_use]
    pub fn not_stored<'i>(&self, ids: &'i [String]) -> Vec<&'i String> {
        let stored: BTreeSet<&str> = self.raw.values().flatten().map(String::as_str).collect();
        ids.iter().filter(|id| !stored.contains(id.as_str())).collect()
    }

    /// Checks that each of these ids is on the raw topic.
    ///
    /// # Panics
    /// Panics if an id is missing.
    pub fn assert_stored(&self, ids: &[String]) {
        let missing: Vec<_> = self.not_stored(ids).into_iter().take(10).collect();
        assert!(missing.is_empty(), "acknowledged but not stored: {missing:?}");
    }
}

/// Returns how often Platform (the simulator) has accepted each event id.
///
/// # Panics
/// Panics if the simulator does not respond.
#[must_use]
pub fn accepted(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let mut accepted = BTreeMap::new();
    loop {
        let path = format!("/admin/events?offset={}&limit=10000", accepted.len());
        let (_, body) = http::get(pipeline.simulator_port, &path).expect("the simulator");
        let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
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
/// Panics if an id is still missing after `timeout`.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns raw records of partition 0 with these ids; `typed` contains the offsets of the records that were typed.
    fn topics(raw: &[&str], typed: &[i64]) -> Topics {
        let raw: BTreeMap<Place, Option<String>> =
            (0..).zip(raw).map(|(offset, id)| ((0, offset), Some((*id).to_owned()))).collect();
        let id = |offset: i64| raw[&(0, offset)].clone().expect("an id");
        let typed = typed.iter().map(|&offset| ((0, offset), id(offset))).collect();
        Topics { typed, raw, dead_letters: Vec::new() }
    }

    fn balance(raw: &[&str], typed: &[i64]) -> Balance {
        topics(raw, typed).balance(&"raw".parse().expect("a name"))
    }

    #[test]
    fn a_record_without_output_is_explained_only_if_its_event_was_typed_before() {
        assert_eq!(balance(&["a", "b"], &[0, 1]), Balance::default());
        assert_eq!(balance(&["a", "a", "a"], &[0]), Balance { collapsed: 2, ..Balance::default() });
        let unexplained = |places: &[Place]| Balance { unexplained: places.to_vec(), ..Balance::default() };
        assert_eq!(balance(&["a", "b"], &[0]), unexplained(&[(0, 1)]));
        assert_eq!(balance(&["a", "a"], &[1]), unexplained(&[(0, 0)]), "the first record of an event must be typed");
    }

    #[test]
    fn a_record_typed_twice_is_doubled_and_an_event_typed_from_two_records_is_repeated() {
        assert_eq!(balance(&["a"], &[0, 0]), Balance { doubled: vec![(0, 0)], ..Balance::default() });
        assert_eq!(balance(&["a", "a"], &[0, 1]), Balance { repeated: vec!["a".to_owned()], ..Balance::default() });
        let mut topics = topics(&["a"], &[0]);
        topics.typed.push(((3, 9), "z".to_owned()));
        let of_nothing = topics.balance(&"raw".parse().expect("a name"));
        assert_eq!(of_nothing.doubled, [(3, 9)]);
    }

    #[test]
    fn only_a_dead_letter_of_the_raw_record_counts_as_an_outcome() {
        let mut topics = topics(&["a", "b"], &[0]);
        let dead_letter = |topic: &str| DeadLetter {
            of: Some((topic.to_owned(), 0, 1)),
            code: "not_json".to_owned(),
            event_id: None,
        };
        topics.dead_letters.push(dead_letter("typed"));
        assert_eq!(topics.balance(&"raw".parse().expect("a name")).unexplained, [(0, 1)]);
        topics.dead_letters.push(dead_letter("raw"));
        assert_eq!(topics.balance(&"raw".parse().expect("a name")), Balance::default());
    }
}
