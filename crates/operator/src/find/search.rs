//! Searches the topics for the records of events.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use contract::dead_letter::{Cut, Entry};
use contract::limits::CLOCK_TOLERANCE_MS;
use contract::receipt::{Receipt, ReceiptVerdict};
use contract::{Offset, Partition, Position, RawRecord, TypedRecord};
use customerio::webhook::{Data, Webhook};
use customerio::{Sha256, is_check};
use kafka::offsets::Offsets;
use kafka::reader::OffsetRange;
use kafka::{KafkaError, Record, TopicName, partition_of};

use super::found::{Answer, Found, FoundDeadLetter, Raw, Typed};
use super::request::{FindScope, Wanted};
use super::timeline::{Timeline, timelines};
use crate::error::OperatorError;
use crate::mapped_id::{mapped_id, mapped_id_of};
use crate::pipeline::{Limit, Pipeline, Positions, stable_watermarks_until};
use crate::record::{event_id, position, unpacked};
use crate::typed_event::EventReader;

/// Finds events and returns their histories, sorted by their first steps. The call blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn run(pipeline: Pipeline<'_>, scope: &FindScope, wanted: &Wanted) -> Result<Vec<Timeline>, OperatorError> {
    histories(pipeline, scope, wanted, Limit::None).map_err(Into::into)
}

/// Like [`run`], but with a time limit; returns `None` if not everything could be read before `end`.
pub(super) fn run_until(
    pipeline: Pipeline<'_>,
    scope: &FindScope,
    wanted: &Wanted,
    end: Instant,
) -> Result<Option<Vec<Timeline>>, OperatorError> {
    let limit = Limit::Until(end);
    match histories(pipeline, scope, wanted, limit) {
        Ok(timelines) => Ok(Some(timelines)),
        Err(error) if limit.has_caused(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn histories(
    pipeline: Pipeline<'_>,
    scope: &FindScope,
    wanted: &Wanted,
    limit: Limit,
) -> Result<Vec<Timeline>, KafkaError> {
    let mut timelines = timelines(search(pipeline, scope, wanted, limit)?);
    if let Wanted::Event(id) | Wanted::Id(id) = wanted {
        show_wanted(&mut timelines, id);
    }
    Ok(timelines)
}

/// Replaces the hash of the requested id with the id itself. A history has only the hash if the record with the
/// original id has expired.
fn show_wanted(timelines: &mut [Timeline], id: &str) {
    let mapped = mapped_id(id);
    let is_hash = |timeline: &&mut Timeline| mapped.is_some() && timeline.event_id == mapped;
    timelines.iter_mut().filter(is_hash).for_each(|timeline| timeline.event_id = Some(id.to_owned()));
}

/// Returns the end offsets of the raw topic's partitions. All later webhooks are at or after these offsets. The call
/// blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn raw_ends(pipeline: Pipeline<'_>) -> Result<BTreeMap<Partition, Offset>, OperatorError> {
    let watermarks = Offsets::new(pipeline.connection)?.watermarks(&pipeline.topics.raw)?;
    Ok(watermarks.into_iter().map(|(partition, watermarks)| (partition, watermarks.high)).collect())
}

fn search(pipeline: Pipeline<'_>, scope: &FindScope, wanted: &Wanted, limit: Limit) -> Result<Found, KafkaError> {
    let topics = pipeline.topics;
    let offsets = Offsets::new(pipeline.connection)?;
    let Positions { transformer, sink } = scope.committed.positions(topics, &offsets)?;
    let mut found = Found { transformer, sink, delivered_from: scope.delivered_from.clone(), ..Found::default() };
    let only = match wanted {
        Wanted::Person(key) if !scope.all_partitions => {
            let partitions = offsets.watermarks(&topics.raw)?.len();
            partition_of(key.as_bytes(), partitions)
        }
        Wanted::Person(_) | Wanted::Id(_) | Wanted::Event(_) | Wanted::Delivery(_) | Wanted::Body(_) => None,
    };
    let look = Look { pipeline, since: scope.since, limit, offsets: &offsets };
    look.at(&topics.raw, only, |record| found.raw.extend(raw(record, wanted)))?;
    let raw_positions: BTreeSet<Position> = found.raw.iter().map(|raw| raw.position).collect();
    let mut ids = known_ids(&found.raw, wanted);
    let mut events = EventReader::default();
    look.at(&topics.typed, only, |record| {
        let typed = typed(record);
        let made =
            typed.raw_offset.is_some_and(|offset| raw_positions.contains(&Position { offset, ..typed.position }));
        if made || ids.contains(&typed.event_id) || typed_is(record, wanted, &mut events) {
            found.typed.push(typed);
        }
    })?;
    let typed_positions: BTreeSet<Position> = found.typed.iter().map(|typed| typed.position).collect();
    ids.extend(found.typed.iter().map(|typed| typed.event_id.clone()));
    let related = Related { raw_positions, typed_positions: &typed_positions, ids: &ids };
    found.dead_letters = look.dead_letters(only, wanted, &related)?;
    found.receipts_kept = look.receipts(&ids, &typed_positions, &mut found.answers)?;
    Ok(found)
}

/// Returns the ids of the events, both as they are in the bodies and as the mapping writes them.
fn known_ids(raw: &[Raw], wanted: &Wanted) -> BTreeSet<String> {
    let mut ids: BTreeSet<String> =
        raw.iter().flat_map(|raw| raw.event_id.iter().chain(&raw.mapped_id)).cloned().collect();
    if let Wanted::Event(id) | Wanted::Id(id) = wanted {
        ids.extend([id.clone()].into_iter().chain(mapped_id(id)));
    }
    ids
}

/// Records and ids that are known to match the search.
struct Related<'r> {
    raw_positions: BTreeSet<Position>,
    typed_positions: &'r BTreeSet<Position>,
    ids: &'r BTreeSet<String>,
}

/// Reads topics from the start time of the search.
struct Look<'l> {
    pipeline: Pipeline<'l>,
    since: Option<i64>,
    limit: Limit,
    offsets: &'l Offsets,
}

