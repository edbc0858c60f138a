//! Reads the records of the dead-letter topic: dead letters, and the resolutions that resolve them.

use super::{Stage, header};
use crate::record::header::REPLAY_OF;
use crate::record::{Header, Headers};

/// The headers that are read.
const NAMES: [&str; 13] = [
    header::STAGE,
    header::CODE,
    header::MESSAGE,
    header::TOPIC,
    header::PARTITION,
    header::OFFSET,
    header::AT,
    header::RESOLVES,
    header::RESOLUTION,
    header::BY,
    header::NOTE,
    header::ORIGINAL_SIZE,
    header::ORIGINAL_SHA256,
];

/// The prefix of all headers that a dead letter has in addition to the original ones.
const PREFIX: &str = "dead-letter-";

/// A record of the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A dead letter.
    DeadLetter(DeadLetter),
    /// The resolution of a dead letter in the same partition.
    Closed(Closed),
    /// A record of neither kind, written by another program.
    Foreign,
}

/// The content of a dead letter's own headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The stage that wrote it.
    pub stage: Stage,
    /// The reason's stable code.
    pub code: String,
    /// The reason as a text.
    pub message: String,
    /// The original record; the gateway's dead letters may have none.
    pub origin: Option<DeadLetterOrigin>,
    /// When it was written: milliseconds since 1970.
    pub at: Option<i64>,
    /// Size and hash of the original value, if the dead letter has only its beginning.
    pub cut: Option<Cut>,
}

/// The original value of a dead letter that has only the first [`super::KEPT_BYTES`] of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Size of the original value in bytes.
    pub size: u64,
    /// SHA-256 of the original value, 64 lower-case hex digits.
    pub sha256: String,
}

/// The position of the original record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterOrigin {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// How a dead letter is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Its record was written again.
    Replayed,
    /// A person decided to discard it.
    Discarded,
}

impl Resolution {
    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// The content of a resolution's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Offset of the dead letter that it resolves, in the same partition.
    pub dead_letter: i64,
    /// How it was resolved.
    pub resolution: Resolution,
    /// Who resolved it.
    pub by: Option<String>,
    /// Why, in the words of that person.
    pub note: Option<String>,
    /// When: milliseconds since 1970.
    pub at: Option<i64>,
}

impl Entry {
    /// Reads the headers of a record of the dead-letter topic.
    pub fn read<'a>(headers: impl Iterator<Item = Header<'a>>) -> Self {
        let mut found: [Option<&'a [u8]>; NAMES.len()] = [None; NAMES.len()];
        for Header { name, value } in headers {
            // The last header of a name counts: those of the dead letter are after the original ones.
            if let Some(index) = NAMES.iter().position(|known| *known == name) {
                found[index] = value;
            }
        }
        let [stage, code, message, topic, partition, offset, at, resolves, resolution, by, note, size, sha256] = found;
        let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
        let number =
            |value: Option<&[u8]>| value.and_then(|value| std::str::from_utf8(value).ok()?.parse::<i64>().ok());
        if let Some(dead_letter) = number(resolves) {
            let resolution = match resolution {
                Some(b"replayed") => Resolution::Replayed,
                Some(b"discarded") => Resolution::Discarded,
                _ => return Self::Foreign,
            };
            return Self::Closed(Closed { dead_letter, resolution, by: text(by), note: text(note), at: number(at) });
        }
        let Some(stage) = stage.and_then(|stage| Stage::from_name(std::str::from_utf8(stage).ok()?)) else {
            return Self::Foreign;
        };
        let partition = number(partition).and_then(|partition| i32::try_from(partition).ok());
        let origin = match (text(topic), partition, number(offset)) {
            (Some(topic), Some(partition), Some(offset)) => Some(DeadLetterOrigin { topic, partition, offset }),
            _ => None,
        };
        let cut = match (number(size).and_then(|size| u64::try_from(size).ok()), text(sha256)) {
            (Some(size), Some(sha256)) => Some(Cut { size, sha256 }),
            _ => None,
        };
        let (code, message) = (text(code).unwrap_or_default(), text(message).unwrap_or_default());
        Self::DeadLetter(DeadLetter { stage, code, message, origin, at: number(at), cut })
    }
}

