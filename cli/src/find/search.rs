//! Searches the topics.

use std::collections::{BTreeMap, BTreeSet};

use contract::receipt::Receipt;
use customerio::webhook::{Data, Webhook};
use kafka::dead_letter::{Closed, DeadLetter, Entry};
use kafka::offsets::Offsets;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::header;
use kafka::{Connection, KafkaError, Record, TopicName, partition_of};

use super::{FindArgs, Wanted};
use crate::topics::{PATIENCE, PlaceArg, settled};
use crate::{CommandError, dead_letters, output};

/// A record of the raw topic.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) place: PlaceArg,
    pub(super) time: i64,
    pub(super) event_id: Option<String>,
    pub(super) source: String,
    pub(super) replay_of: Option<String>,
}

/// A record of the typed topic.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) place: PlaceArg,
    pub(super) time: i64,
    pub(super) event_id: String,
    pub(super) raw_offset: Option<i64>,
    pub(super) replay_of: Option<String>,
}

/// A dead letter of an event.
#[derive(Debug, Clone)]
pub(super) struct FoundDeadLetter {
    pub(super) place: PlaceArg,
    pub(super) time: i64,
    pub(super) event_id: Option<String>,
    pub(super) dead_letter: DeadLetter,
    pub(super) closed: Option<Closed>,
}

/// An entry of a receipt.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) typed: PlaceArg,
    pub(super) event_id: String,
    pub(super) time: i64,
    pub(super) status: u16,
    pub(super) accepted: bool,
    pub(super) batch_id: Option<String>,
    pub(super) xaction_id: Option<String>,
}

/// Everything that was found, and how far the services have processed the topics.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) raw: Vec<Raw>,
    pub(super) typed: Vec<Typed>,
    pub(super) dead_letters: Vec<FoundDeadLetter>,
    pub(super) answers: Vec<Answer>,
    pub(super) transformer: BTreeMap<i32, i64>,
    pub(super) sink: BTreeMap<i32, i64>,
    pub(super) receipts_kept: bool,
}

/// How far the clocks of the machines that write records may differ, in milliseconds.
const CLOCK_DIFFERENCE: i64 = 5 * 60 * 1000;

pub(super) fn search(args: &FindArgs, connection: &Connection, wanted: &Wanted) -> Result<Found, CommandError> {
    let topics = &args.topics;
    let offsets = Offsets::new(connection)?;
    let mut found = Found {
        transformer: offsets.committed(&args.groups.transformer_group, &topics.raw_topic)?,
        sink: offsets.committed(&args.groups.sink_group, &topics.typed_topic)?,
        ..Found::default()
    };
    let only = match wanted {
        Wanted::Person(key) if !args.all_partitions => {
            let partitions = offsets.extents(&topics.raw_topic)?.len();
            partition_of(key.as_bytes(), partitions)
        }
        Wanted::Person(_) | Wanted::Event(_) | Wanted::Delivery(_) => None,
    };
    let look = Look { args, connection, offsets: &offsets };
    look.at(&topics.raw_topic, only, |record| found.raw.extend(raw(record, wanted)))?;
    let raw_places: BTreeSet<PlaceArg> = found.raw.iter().map(|raw| raw.place).collect();
    let mut ids: BTreeSet<String> = found.raw.iter().filter_map(|raw| raw.event_id.clone()).collect();
    look.at(&topics.typed_topic, only, |record| {
        let typed = typed(record);
        let made = typed.raw_offset.is_some_and(|offset| raw_places.contains(&PlaceArg { offset, ..typed.place }));
        if made || ids.contains(&typed.event_id) || typed_is(record, &typed, wanted) {
            found.typed.push(typed);
        }
    })?;
    let typed_places: BTreeSet<PlaceArg> = found.typed.iter().map(|typed| typed.place).collect();
    ids.extend(found.typed.iter().map(|typed| typed.event_id.clone()));
    let mut dead_letters: BTreeMap<PlaceArg, FoundDeadLetter> = BTreeMap::new();
    look.at(&topics.dead_letter_topic, only, |record| match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            let from = |topic: &TopicName, places: &BTreeSet<PlaceArg>| {
                dead_letter.origin.as_ref().is_some_and(|origin| {
                    let place = PlaceArg { partition: origin.partition, offset: origin.offset };
                    origin.topic == topic.as_str() && places.contains(&place)
                })
            };
            let event_id = dead_letters::event_id(record);
            if from(&topics.raw_topic, &raw_places)
                || from(&topics.typed_topic, &typed_places)
                || event_id.as_ref().is_some_and(|id| ids.contains(id))
                || body_is(record, wanted)
                || matches!(wanted, Wanted::Event(id) if event_id.as_ref() == Some(id))
            {
                let place = place(record);
                let time = dead_letter.at.or(record.timestamp()).unwrap_or_default();
                dead_letters.insert(place, FoundDeadLetter { place, time, event_id, dead_letter, closed: None });
            }
        }
        Entry::Closed(closed) => {
            let place = PlaceArg { partition: record.partition(), offset: closed.dead_letter };
            if let Some(dead_letter) = dead_letters.get_mut(&place) {
                dead_letter.closed.get_or_insert(closed);
            }
        }
        Entry::Foreign => {}
    })?;
    found.dead_letters = dead_letters.into_values().collect();
    if let Wanted::Event(id) = wanted {
        ids.insert(id.clone());
    }
    found.receipts_kept = look.receipts(&ids, &typed_places, &mut found.answers)?;
    output::progress_done();
    Ok(found)
}

/// Reads topics from the requested time on.
struct Look<'l> {
    args: &'l FindArgs,
    connection: &'l Connection,
    offsets: &'l Offsets,
}