impl Look<'_> {
    fn at(&self, topic: &TopicName, only: Option<Partition>, visit: impl FnMut(&Record<'_>)) -> Result<(), KafkaError> {
        let watermarks = stable_watermarks_until(self.offsets, topic, self.limit)?;
        let from = match self.since {
            Some(since) => self.offsets.at(topic, &watermarks, since.saturating_sub(CLOCK_TOLERANCE_MS))?,
            None => watermarks.iter().map(|(&partition, watermarks)| (partition, watermarks.low)).collect(),
        };
        let offset_ranges: Vec<OffsetRange> = watermarks
            .iter()
            .filter(|(partition, _)| only.is_none_or(|only| only == **partition))
            .map(|(&partition, watermarks)| OffsetRange {
                partition,
                start: from.get(&partition).copied().unwrap_or(watermarks.low),
                end: watermarks.high,
            })
            .collect();
        self.pipeline.read_until(topic, &offset_ranges, self.limit, visit)
    }

    /// Returns the dead letters whose original record or event is in `related`, and the dead letters that match the
    /// search themselves.
    fn dead_letters(
        &self,
        only: Option<Partition>,
        wanted: &Wanted,
        related: &Related<'_>,
    ) -> Result<Vec<FoundDeadLetter>, KafkaError> {
        let topics = self.pipeline.topics;
        let mut dead_letters: BTreeMap<Position, FoundDeadLetter> = BTreeMap::new();
        self.at(&topics.dead_letters, only, |record| match Entry::read(record.headers()) {
            Entry::DeadLetter(dead_letter) => {
                let from = |topic: &TopicName, positions: &BTreeSet<Position>| {
                    dead_letter
                        .origin
                        .as_ref()
                        .is_some_and(|origin| origin.topic == topic.as_str() && positions.contains(&origin.position))
                };
                let event_id = event_id(record);
                if from(&topics.raw, &related.raw_positions)
                    || from(&topics.typed, related.typed_positions)
                    || event_id.as_ref().is_some_and(|id| related.ids.contains(id))
                    || body_is(record, wanted)
                    || matches!((wanted, &dead_letter.cut), (Wanted::Body(body), Some(cut)) if is_cut_of(cut, body))
                {
                    let position = position(record);
                    let time = dead_letter.at.or(record.timestamp()).unwrap_or_default();
                    let mapped_id = mapped_id_of(record);
                    let found = FoundDeadLetter { position, time, event_id, mapped_id, dead_letter, resolution: None };
                    dead_letters.insert(position, found);
                }
            }
            Entry::Resolution(resolution) => {
                let position = Position { offset: resolution.dead_letter, ..position(record) };
                if let Some(dead_letter) = dead_letters.get_mut(&position) {
                    dead_letter.resolution.get_or_insert(resolution);
                }
            }
            Entry::Mark(_) | Entry::Foreign => {}
        })?;
        Ok(dead_letters.into_values().collect())
    }

    /// Collects the receipt entries of the events. Returns whether a receipts topic exists.
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
            mapped_id: mapped_id_of(record),
            is_check: is_check(unpacked(record, &mut Vec::new())),
            source: raw.source_name().to_owned(),
            replay_of: raw.replay_of.map(Cow::into_owned),
        }
    })
}

/// Whether a raw record, or a dead letter that contains one, matches the search.
fn body_is(record: &Record<'_>, wanted: &Wanted) -> bool {
    let mut buffer = Vec::new();
    match wanted {
        Wanted::Person(key) => record.key() == Some(key.as_bytes()),
        Wanted::Event(id) => holds(unpacked(record, &mut buffer), id, |webhook| is_event(webhook, id)),
        Wanted::Delivery(id) => holds(unpacked(record, &mut buffer), id, |webhook| is_delivery(webhook, id)),
        Wanted::Id(id) => {
            holds(unpacked(record, &mut buffer), id, |webhook| is_event(webhook, id) || is_delivery(webhook, id))
        }
        Wanted::Body(body) => record.value() == body.as_slice(),
    }
}