/// Returns the headers of the record that resolves a dead letter.
#[must_use]
pub fn resolution_headers(closed: &Closed) -> Headers {
    Headers::with_capacity(5)
        .with(header::RESOLVES, closed.dead_letter.to_string().as_bytes())
        .with(header::RESOLUTION, closed.resolution.as_str().as_bytes())
        .with_some(header::BY, closed.by.as_ref().map(String::as_bytes))
        .with_some(header::NOTE, closed.note.as_ref().map(String::as_bytes))
        .with_some(header::AT, closed.at.map(|at| at.to_string()).as_ref().map(String::as_bytes))
}

/// Returns the headers for writing the original record again: without those of the dead letter, and without the mark of
/// an earlier replay.
pub fn original_headers<'a>(headers: impl Iterator<Item = Header<'a>>) -> Headers {
    headers
        .filter(|header| !header.name.starts_with(PREFIX) && header.name != REPLAY_OF)
        .fold(Headers::with_capacity(10), Headers::with_header)
}

#[cfg(test)]
mod tests {
    use super::super::{CutValue, KEPT_BYTES, Origin, Reason, headers};
    use super::*;

    fn original() -> [Header<'static>; 3] {
        [("received-at", Some(&b"5"[..])), ("replay-of", Some(b"t/0/1")), ("null", None)]
            .map(|(name, value)| Header { name, value })
    }

    #[test]
    fn a_dead_letter_is_read_as_it_was_written_and_the_original_headers_come_back() {
        let topic = "raw".parse().unwrap();
        let reason = Reason { stage: Stage::Sink, code: "refused", message: "no", at: 99 };
        let origin = Origin { topic: &topic, partition: 7, offset: 42 };
        let written = headers(original().into_iter(), reason, Some(origin));
        let expected = DeadLetter {
            stage: Stage::Sink,
            code: "refused".to_owned(),
            message: "no".to_owned(),
            origin: Some(DeadLetterOrigin { topic: "raw".to_owned(), partition: 7, offset: 42 }),
            at: Some(99),
            cut: None,
        };
        assert_eq!(Entry::read(written.iter()), Entry::DeadLetter(expected));
        let again = original_headers(written.iter());
        assert_eq!(again.iter().collect::<Vec<_>>(), [original()[0], original()[2]]);
        let without = headers(std::iter::empty(), reason, None);
        assert!(matches!(Entry::read(without.iter()), Entry::DeadLetter(DeadLetter { origin: None, .. })));
    }

    #[test]
    fn a_cut_value_is_recognised_by_its_size_and_hash() {
        let reason = Reason { stage: Stage::Transformer, code: "not_json", message: "no", at: 99 };
        let value = vec![b'x'; KEPT_BYTES + 1];
        let CutValue { kept, cut } = CutValue::of(&value);
        assert_eq!((kept.len(), cut.size, cut.sha256.len()), (KEPT_BYTES, KEPT_BYTES as u64 + 1, 64));
        let written = cut.headers(headers(original().into_iter(), reason, None));
        let Entry::DeadLetter(dead_letter) = Entry::read(written.iter()) else { panic!("it is a dead letter") };
        assert_eq!(dead_letter.cut, Some(cut));
        assert_eq!(
            CutValue::of(b"abc").cut.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "the first test vector of FIPS 180-2"
        );
    }

    #[test]
    fn a_resolution_is_read_as_it_was_written() {
        let closed = Closed {
            dead_letter: 12,
            resolution: Resolution::Discarded,
            by: Some("kim".to_owned()),
            note: Some("test data".to_owned()),
            at: Some(5),
        };
        assert_eq!(Entry::read(resolution_headers(&closed).iter()), Entry::Closed(closed));
    }

    #[test]
    fn a_record_of_another_program_is_foreign() {
        let one = |name, value: &'static [u8]| Entry::read([Header { name, value: Some(value) }].into_iter());
        assert_eq!(one("x", b"1"), Entry::Foreign);
        assert_eq!(one(header::STAGE, b"nowhere"), Entry::Foreign);
        assert_eq!(one(header::RESOLVES, b"12"), Entry::Foreign);
    }
}
