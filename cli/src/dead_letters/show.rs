//! `dead-letters show`.

use clap::Args;
use kafka::KafkaError;
use kafka::dead_letter::Entry;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::OwnedRecord;
use serde_json::{Map, Value, json};
use xdm::TenantId;
use xdm::avro::{DecodeError, Decoder};
use xdm::schema::ForeignSchema;

use super::register;
use crate::topics::{PATIENCE, PlaceArg, TopicArgs};
use crate::{CommandError, UsageError, Verdict, output};

/// Show one complete dead letter: headers, reason, and the body with all its personal data
///
/// A webhook is shown as JSON or text, a typed record as its XDM event.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its position, as `list` shows it
    #[arg(value_name = "PARTITION:OFFSET")]
    place: PlaceArg,

    /// Tenant id, the key of the organisation's own fields in an event
    #[arg(long, env = "PLATFORM_TENANT", default_value = "_tenant", value_name = "ID")]
    tenant: TenantId,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &ShowArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.topics.connection()?;
    let topic = &args.topics.dead_letter_topic;
    let none = || -> CommandError {
        UsageError(format!("there is no dead letter at {}; `dead-letters list --all` lists them", args.place)).into()
    };
    let registered = register::read(&connection, topic)?.remove(&args.place).ok_or_else(none)?;
    let offset_range =
        OffsetRange { partition: args.place.partition, start: args.place.offset, end: args.place.offset + 1 };
    let mut found = None;
    read_offset_ranges(&connection, topic, &[offset_range], PATIENCE, |record| -> Result<(), KafkaError> {
        if matches!(Entry::read(record.headers()), Entry::DeadLetter(_)) {
            found = Some(OwnedRecord::from(record));
        }
        Ok(())
    })?;
    let record = found.ok_or_else(none)?;
    let body = body(&record, &args.tenant);
    if json {
        let mut headers = Map::new();
        for header in record.headers() {
            headers.insert(header.name.to_owned(), header.value.map_or(Value::Null, |value| text(value).into()));
        }
        let mut shown = registered.json();
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("key".to_owned(), record.key.as_deref().map_or(Value::Null, |key| text(key).into()));
            shown.insert("headers".to_owned(), headers.into());
            shown.insert("body".to_owned(), body.json());
        }
        output::json(&shown);
        return Ok(Verdict::Good);
    }
    output::line(&format!("{topic} {}: {}", args.place, registered.state()));
    if let Some(closed) = &registered.closed {
        let by = closed.by.as_deref().unwrap_or("unknown");
        let at = closed.at.map(crate::when::show).unwrap_or_default();
        output::line(&format!("resolved by {by} {at} {}", closed.note.as_deref().unwrap_or_default()));
    }
    if let Some(cut) = registered.cut() {
        output::line(&cut);
    }
    output::line(&format!("key  {}", record.key.as_deref().map_or_else(|| "none".to_owned(), text)));
    for header in record.headers() {
        output::line(&format!("{}  {}", header.name, header.value.map_or_else(|| "null".to_owned(), text)));
    }
    output::line("");
    output::line(&body.text());
    Ok(Verdict::Good)
}

/// The content of a dead letter, as far as it can be read.
enum Body {
    Json(Value),
    /// A decoded event; `assumed` if its schema is a registry's and this build's schema was used instead.
    Event {
        event: Value,
        assumed: bool,
    },
    Text(String),
    Bytes(String),
}

impl Body {
    fn json(&self) -> Value {
        match self {
            Self::Json(value) => json!({"json": value}),
            Self::Event { event, assumed } => json!({"event": event, "schemaAssumed": assumed}),
            Self::Text(text) => json!({"text": text}),
            Self::Bytes(hex) => json!({"hex": hex}),
        }
    }

    fn text(&self) -> String {
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
        match self {
            Self::Json(value) => pretty(value),
            Self::Event { event, assumed: false } => pretty(event),
            Self::Event { event, assumed: true } => {
                format!("{}\n(read with this build's schema, without asking the registry)", pretty(event))
            }
            Self::Text(text) => text.clone(),
            Self::Bytes(hex) => format!("{} bytes that are neither text nor an event: {hex}", hex.len() / 2),
        }
    }
}

fn body(record: &OwnedRecord, tenant: &TenantId) -> Body {
    if let Some(body) = event(&record.value, tenant) {
        return body;
    }
    if let Ok(value) = serde_json::from_slice(&record.value) {
        return Body::Json(value);
    }
    match std::str::from_utf8(&record.value) {
        Ok(text) => Body::Text(text.to_owned()),
        Err(_) => Body::Bytes(record.value.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn event(value: &[u8], tenant: &TenantId) -> Option<Body> {
    let mut decoder = Decoder::new().ok()?;
    let (decoded, assumed) = match decoder.decode(value) {
        Err(DecodeError::UnresolvedId { schema_id }) => {
            decoder.learn(schema_id, ForeignSchema::parse(xdm::schema::SCHEMA_JSON));
            (decoder.decode(value), true)
        }
        decoded => (decoded, false),
    };
    let mut json = Vec::new();
    xdm::write_json(&decoded.ok()?, tenant, &mut json);
    Some(Body::Event { event: serde_json::from_slice(&json).ok()?, assumed })
}

/// Removes characters that a terminal would interpret.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(value: &[u8]) -> Body {
        let record = OwnedRecord { partition: 0, offset: 0, key: None, value: value.to_vec(), headers: Vec::new() };
        body(&record, &"acme".parse().unwrap())
    }

    #[test]
    fn a_body_is_shown_in_the_form_it_has() {
        assert!(matches!(body_of(b"{\"a\":1}"), Body::Json(_)));
        assert!(matches!(body_of(b"not json"), Body::Text(_)));
        assert_eq!(body_of(&[0xff, 0x00]).json(), json!({"hex": "ff00"}));
        let mut event = Vec::new();
        let webhook = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{}}"#;
        let source = mapping::SourceOptions::default();
        let mapped = mapping::map(webhook, mapping::ReceivedAt::from_millis(1_700_000_000_000), &source).unwrap();
        let framing = xdm::avro::Framing::Confluent { schema_id: 3 };
        xdm::avro::Encoder::new(framing).unwrap().encode(&mapped.event, &mut event).unwrap();
        let Body::Event { event, assumed: true } = body_of(&event) else { panic!("an event") };
        assert_eq!(event["_id"], "01X");
    }
}