impl Look<'_> {
    fn at(&self, topic: &TopicName, only: Option<i32>, mut visit: impl FnMut(&Record<'_>)) -> Result<(), KafkaError> {
        let extents = settled(self.offsets, topic)?;
        let from = match self.args.since {
            Some(since) => self.offsets.at(topic, &extents, since.saturating_sub(CLOCK_DIFFERENCE))?,
            None => extents.iter().map(|(&partition, extent)| (partition, extent.start)).collect(),
        };
        let offset_ranges: Vec<OffsetRange> = extents
            .iter()
            .filter(|(partition, _)| only.is_none_or(|only| only == **partition))
            .map(|(&partition, extent)| OffsetRange {
                partition,
                start: from.get(&partition).copied().unwrap_or(extent.start),
                end: extent.end,
            })
            .collect();
        let mut seen = 0_u64;
        read_offset_ranges(self.connection, topic, &offset_ranges, PATIENCE, |record| {
            seen += 1;
            if seen.is_multiple_of(10_000) {
                output::progress(&format!("{} records of {topic} read", output::thousands(seen)));
            }
            visit(record);
            Ok::<(), KafkaError>(())
        })
    }

    /// Whether a receipts topic exists.
    fn receipts(
        &self,
        ids: &BTreeSet<String>,
        typed: &BTreeSet<PlaceArg>,
        answers: &mut Vec<Answer>,
    ) -> Result<bool, KafkaError> {
        let Some(topic) = &self.args.topics.receipts_topic.0 else { return Ok(false) };
        let read = self.at(topic, None, |record| {
            let Some(receipt) = Receipt::read(record.value()) else { return };
            for entry in &receipt.records {
                let place = PlaceArg { partition: entry.0, offset: entry.1 };
                if typed.contains(&place) || ids.contains(&*entry.2) {
                    answers.push(Answer {
                        typed: place,
                        event_id: entry.2.to_string(),
                        time: receipt.sent_at,
                        status: receipt.status,
                        accepted: entry.is_accepted(),
                        batch_id: receipt.batch_id.as_ref().map(ToString::to_string),
                        xaction_id: entry.3.as_ref().map(ToString::to_string),
                    });
                }
            }
        });
        match read {
            Ok(()) => Ok(true),
            Err(KafkaError::NoTopic(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn place(record: &Record<'_>) -> PlaceArg {
    PlaceArg { partition: record.partition(), offset: record.offset() }
}

fn text(record: &Record<'_>, name: &str) -> Option<String> {
    record.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn raw(record: &Record<'_>, wanted: &Wanted) -> Option<Raw> {
    body_is(record, wanted).then(|| Raw {
        place: place(record),
        time: text(record, header::RECEIVED_AT)
            .and_then(|time| time.parse().ok())
            .or(record.timestamp())
            .unwrap_or_default(),
        event_id: dead_letters::event_id(record),
        source: text(record, header::SOURCE).unwrap_or_else(|| "default".to_owned()),
        replay_of: text(record, header::REPLAY_OF),
    })
}

/// Whether a raw record, or a dead letter with one, matches the search.
fn body_is(record: &Record<'_>, wanted: &Wanted) -> bool {
    let mut buffer = Vec::new();
    match wanted {
        Wanted::Person(key) => record.key() == Some(key.as_bytes()),
        Wanted::Event(id) => {
            let is = |webhook: &Webhook<'_>| webhook.event_id.text().is_some_and(|found| found == *id);
            holds(dead_letters::unpacked(record, &mut buffer), id, is)
        }
        Wanted::Delivery(id) => {
            let is = |webhook: &Webhook<'_>| {
                let data = Data::of(webhook.data).unwrap_or_default();
                data.delivery_id.text().is_some_and(|found| found == *id)
            };
            holds(dead_letters::unpacked(record, &mut buffer), id, is)
        }
    }
}

/// Whether a body has the id where it should be. Most bodies are skipped without being parsed as JSON.
fn holds(body: &[u8], id: &str, there: impl Fn(&Webhook<'_>) -> bool) -> bool {
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='));
    let may = !plain || std::str::from_utf8(body).is_ok_and(|body| body.contains(id));
    may && Webhook::parse(body).is_ok_and(|webhook| there(&webhook))
}

fn typed(record: &Record<'_>) -> Typed {
    Typed {
        place: place(record),
        time: record.timestamp().unwrap_or_default(),
        event_id: text(record, header::EVENT_ID).unwrap_or_default(),
        raw_offset: text(record, header::RAW_OFFSET).and_then(|offset| offset.parse().ok()),
        replay_of: text(record, header::REPLAY_OF),
    }
}

/// Whether a typed record matches the search, even if its raw record has expired.
fn typed_is(record: &Record<'_>, typed: &Typed, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Person(key) => record.key() == Some(key.as_bytes()),
        Wanted::Event(id) => typed.event_id == *id,
        // Avro writes texts unchanged.
        Wanted::Delivery(id) => record.value().windows(id.len().max(1)).any(|window| window == id.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_only_where_it_belongs() {
        let body = br#"{"event_id":"01X","data":{"delivery_id":"RPI=","subject":"01Y"}}"#;
        let event = |id: &str| holds(body, id, |webhook| webhook.event_id.text().is_some_and(|found| found == id));
        assert!(event("01X") && !event("01Y") && !event("01Z"));
        let odd = br#"{"event_id":"a\u0022b"}"#;
        assert!(holds(odd, "a\"b", |webhook| webhook.event_id.text().is_some_and(|found| found == "a\"b")));
        assert!(!holds(b"not json 01X", "01X", |_| true));
    }
}