/// Whether a webhook has this event id. Spaces around an id are not displayed, so the id without them matches as well.
fn is_event(webhook: &Webhook<'_>, id: &str) -> bool {
    let is_it = |found: Option<Cow<'_, str>>| found.is_some_and(|found| found == id);
    is_it(webhook.event_id.text()) || is_it(webhook.event_id.non_blank())
}

fn is_delivery(webhook: &Webhook<'_>, id: &str) -> bool {
    let data = Data::of(webhook.data).unwrap_or_default();
    data.delivery_id.text().is_some_and(|found| found == id)
}

/// Whether a dead letter contains the beginning of this body.
fn is_cut_of(cut: &Cut, body: &[u8]) -> bool {
    let mut hash = Sha256::default();
    hash.update(body);
    cut.size == body.len() as u64 && hash.hex() == cut.sha256
}

/// Whether a body contains the id in the field that `there` checks. A body without the text of the id is not parsed.
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

/// Whether a typed record matches the search by itself, even if its raw record has expired.
fn typed_is(record: &Record<'_>, wanted: &Wanted, events: &mut EventReader) -> bool {
    match wanted {
        Wanted::Person(key) => record.key() == Some(key.as_bytes()),
        Wanted::Delivery(id) | Wanted::Id(id) => is_typed_delivery(record.value(), id, events),
        // The caller finds an event by its id, and the event of a body by the position of its raw record.
        Wanted::Event(_) | Wanted::Body(_) => false,
    }
}

/// Whether a typed event has this delivery id. Avro does not change the bytes of a text, so a value without these bytes
/// is not decoded. A value that has them but cannot be decoded matches.
fn is_typed_delivery(value: &[u8], id: &str, events: &mut EventReader) -> bool {
    let may = value.windows(id.len().max(1)).any(|window| window == id.as_bytes());
    may && events.read(value).is_none_or(|read| read.event.tenant.customerio.delivery_id.as_deref() == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_is_found_only_in_the_event_id_field() {
        let body = br#"{"event_id":"01X","data":{"delivery_id":"RPI=","subject":"01Y"}}"#;
        let event = |id: &str| holds(body, id, |webhook| webhook.event_id.text().is_some_and(|found| found == id));
        assert!(event("01X") && !event("01Y") && !event("01Z"));
        let odd = br#"{"event_id":"a\u0022b"}"#;
        assert!(holds(odd, "a\"b", |webhook| webhook.event_id.text().is_some_and(|found| found == "a\"b")));
        assert!(!holds(b"not json 01X", "01X", |_| true));
    }

    #[test]
    fn an_id_without_a_kind_matches_event_ids_and_delivery_ids() {
        let body = br#"{"event_id":"01X","data":{"delivery_id":"RPI=","subject":"01Y"}}"#;
        let found = |id: &str| holds(body, id, |webhook| is_event(webhook, id) || is_delivery(webhook, id));
        assert_eq!(["01X", "RPI=", "01Y"].map(found), [true, true, false]);
        let padded = br#"{"event_id":" 01X "}"#;
        assert_eq!(
            ["01X", " 01X ", "01"].map(|id| holds(padded, id, |webhook| is_event(webhook, id))),
            [true, true, false]
        );
    }

    #[test]
    fn an_event_is_found_by_its_original_id_and_by_its_mapped_id() {
        let ids = known_ids(&[], &Wanted::Event("a:b".to_owned()));
        let hash = mapped_id("a:b").unwrap();
        assert!(hash.len() == 64 && ids == BTreeSet::from(["a:b".to_owned(), hash.clone()]), "{ids:?}");
        let timeline = |id: &str| Timeline {
            event_id: Some(id.to_owned()),
            state: super::super::timeline::State::Accepted,
            steps: Vec::new(),
            is_complete: true,
        };
        let mut found = [timeline(&hash), timeline("01Y")];
        show_wanted(&mut found, "a:b");
        assert_eq!([&found[0].event_id, &found[1].event_id], [&Some("a:b".to_owned()), &Some("01Y".to_owned())]);
    }

    #[test]
    fn a_delivery_id_matches_only_the_delivery_id_of_a_typed_event() {
        let webhook = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{"delivery_id":"RPI=","subject":"42"}}"#;
        let source = mapping::SourceOptions::default();
        let mapped = mapping::map(webhook, mapping::ReceivedAt::from_millis(1_700_000_000_000), &source).unwrap();
        let mut value = Vec::new();
        let framing = xdm::avro::Framing::Confluent { schema_id: 3 };
        xdm::avro::Encoder::new(framing).unwrap().encode(&mapped.event, &mut value).unwrap();
        let mut events = EventReader::default();
        let found = ["RPI=", "42", "RPI", "elsewhere"].map(|id| is_typed_delivery(&value, id, &mut events));
        assert_eq!(found, [true, false, false, false]);
    }

    #[test]
    fn a_truncated_dead_letter_is_found_by_the_hash_of_the_complete_body() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        let cut = Cut { size: 3, sha256 };
        assert!(is_cut_of(&cut, b"abc") && !is_cut_of(&cut, b"abz"));
    }
}
