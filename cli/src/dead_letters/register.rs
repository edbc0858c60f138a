//! The index of dead letters: every dead letter of the topic without its value, and its resolution.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use customerio::Beginning;
use customerio::webhook::Webhook;
use kafka::dead_letter::{Closed, DeadLetter, Entry, Stage};
use kafka::offsets::{Extent, Offsets};
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::header;
use kafka::{Connection, KafkaError, Record, TopicName};
use serde_json::{Value, json};

use crate::topics::{PATIENCE, PlaceArg, settled};
use crate::when::{parse_bound, show};
use crate::{CommandError, UsageError, output};

/// A dead letter, without its value.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) place: PlaceArg,
    pub(super) dead_letter: DeadLetter,
    /// When it was written.
    pub(super) time: i64,
    pub(super) event_id: Option<String>,
    pub(super) source: String,
    pub(super) key: Option<Vec<u8>>,
    /// For a typed record: the raw record that it was mapped from.
    pub(super) raw_offset: Option<i64>,
    /// Bytes of its value.
    pub(super) size: usize,
    pub(super) closed: Option<Closed>,
}

impl Registered {
    fn read(record: &Record<'_>, dead_letter: DeadLetter) -> Self {
        let text = |name: &str| record.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        Self {
            place: PlaceArg { partition: record.partition(), offset: record.offset() },
            time: dead_letter.at.or(record.timestamp()).unwrap_or_default(),
            event_id: event_id(record),
            source: text(header::SOURCE).unwrap_or_else(|| "default".to_owned()),
            key: record.key().map(<[u8]>::to_vec),
            raw_offset: text(header::RAW_OFFSET).and_then(|offset| offset.parse().ok()),
            size: record.value().len(),
            dead_letter,
            closed: None,
        }
    }

    /// Returns `open`, or how the dead letter was resolved.
    pub(super) fn state(&self) -> &'static str {
        self.closed.as_ref().map_or("open", |closed| closed.resolution.as_str())
    }

    /// For a value that was cut: how much of it is kept, and the size and hash of the whole.
    pub(super) fn cut(&self) -> Option<String> {
        let cut = self.dead_letter.cut.as_ref()?;
        Some(format!("the first {} of {} bytes are kept; SHA-256 of the whole: {}", self.size, cut.size, cut.sha256))
    }

    /// The JSON form of the dead letter.
    pub(super) fn json(&self) -> Value {
        let origin = self
            .dead_letter
            .origin
            .as_ref()
            .map(|origin| json!({"topic": origin.topic, "partition": origin.partition, "offset": origin.offset}));
        let closed = self.closed.as_ref().map(|closed| {
            json!({
                "resolution": closed.resolution.as_str(),
                "by": closed.by,
                "at": closed.at.map(show),
                "note": closed.note,
            })
        });
        json!({
            "partition": self.place.partition,
            "offset": self.place.offset,
            "at": show(self.time),
            "stage": self.dead_letter.stage.as_str(),
            "code": self.dead_letter.code,
            "message": self.dead_letter.message,
            "source": self.source,
            "eventId": self.event_id,
            "origin": origin,
            "bytes": self.size,
            "originalSize": self.dead_letter.cut.as_ref().map(|cut| cut.size),
            "originalSha256": self.dead_letter.cut.as_ref().map(|cut| cut.sha256.as_str()),
            "state": self.state(),
            "closed": closed,
        })
    }
}

/// Returns the event id of a record: the header of a typed record, otherwise the id in the body.
pub(crate) fn event_id(record: &Record<'_>) -> Option<String> {
    match record.header(header::EVENT_ID) {
        Some(id) => Some(String::from_utf8_lossy(id).into_owned()),
        None => body_event_id(unpacked(record, &mut Vec::new())),
    }
}

/// Returns the event id of a body; of a cut one, if its beginning contains the id.
fn body_event_id(body: &[u8]) -> Option<String> {
    match Webhook::parse(body) {
        Ok(webhook) => webhook.event_id.non_blank().map(Cow::into_owned),
        Err(_) => Beginning::read(&Beginning::text(body)).event_id.non_blank().map(Cow::into_owned),
    }
}

/// Maximum size of a decompressed body: as much as the gateway reads of a request.
const UNPACKED: usize = 64 * 1024 * 1024;

