//! Records: key, value, headers and offset of one Kafka record.

use contract::{Offset, Partition, Position};
use rdkafka::message::{BorrowedMessage, Header as RdHeader, Headers as _, Message as _, OwnedHeaders};

pub use contract::{Header, header};

/// Headers of a record to be written.
#[derive(Debug)]
pub struct Headers(OwnedHeaders);

impl Headers {
    /// Creates empty headers with room for `capacity`.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(OwnedHeaders::new_with_capacity(capacity))
    }

    /// Adds a header.
    #[must_use]
    pub fn with(self, name: &str, value: &[u8]) -> Self {
        Self(self.0.insert(RdHeader { key: name, value: Some(value) }))
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds headers, in their order.
    #[must_use]
    pub fn with_all<V: AsRef<[u8]>>(self, headers: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        headers.into_iter().fold(self, |all, (name, value)| all.with(name, value.as_ref()))
    }

    /// Copies the headers of another record, in their order.
    pub fn copied<'h>(headers: impl Iterator<Item = Header<'h>>) -> Self {
        headers.fold(Self::with_capacity(16), Self::with_header)
    }

    /// Adds a header of another record. Its value may be null.
    #[must_use]
    pub fn with_header(self, header: Header<'_>) -> Self {
        Self(self.0.insert(RdHeader { key: header.name, value: header.value }))
    }

    pub(crate) fn into_owned(self) -> OwnedHeaders {
        self.0
    }

    /// Iterates over the headers, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.0.iter().map(|header| Header { name: header.key, value: header.value })
    }
}

/// A record that was polled. It occupies memory of librdkafka until it is dropped.
#[derive(Debug)]
pub(crate) enum Polled<'c> {
    Message(BorrowedMessage<'c>),
    #[cfg(test)]
    Fake(FakeRecord),
}

/// A record for tests, without key and headers.
#[cfg(test)]
#[derive(Debug, Clone)]
pub(crate) struct FakeRecord {
    pub(crate) position: Position,
    pub(crate) timestamp: i64,
    pub(crate) value: Vec<u8>,
}

impl<'c> From<BorrowedMessage<'c>> for Polled<'c> {
    fn from(message: BorrowedMessage<'c>) -> Self {
        Self::Message(message)
    }
}

impl Polled<'_> {
    pub(crate) fn record(&self) -> Record<'_> {
        match self {
            Self::Message(message) => Record::new(message),
            #[cfg(test)]
            Self::Fake(record) => Record { memory: Memory::Fake(record) },
        }
    }
}

/// A record as it was read; it borrows librdkafka's memory.
#[derive(Debug)]
pub struct Record<'a> {
    memory: Memory<'a>,
}

/// The memory that contains a record.
#[derive(Debug, Clone, Copy)]
enum Memory<'a> {
    Message(&'a BorrowedMessage<'a>),
    #[cfg(test)]
    Fake(&'a FakeRecord),
}

impl<'a> Record<'a> {
    pub(crate) fn new(message: &'a BorrowedMessage<'a>) -> Self {
        Self { memory: Memory::Message(message) }
    }

    /// Partition of the record.
    #[must_use]
    pub fn partition(&self) -> Partition {
        match self.memory {
            Memory::Message(message) => Partition(message.partition()),
            #[cfg(test)]
            Memory::Fake(record) => record.position.partition,
        }
    }

    /// Offset of the record.
    #[must_use]
    pub fn offset(&self) -> Offset {
        match self.memory {
            Memory::Message(message) => Offset(message.offset()),
            #[cfg(test)]
            Memory::Fake(record) => record.position.offset,
        }
    }

    /// Partition and offset of the record.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::of(self.partition(), self.offset())
    }

    /// Key of the record.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        match self.memory {
            Memory::Message(message) => message.key(),
            #[cfg(test)]
            Memory::Fake(_) => None,
        }
    }

    /// Value of the record; empty if it is null.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        match self.memory {
            Memory::Message(message) => message.payload().unwrap_or_default(),
            #[cfg(test)]
            Memory::Fake(record) => &record.value,
        }
    }

    /// Timestamp of the record in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        match self.memory {
            Memory::Message(message) => message.timestamp().to_millis(),
            #[cfg(test)]
            Memory::Fake(record) => Some(record.timestamp),
        }
    }

    /// Headers of the record, in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let headers = match self.memory {
            Memory::Message(message) => message.headers(),
            #[cfg(test)]
            Memory::Fake(_) => None,
        };
        headers
            .into_iter()
            .flat_map(|headers| headers.iter().map(|header| Header { name: header.key, value: header.value }))
    }

    /// Value of the last header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|header| header.name == name).last().and_then(|header| header.value)
    }
}

