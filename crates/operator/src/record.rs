//! Reads the fields that records of all topics share.

use std::borrow::Cow;

use contract::limits::LARGEST_BODY;
use contract::{Position, header};
use customerio::Beginning;
use customerio::webhook::Webhook;
use kafka::Record;
use kafka::record::OwnedRecord;

/// Returns the position of a record.
pub(crate) fn position(record: &Record<'_>) -> Position {
    record.position()
}

/// Returns the position of a record that was copied.
pub(crate) fn owned_position(record: &OwnedRecord) -> Position {
    Position::of(record.partition, record.offset)
}

/// Returns the event id of a record: the header of a typed record, otherwise the id in the body.
pub(crate) fn event_id(record: &Record<'_>) -> Option<String> {
    match record.header(header::EVENT_ID) {
        Some(id) => Some(String::from_utf8_lossy(id).into_owned()),
        None => body_event_id(unpacked(record, &mut Vec::new())),
    }
}

/// Returns the event id of a body, or of a truncated body whose beginning contains the id.
fn body_event_id(body: &[u8]) -> Option<String> {
    match Webhook::parse(body) {
        Ok(webhook) => webhook.event_id.non_blank().map(Cow::into_owned),
        Err(_) => Beginning::read(&Beginning::text(body)).event_id.non_blank().map(Cow::into_owned),
    }
}

/// Returns a record's body, decompressed into `buffer` if necessary; unchanged if it cannot be decompressed.
pub(crate) fn unpacked<'a>(record: &Record<'a>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let encoding = record.header(header::CONTENT_ENCODING);
    mapping::decoded(encoding, record.value(), LARGEST_BODY, buffer).unwrap_or(record.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_id_of_a_truncated_body_is_read_from_its_beginning() {
        let id = |body: &[u8]| body_event_id(body);
        assert_eq!(id(br#"{"event_id":" 01X "}"#).as_deref(), Some("01X"));
        assert_eq!(id(br#"{"event_id":"01X","data":{"content":"xxx"#).as_deref(), Some("01X"));
        for body in [&b"not json"[..], b"", b"{}", br#"{"event_id":" "}"#, br#"{"event_id":"01"#] {
            assert_eq!(id(body), None, "{body:?}");
        }
    }
}