/// Returns a record's body, decompressed into `buffer` if necessary; unchanged if it cannot be decompressed.
pub(crate) fn unpacked<'a>(record: &Record<'a>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let encoding = record.header(header::CONTENT_ENCODING);
    mapping::decoded(encoding, record.value(), UNPACKED, buffer).unwrap_or(record.value())
}

/// Filters for dead letters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which dead letters")]
pub(super) struct FilterArgs {
    /// Only these codes, for example not_json,refused
    #[arg(long, value_delimiter = ',', value_name = "CODE,...")]
    code: Vec<String>,

    /// Only those that this stage wrote: gateway, transformer, sink or platform
    #[arg(long, value_name = "STAGE", value_parser = parse_stage)]
    stage: Option<Stage>,

    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those written at this time or later: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Only those written before this time
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    until: Option<i64>,

    /// Only those of these events
    #[arg(long, value_delimiter = ',', value_name = "ID,...")]
    event_id: Vec<String>,
}

fn parse_stage(name: &str) -> Result<Stage, String> {
    Stage::from_name(name)
        .ok_or_else(|| format!("no such stage; the stages are {}", Stage::ALL.map(Stage::as_str).join(", ")))
}

impl FilterArgs {
    pub(super) fn takes(&self, dead_letter: &Registered) -> bool {
        (self.code.is_empty() || self.code.contains(&dead_letter.dead_letter.code))
            && self.stage.is_none_or(|stage| stage == dead_letter.dead_letter.stage)
            && self.source.as_ref().is_none_or(|source| *source == dead_letter.source)
            && self.since.is_none_or(|since| dead_letter.time >= since)
            && self.until.is_none_or(|until| dead_letter.time < until)
            && (self.event_id.is_empty() || dead_letter.event_id.as_ref().is_some_and(|id| self.event_id.contains(id)))
    }
}

/// Reads every dead letter that the topic contains now, resolved or not, by position.
pub(super) fn read(connection: &Connection, topic: &TopicName) -> Result<BTreeMap<PlaceArg, Registered>, KafkaError> {
    let extents = settled(&Offsets::new(connection)?, topic)?;
    let all: i64 = extents.values().map(|extent| extent.end - extent.start).sum();
    let offset_ranges: Vec<OffsetRange> =
        extents.iter().map(|(&partition, extent)| offset_range(partition, extent)).collect();
    let (mut dead_letters, mut closings, mut seen) = (BTreeMap::new(), Vec::new(), 0_u64);
    read_offset_ranges(connection, topic, &offset_ranges, PATIENCE, |record| -> Result<(), KafkaError> {
        seen += 1;
        if seen.is_multiple_of(1000) {
            output::progress(&format!("{seen} of about {all} records of {topic} read"));
        }
        match Entry::read(record.headers()) {
            Entry::DeadLetter(dead_letter) => {
                let registered = Registered::read(record, dead_letter);
                dead_letters.insert(registered.place, registered);
            }
            Entry::Closed(closed) => closings.push((record.partition(), closed)),
            Entry::Foreign => {}
        }
        Ok(())
    })?;
    output::progress_done();
    for (partition, closed) in closings {
        if let Some(dead_letter) = dead_letters.get_mut(&PlaceArg { partition, offset: closed.dead_letter }) {
            dead_letter.closed.get_or_insert(closed);
        }
    }
    Ok(dead_letters)
}

fn offset_range(partition: i32, extent: &Extent) -> OffsetRange {
    OffsetRange { partition, start: extent.start, end: extent.end }
}

/// Returns the unresolved dead letters that a command works on, and how many resolved ones were chosen as well. The
/// chosen ones are those that were named, or all that match the filter.
pub(super) fn choose<'l>(
    dead_letters: &'l BTreeMap<PlaceArg, Registered>,
    named: &[PlaceArg],
    filter: &FilterArgs,
) -> Result<(Vec<&'l Registered>, u64), CommandError> {
    let named: BTreeSet<PlaceArg> = named.iter().copied().collect();
    if let Some(missing) = named.iter().find(|place| !dead_letters.contains_key(place)) {
        return Err(
            UsageError(format!("there is no dead letter at {missing}; `dead-letters list --all` lists them")).into()
        );
    }
    let chosen = dead_letters
        .values()
        .filter(|dead_letter| (named.is_empty() || named.contains(&dead_letter.place)) && filter.takes(dead_letter));
    let (closed, open): (Vec<_>, Vec<_>) = chosen.partition(|dead_letter| dead_letter.closed.is_some());
    Ok((open, closed.len() as u64))
}