/// An owned copy of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Partition of the record.
    pub partition: Partition,
    /// Offset of the record.
    pub offset: Offset,
    /// Key of the record.
    pub key: Option<Vec<u8>>,
    /// Value of the record; empty if it is null.
    pub value: Vec<u8>,
    /// Headers of the record, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// Value of the last header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(found, _)| found == name).and_then(|(_, value)| value.as_deref())
    }

    /// Value of the last header with this name, as text; `None` if it is missing or not UTF-8.
    #[must_use]
    pub fn text_header(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Iterates over the headers, like [`Record::headers`].
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() })
    }
}

impl From<&Record<'_>> for OwnedRecord {
    fn from(record: &Record<'_>) -> Self {
        Self {
            partition: record.partition(),
            offset: record.offset(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().to_vec(),
            headers: record
                .headers()
                .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// A record in one compact allocation, because a backlog holds many records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedRecord {
    /// Partition and offset of the record.
    pub position: Position,
    /// Timestamp of the record in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Key, value, and the name and value of each header. Each of these pieces follows its length, which is -1 for
    /// null.
    pieces: Box<[u8]>,
}

impl PackedRecord {
    /// Packs a record without a timestamp.
    #[must_use]
    pub fn pack<'a>(
        position: Position,
        key: Option<&[u8]>,
        value: &[u8],
        headers: impl Iterator<Item = Header<'a>> + Clone,
    ) -> Self {
        let of_headers: usize =
            headers.clone().map(|header| 8 + header.name.len() + header.value.map_or(0, <[u8]>::len)).sum();
        let mut pieces = Vec::with_capacity(8 + key.map_or(0, <[u8]>::len) + value.len() + of_headers);
        let mut add = |piece: Option<&[u8]>| {
            // Kafka's own lengths are 32 bits wide.
            let length = piece.map_or(-1, |piece| i32::try_from(piece.len()).unwrap_or(i32::MAX));
            pieces.extend_from_slice(&length.to_le_bytes());
            pieces.extend_from_slice(piece.unwrap_or_default());
        };
        add(key);
        add(Some(value));
        for header in headers {
            add(Some(header.name.as_bytes()));
            add(header.value);
        }
        Self { position, timestamp: None, pieces: pieces.into_boxed_slice() }
    }

    /// Key of the record.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        Pieces(&self.pieces).take()
    }

    /// Value of the record; empty if it is null.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let mut pieces = Pieces(&self.pieces);
        pieces.take();
        pieces.take().unwrap_or_default()
    }

    /// Headers of the record, in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let mut pieces = Pieces(&self.pieces);
        pieces.take();
        pieces.take();
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(pieces.take()?).unwrap_or_default();
            Some(Header { name, value: pieces.take() })
        })
    }

    /// Value of the last header with this name, as text; `None` if it is missing or not UTF-8.
    #[must_use]
    pub fn text_header(&self, name: &str) -> Option<&str> {
        let header = self.headers().filter(|header| header.name == name).last();
        header.and_then(|header| header.value).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Approximate number of bytes of memory that the record takes, including its slot in a queue.
    #[must_use]
    pub fn size(&self) -> usize {
        const PLACE: usize = 192;
        PLACE + self.pieces.len()
    }
}

impl From<&Record<'_>> for PackedRecord {
    fn from(record: &Record<'_>) -> Self {
        // `pack` iterates twice, and the iterator over a record's headers cannot be cloned.
        let headers: Vec<Header<'_>> = record.headers().collect();
        let packed = Self::pack(record.position(), record.key(), record.value(), headers.iter().copied());
        Self { timestamp: record.timestamp(), ..packed }
    }
}

/// The pieces of a record that have not been taken yet.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    /// Takes the next piece; `None` for null, and at the end.
    fn take(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_record_unpacks_to_the_same_values() {
        let headers = [
            Header { name: "event-id", value: Some(b"old") },
            Header { name: "none", value: None },
            Header { name: "", value: Some(b"") },
            Header { name: "event-id", value: Some(b"e1") },
            Header { name: "binary", value: Some(&[0xff]) },
        ];
        for key in [None, Some(&b""[..]), Some(b"key")] {
            for value in [&b""[..], b"value"] {
                let record = PackedRecord::pack(Position::new(3, 17), key, value, headers.iter().copied());
                assert_eq!((record.key(), record.value()), (key, value));
                assert_eq!(record.headers().collect::<Vec<_>>(), headers);
                assert_eq!(record.text_header("event-id"), Some("e1"));
                assert_eq!((record.text_header("binary"), record.text_header("other")), (None, None));
            }
        }
        let bare = PackedRecord::pack(Position::new(0, 0), None, b"v", std::iter::empty());
        assert_eq!((bare.headers().count(), bare.value()), (0, &b"v"[..]));
    }

    #[test]
    fn a_packed_record_keeps_the_timestamp_of_the_record() {
        let position = Position::new(3, 17);
        let polled = Polled::Fake(FakeRecord { position, timestamp: 1_700_000_000_000, value: b"value".to_vec() });
        let packed = PackedRecord::from(&polled.record());
        assert_eq!(
            (packed.position, packed.timestamp, packed.value()),
            (position, Some(1_700_000_000_000), &b"value"[..])
        );
    }
}
