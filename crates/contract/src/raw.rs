//! Raw records: the body of a webhook as the gateway received it, plus headers.

use std::borrow::Cow;

use crate::header::{self, Header};

/// Source of a raw record without a `source` header.
pub const DEFAULT_SOURCE: &str = "default";

/// The parts of a raw record that its readers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// The body, encoded as it was received.
    pub body: &'a [u8],
    /// Value of the header `content-encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// Time at which the gateway received the webhook: milliseconds since 1970.
    pub received_at: i64,
    /// Value of the header `source`.
    pub source: Option<Cow<'a, str>>,
    /// Whether the transformer maps the event even if it was mapped before.
    pub reprocess: bool,
    /// Position of the dead letter from which the record was replayed, as `topic/partition/offset`.
    pub replay_of: Option<Cow<'a, str>>,
}

impl<'a> RawRecord<'a> {
    /// Reads a record of the raw topic, or a dead letter that contains a raw record. `time` is the timestamp of the
    /// Kafka record in milliseconds since 1970. If several headers have the same name, the last one counts.
    pub fn read(headers: impl Iterator<Item = Header<'a>>, body: &'a [u8], time: Option<i64>) -> Self {
        let mut record =
            Self { body, content_encoding: None, received_at: 0, source: None, reprocess: false, replay_of: None };
        let mut received_at = None;
        for Header { name, value } in headers {
            match name {
                header::CONTENT_ENCODING => record.content_encoding = value,
                header::RECEIVED_AT => received_at = value,
                header::SOURCE => record.source = value.map(String::from_utf8_lossy),
                header::REPROCESS => record.reprocess = true,
                header::REPLAY_OF => record.replay_of = Some(String::from_utf8_lossy(value.unwrap_or_default())),
                _ => {}
            }
        }
        record.received_at = received_at_or(received_at, time);
        record
    }

    /// Name of the record's source, or [`DEFAULT_SOURCE`] if the record does not have one.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.source.as_deref().unwrap_or(DEFAULT_SOURCE)
    }
}

/// Time at which the gateway received a webhook: the header `received-at` of the raw or typed record, or else (if
/// another program wrote the record) the timestamp of the Kafka record.
#[must_use]
pub fn received_at_or(header: Option<&[u8]>, time: Option<i64>) -> i64 {
    header::number(header).or(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(headers: &[(&'a str, Option<&'a [u8]>)], time: Option<i64>) -> RawRecord<'a> {
        RawRecord::read(headers.iter().map(|&(name, value)| Header { name, value }), b"{}", time)
    }

    #[test]
    fn received_at_is_the_header_or_else_the_timestamp_of_the_record() {
        let at = |header: Option<&'static [u8]>, time| read(&[(header::RECEIVED_AT, header)], time).received_at;
        assert_eq!(at(Some(b"1700000000000"), Some(5)), 1_700_000_000_000);
        assert_eq!(at(Some(b"yesterday"), Some(5)), 5);
        assert_eq!(at(None, Some(5)), 5);
        assert_eq!(at(None, None), 0);
    }

    #[test]
    fn the_last_of_several_headers_with_the_same_name_counts() {
        let record = read(
            &[
                (header::SOURCE, Some(b"shop")),
                ("x", Some(b"y")),
                (header::SOURCE, Some(b"app")),
                (header::CONTENT_ENCODING, Some(b"gzip")),
                (header::REPROCESS, None),
                (header::REPLAY_OF, Some(b"dead/0/1")),
            ],
            None,
        );
        assert_eq!((record.source_name(), record.content_encoding), ("app", Some(&b"gzip"[..])));
        assert!(record.reprocess);
        assert_eq!(record.replay_of.as_deref(), Some("dead/0/1"));
        let bare = read(&[], None);
        assert_eq!((bare.source_name(), bare.source.is_none(), bare.reprocess), ("default", true, false));
    }
}
