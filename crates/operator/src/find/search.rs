//! Searches the topics.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use contract::dead_letter::Entry;
use contract::limits::CLOCK_TOLERANCE_MS;
use contract::receipt::{Receipt, ReceiptVerdict};
use contract::{Position, RawRecord, TypedRecord};
use customerio::webhook::{Data, Webhook};
use kafka::offsets::Offsets;
use kafka::reader::OffsetRange;
use kafka::{KafkaError, Record, TopicName, partition_of};

use super::found::{Answer, Found, FoundDeadLetter, Raw, Typed};
use super::request::{FindScope, Wanted};
use super::timeline::{Timeline, timelines};
use crate::error::OperatorError;
use crate::pipeline::{Pipeline, stable_extents};
use crate::record::{event_id, position, unpacked};

/// Finds events and returns their histories, in the order of their first steps. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn run(pipeline: Pipeline<'_>, scope: &FindScope, wanted: &Wanted) -> Result<Vec<Timeline>, OperatorError> {
    Ok(timelines(search(pipeline, scope, wanted)?))
}

fn search(pipeline: Pipeline<'_>, scope: &FindScope, wanted: &Wanted) -> Result<Found, KafkaError> {
    let topics = pipeline.topics;
    let offsets = Offsets::new(pipeline.connection)?;
    let mut found = Found {
        transformer: offsets.committed(&scope.groups.transformer, &topics.raw)?,
        sink: offsets.committed(&scope.groups.sink, &topics.typed)?,
        ..Found::default()
    };
    let only = match wanted {
        Wanted::Person(key) if !scope.all_partitions => {
            let partitions = offsets.extents(&topics.raw)?.len();
            partition_of(key.as_bytes(), partitions)
        }
        Wanted::Person(_) | Wanted::Event(_) | Wanted::Delivery(_) => None,
    };
    let look = Look { pipeline, since: scope.since, offsets: &offsets };
    look.at(&topics.raw, only, |record| found.raw.extend(raw(record, wanted)))?;
    let raw_positions: BTreeSet<Position> = found.raw.iter().map(|raw| raw.position).collect();
    let mut ids: BTreeSet<String> = found.raw.iter().filter_map(|raw| raw.event_id.clone()).collect();
    look.at(&topics.typed, only, |record| {
        let typed = typed(record);
        let made =
            typed.raw_offset.is_some_and(|offset| raw_positions.contains(&Position { offset, ..typed.position }));
        if made || ids.contains(&typed.event_id) || typed_is(record, &typed, wanted) {
            found.typed.push(typed);
        }
    })?;
    let typed_positions: BTreeSet<Position> = found.typed.iter().map(|typed| typed.position).collect();
    ids.extend(found.typed.iter().map(|typed| typed.event_id.clone()));
    let mut dead_letters: BTreeMap<Position, FoundDeadLetter> = BTreeMap::new();
    look.at(&topics.dead_letters, only, |record| match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            let from = |topic: &TopicName, positions: &BTreeSet<Position>| {
                dead_letter
                    .origin
                    .as_ref()
                    .is_some_and(|origin| origin.topic == topic.as_str() && positions.contains(&origin.position))
            };
            let event_id = event_id(record);
            if from(&topics.raw, &raw_positions)
                || from(&topics.typed, &typed_positions)
                || event_id.as_ref().is_some_and(|id| ids.contains(id))
                || body_is(record, wanted)
                || matches!(wanted, Wanted::Event(id) if event_id.as_ref() == Some(id))
            {
                let position = position(record);
                let time = dead_letter.at.or(record.timestamp()).unwrap_or_default();
                dead_letters
                    .insert(position, FoundDeadLetter { position, time, event_id, dead_letter, resolution: None });
            }
        }
        Entry::Resolution(resolution) => {
            let position = Position { offset: resolution.dead_letter, ..position(record) };
            if let Some(dead_letter) = dead_letters.get_mut(&position) {
                dead_letter.resolution.get_or_insert(resolution);
            }
        }
        Entry::Foreign => {}
    })?;
    found.dead_letters = dead_letters.into_values().collect();
    if let Wanted::Event(id) = wanted {
        ids.insert(id.clone());
    }
    found.receipts_kept = look.receipts(&ids, &typed_positions, &mut found.answers)?;
    Ok(found)
}

/// Reads topics from the requested time on.
struct Look<'l> {
    pipeline: Pipeline<'l>,
    since: Option<i64>,
    offsets: &'l Offsets,
}

impl Look<'_> {
    fn at(&self, topic: &TopicName, only: Option<i32>, visit: impl FnMut(&Record<'_>)) -> Result<(), KafkaError> {
        let extents = stable_extents(self.offsets, topic)?;
        let from = match self.since {
            Some(since) => self.offsets.at(topic, &extents, since.saturating_sub(CLOCK_TOLERANCE_MS))?,
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
        self.pipeline.read(topic, &offset_ranges, visit)
    }

    /// Whether a receipts topic exists.
    fn receipts(
        &self,
        ids: &BTreeSet<String>,
        typed: &BTreeSet<Position>,
        answers: &mut Vec<Answer>,
    ) -> Result<bool, KafkaError> {
        let Some(topic) = &self.pipeline.topics.receipts else { return Ok(false) };
        let read = self.at(topic, None, |record| {
            let Some(receipt) = Receipt::read(record.value()) else { return };
            for entry in receipt.records {
                if typed.contains(&entry.position) || ids.contains(&*entry.event_id) {
                    answers.push(Answer {
                        typed: entry.position,
                        event_id: entry.event_id.into_owned(),
                        time: receipt.sent_at,
                        status: receipt.status,
                        accepted: entry.verdict == ReceiptVerdict::Accepted,
                        batch_id: receipt.batch_id.as_ref().map(ToString::to_string),
                        xaction_id: entry.xaction_id.map(Cow::into_owned),
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

fn raw(record: &Record<'_>, wanted: &Wanted) -> Option<Raw> {
    body_is(record, wanted).then(|| {
        let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
        Raw {
            position: position(record),
            time: raw.received_at,
            event_id: event_id(record),
            source: raw.source_name().to_owned(),
            replay_of: raw.replay_of.map(Cow::into_owned),
        }
    })
}

/// Whether a raw record, or a dead letter with one, matches the search.
fn body_is(record: &Record<'_>, wanted: &Wanted) -> bool {
    let mut buffer = Vec::new();
    match wanted {
        Wanted::Person(key) => record.key() == Some(key.as_bytes()),
        Wanted::Event(id) => {
            let is = |webhook: &Webhook<'_>| webhook.event_id.text().is_some_and(|found| found == *id);
            holds(unpacked(record, &mut buffer), id, is)
        }
        Wanted::Delivery(id) => {
            let is = |webhook: &Webhook<'_>| {
                let data = Data::of(webhook.data).unwrap_or_default();
                data.delivery_id.text().is_some_and(|found| found == *id)
            };
            holds(unpacked(record, &mut buffer), id, is)
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
    let typed = TypedRecord::read(record.headers(), record.timestamp());
    Typed {
        position: position(record),
        time: record.timestamp().unwrap_or_default(),
        event_id: typed.event_id.into_owned(),
        raw_offset: typed.raw_offset,
        replay_of: typed.replay_of.map(Cow::into_owned),
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