#[cfg(test)]
pub(super) mod tests {
    use kafka::dead_letter::{Cut, DeadLetterOrigin, Resolution};

    use super::*;

    pub(in super::super) fn registered(place: &str, stage: Stage, code: &str) -> Registered {
        let place: PlaceArg = place.parse().unwrap();
        let topic = if stage == Stage::Transformer { "raw" } else { "typed" };
        let origin =
            DeadLetterOrigin { topic: topic.to_owned(), partition: place.partition, offset: 100 + place.offset };
        Registered {
            place,
            dead_letter: DeadLetter {
                stage,
                code: code.to_owned(),
                message: "why".to_owned(),
                origin: (stage != Stage::Gateway).then_some(origin),
                at: Some(1000),
                cut: None,
            },
            time: 1000,
            event_id: Some(format!("event-{place}")),
            source: "default".to_owned(),
            key: None,
            raw_offset: (stage == Stage::Sink).then_some(7),
            size: 3,
            closed: None,
        }
    }

    #[test]
    fn each_filter_reduces_the_result() {
        let dead_letter = registered("0:5", Stage::Sink, "refused");
        let takes = |change: &dyn Fn(&mut FilterArgs)| {
            let mut filter = FilterArgs::default();
            change(&mut filter);
            filter.takes(&dead_letter)
        };
        assert!(takes(&|_| {}));
        assert!(takes(&|filter| filter.code = vec!["not_json".to_owned(), "refused".to_owned()]));
        assert!(!takes(&|filter| filter.code = vec!["not_json".to_owned()]));
        assert!(takes(&|filter| filter.stage = Some(Stage::Sink)));
        assert!(!takes(&|filter| filter.stage = Some(Stage::Gateway)));
        assert!(!takes(&|filter| filter.source = Some("shop".to_owned())));
        assert!(takes(&|filter| (filter.since, filter.until) = (Some(1000), Some(1001))));
        assert!(!takes(&|filter| filter.since = Some(1001)));
        assert!(!takes(&|filter| filter.until = Some(1000)));
        assert!(takes(&|filter| filter.event_id = vec!["event-0:5".to_owned()]));
        assert!(!takes(&|filter| filter.event_id = vec!["event-0:6".to_owned()]));
    }

    #[test]
    fn named_dead_letters_must_exist_and_resolved_ones_are_only_counted() {
        let mut closed = registered("0:6", Stage::Sink, "refused");
        closed.closed =
            Some(Closed { dead_letter: 6, resolution: Resolution::Replayed, by: None, note: None, at: None });
        let dead_letters = [registered("0:5", Stage::Sink, "refused"), closed];
        let all = BTreeMap::from(dead_letters.map(|dead_letter| (dead_letter.place, dead_letter)));
        let (open, done) = choose(&all, &[], &FilterArgs::default()).unwrap();
        assert_eq!((open.len(), done), (1, 1));
        let (open, done) = choose(&all, &["0:6".parse().unwrap()], &FilterArgs::default()).unwrap();
        assert_eq!((open.len(), done), (0, 1));
        let error = choose(&all, &["0:7".parse().unwrap()], &FilterArgs::default()).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("0:7"), "{error}");
    }

    #[test]
    fn a_cut_dead_letter_has_the_size_and_the_hash_of_the_whole_value() {
        let mut dead_letter = registered("0:5", Stage::Transformer, "not_json");
        assert_eq!((dead_letter.cut(), &dead_letter.json()["originalSize"]), (None, &Value::Null));
        dead_letter.dead_letter.cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        let text = dead_letter.cut().unwrap();
        assert!(text.contains("9437184 bytes") && text.contains(&"ab".repeat(32)), "{text}");
        let json = dead_letter.json();
        assert_eq!((&json["originalSize"], &json["originalSha256"]), (&9_437_184.into(), &"ab".repeat(32).into()));
    }

    #[test]
    fn the_event_id_of_a_cut_body_is_read_from_its_beginning() {
        let id = |body: &[u8]| body_event_id(body);
        assert_eq!(id(br#"{"event_id":" 01X "}"#).as_deref(), Some("01X"));
        assert_eq!(id(br#"{"event_id":"01X","data":{"content":"xxx"#).as_deref(), Some("01X"));
        for body in [&b"not json"[..], b"", b"{}", br#"{"event_id":" "}"#, br#"{"event_id":"01"#] {
            assert_eq!(id(body), None, "{body:?}");
        }
    }
}
