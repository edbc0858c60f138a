//! The id that the mapping gives an event: the event id, or its hash if the id is not a plain URI segment.

use std::borrow::Cow;

use contract::{RawRecord, header};
use customerio::Beginning;
use customerio::webhook::Webhook;
use kafka::Record;
use mapping::{SourceOptions, map_record};
use serde_json::json;

use crate::record::unpacked;

/// Returns the id that the mapping derives from an event id; `None` if the mapping refuses the event id.
pub(crate) fn mapped_id(event_id: &str) -> Option<String> {
    // Calls the mapping with an event that has only an id, so that this function always agrees with the mapping.
    let event = json!({
        "event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1_700_000_000, "data": {},
    });
    let (body, source) = (event.to_string(), SourceOptions::default());
    let record = RawRecord {
        body: body.as_bytes(),
        content_encoding: None,
        received_at: 1_700_000_000_000,
        source: None,
        reprocess: false,
        replay_of: None,
    };
    map_record(&record, &source, body.len(), &mut Vec::new(), |mapped| Ok(mapped.event.id.into_owned())).ok()
}

/// Returns the mapped id of a record: the header of a typed record, otherwise the mapped id of the body's event id.
pub(crate) fn mapped_id_of(record: &Record<'_>) -> Option<String> {
    match record.header(header::EVENT_ID) {
        Some(id) => Some(String::from_utf8_lossy(id).into_owned()),
        None => mapped_id(&of_body(unpacked(record, &mut Vec::new()))?),
    }
}

/// Returns the event id in a body, including spaces around it.
fn of_body(body: &[u8]) -> Option<String> {
    match Webhook::parse(body) {
        Ok(webhook) => webhook.event_id.text().map(Cow::into_owned),
        Err(_) => Beginning::read(&Beginning::text(body)).event_id.text().map(Cow::into_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_that_is_not_a_plain_uri_segment_is_mapped_to_its_hash() {
        // The expected hash was computed with `printf 'a:b' | sha256sum`.
        let hash = "6783a31eabf68ccc0660f935c0826282bdd2241f3a80a9f2d10d59aea9ebb5d8";
        let of = |id: &str| mapped_id(id).unwrap();
        assert_eq!(of("01X"), "01X");
        assert_eq!((of(&"a".repeat(65)).len(), of(" 01X ").len()), (64, 64));
        assert_eq!(of(&of("a:b")), of("a:b"));
        assert_eq!(of("a:b"), hash);
        assert_eq!(mapped_id(" "), None);
        assert_eq!(of_body(br#"{"event_id":" 01X "}"#).as_deref(), Some(" 01X "));
        assert_eq!(of_body(br#"{"event_id":"a:b","data":{"content":"xxx"#).as_deref(), Some("a:b"));
    }
}
