//! Typed records: one ExperienceEvent in Avro, plus headers.

use std::borrow::Cow;

use crate::header::{self, Header};
use crate::position::Offset;
use crate::raw::received_at_or;

/// The headers of a typed record. Reading the value needs an Avro schema, so the crate `xdm` does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedRecord<'a> {
    /// The XDM `_id` of the event; empty if the record does not have the header.
    pub event_id: Cow<'a, str>,
    /// Offset of the raw record that this record was mapped from. The raw record is in the partition with the same
    /// number.
    pub raw_offset: Option<Offset>,
    /// Time at which the gateway received the webhook: milliseconds since 1970.
    pub received_at: i64,
    /// Position of the dead letter from which the record was replayed, as `topic/partition/offset`.
    pub replay_of: Option<Cow<'a, str>>,
}

impl<'a> TypedRecord<'a> {
    /// Reads the headers of a record of the typed topic. `time` is the timestamp of the Kafka record in milliseconds
    /// since 1970.
    pub fn read(headers: impl Iterator<Item = Header<'a>>, time: Option<i64>) -> Self {
        let [mut event_id, mut raw_offset, mut received_at] = [None; 3];
        let mut replay_of = None;
        for Header { name, value } in headers {
            match name {
                header::EVENT_ID => event_id = value,
                header::RAW_OFFSET => raw_offset = value,
                header::RECEIVED_AT => received_at = value,
                header::REPLAY_OF => replay_of = Some(String::from_utf8_lossy(value.unwrap_or_default())),
                _ => {}
            }
        }
        Self {
            event_id: String::from_utf8_lossy(event_id.unwrap_or_default()),
            raw_offset: header::number(raw_offset).map(Offset),
            received_at: received_at_or(received_at, time),
            replay_of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_record_is_read_from_its_headers_and_missing_headers_get_defaults() {
        let headers = [
            (header::EVENT_ID, "01X"),
            (header::RAW_OFFSET, "42"),
            (header::RECEIVED_AT, "1700000000000"),
            (header::REPLAY_OF, "dead/0/1"),
        ];
        let headers = headers.map(|(name, value)| Header { name, value: Some(value.as_bytes()) });
        let record = TypedRecord::read(headers.into_iter(), Some(5));
        assert_eq!((&*record.event_id, record.raw_offset), ("01X", Some(Offset(42))));
        assert_eq!((record.received_at, record.replay_of.as_deref()), (1_700_000_000_000, Some("dead/0/1")));
        let bare = TypedRecord::read(std::iter::empty(), Some(5));
        assert_eq!((&*bare.event_id, bare.raw_offset, bare.received_at, bare.replay_of), ("", None, 5, None));
    }
}
