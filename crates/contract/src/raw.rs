//! Raw records: a webhook's body as the gateway received it, and headers.

use std::borrow::Cow;

use crate::header::{self, Header};

/// The source of a record that names none.
pub const DEFAULT_SOURCE: &str = "default";

/// A raw record as its readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// The body, encoded as it was received.
    pub body: &'a [u8],
    /// Its `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// When the gateway received it: milliseconds since 1970.
    pub received_at: i64,
    /// The name of its source, if the record has one.
    pub source: Option<Cow<'a, str>>,
    /// Whether its event is mapped even if it was mapped before.
    pub reprocess: bool,
    /// The dead letter that it was replayed from, as `topic/partition/offset`.
    pub replay_of: Option<Cow<'a, str>>,
}

impl<'a> RawRecord<'a> {
    /// Reads a record of the raw topic, or a dead letter of one. `time` is the record's own time in milliseconds since
    /// 1970. The last header of a name counts.
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

    /// The name of its source.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.source.as_deref().unwrap_or(DEFAULT_SOURCE)
    }
}

/// When the gateway received a webhook: the header `received-at` of its raw or typed record, or the record's own time if
/// another program wrote it.
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
    fn the_time_of_receipt_is_the_header_or_the_records_time_without_one() {
        let at = |header: Option<&'static [u8]>, time| read(&[(header::RECEIVED_AT, header)], time).received_at;
        assert_eq!(at(Some(b"1700000000000"), Some(5)), 1_700_000_000_000);
        assert_eq!(at(Some(b"yesterday"), Some(5)), 5);
        assert_eq!(at(None, Some(5)), 5);
        assert_eq!(at(None, None), 0);
    }

    #[test]
    fn of_repeated_headers_the_last_counts_and_unknown_ones_are_ignored() {
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
