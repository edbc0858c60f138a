//! Reads the records of the dead-letter topic: dead letters, the resolutions that resolve them, and marks.

use super::cut::Cut;
use super::header;
use super::mark::Mark;
use super::resolution::{Resolution, ResolutionKind};
use super::stage::Stage;
use super::written::{DeadLetter, Origin};
use crate::header::{Header, REPLAY_OF, number};
use crate::position::{Offset, Position};

/// Names of the headers that [`Entry::read`] evaluates.
const NAMES: [&str; 16] = [
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
    header::BATCH,
    header::DELIVERED_FROM,
    header::CHECKED_TO,
];

/// A record of the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A dead letter.
    DeadLetter(DeadLetter),
    /// The resolution of a dead letter in the same partition.
    Resolution(Resolution),
    /// The progress of a sink.
    Mark(Mark),
    /// A record that is none of these; another program wrote it.
    Foreign,
}

impl Entry {
    /// Reads the headers of a record of the dead-letter topic.
    pub fn read<'a>(headers: impl Iterator<Item = Header<'a>>) -> Self {
        let mut found: [Option<&'a [u8]>; NAMES.len()] = [None; NAMES.len()];
        for Header { name, value } in headers {
            // If several headers have the same name, the last one counts: a dead letter's headers follow the original
            // ones.
            if let Some(index) = NAMES.iter().position(|known| *known == name) {
                found[index] = value;
            }
        }
        let [
            stage,
            code,
            message,
            topic,
            partition,
            offset,
            at,
            resolves,
            kind,
            by,
            note,
            size,
            sha256,
            batch,
            delivered_from,
            checked_to,
        ] = found;
        let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
        if let Some(dead_letter) = number(resolves).map(Offset) {
            let Some(kind) = kind.and_then(ResolutionKind::from_name) else { return Self::Foreign };
            let (by, note, at) = (text(by), text(note), number(at));
            return Self::Resolution(Resolution { dead_letter, kind, by, note, at });
        }
        let Some(stage) = stage.and_then(|stage| Stage::from_name(std::str::from_utf8(stage).ok()?)) else {
            let delivered_from = text(delivered_from).map(Mark::DeliveredFrom);
            let mark = delivered_from.or_else(|| number(checked_to).map(Mark::FailedBatchesCheckedTo));
            return mark.map_or(Self::Foreign, Self::Mark);
        };
        let partition = number(partition).and_then(|partition| i32::try_from(partition).ok());
        let origin = match (text(topic), partition, number(offset)) {
            (Some(topic), Some(partition), Some(offset)) => {
                Some(Origin { topic, position: Position::new(partition, offset) })
            }
            _ => None,
        };
        let cut = match (number(size).and_then(|size| u64::try_from(size).ok()), text(sha256)) {
            (Some(size), Some(sha256)) => Some(Cut { size, sha256 }),
            _ => None,
        };
        let (code, message) = (text(code).unwrap_or_default(), text(message).unwrap_or_default());
        Self::DeadLetter(DeadLetter { stage, code, message, origin, at: number(at), cut, batch: text(batch) })
    }
}

/// Whether the header with this name belongs to the original record of a dead letter. All other headers were added by
/// the dead letter or by an earlier replay.
#[must_use]
pub fn is_original(name: &str) -> bool {
    !name.starts_with(header::PREFIX) && name != REPLAY_OF
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: [Header<'static>; 3] = [
        Header { name: "received-at", value: Some(b"5") },
        Header { name: "replay-of", value: Some(b"t/0/1") },
        Header { name: "null", value: None },
    ];

    fn read(headers: &[(&'static str, String)]) -> Entry {
        let own = headers.iter().map(|(name, value)| Header { name, value: Some(value.as_bytes()) });
        Entry::read(ORIGINAL.into_iter().chain(own))
    }

    #[test]
    fn a_dead_letter_is_read_as_it_was_written() {
        let whole = DeadLetter::new(Stage::Sink, "refused", "no", 99).of("typed", Position::new(7, 42));
        let cut = whole.clone().cut(Cut { size: 9, sha256: "ab".repeat(32) });
        let without_origin = DeadLetter::new(Stage::Gateway, "body_too_large", "no", 99);
        let rejected = DeadLetter::new(Stage::Platform, "rejected_after_acceptance", "no", 99).batch("01B");
        for dead_letter in [whole, cut, without_origin, rejected] {
            assert_eq!(read(&dead_letter.headers()), Entry::DeadLetter(dead_letter));
        }
    }

    #[test]
    fn headers_that_a_dead_letter_adds_are_not_original_headers() {
        let dead_letter = DeadLetter::new(Stage::Sink, "refused", "no", 99).of("typed", Position::new(7, 42));
        let own = dead_letter.cut(Cut { size: 9, sha256: "ab".to_owned() }).headers();
        let names = ORIGINAL.iter().map(|header| header.name).chain(own.iter().map(|(name, _)| *name));
        assert_eq!(names.filter(|name| is_original(name)).collect::<Vec<_>>(), ["received-at", "null"]);
    }

    #[test]
    fn a_resolution_is_read_as_it_was_written() {
        let (by, note) = (Some("kim".to_owned()), Some("test data".to_owned()));
        for kind in [ResolutionKind::Replayed, ResolutionKind::Discarded] {
            let whole = Resolution { dead_letter: Offset(12), kind, by: by.clone(), note: note.clone(), at: Some(5) };
            let bare = Resolution { by: None, note: None, at: None, ..whole.clone() };
            for resolution in [whole, bare] {
                assert_eq!(read(&resolution.headers()), Entry::Resolution(resolution));
            }
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for mark in [Mark::DeliveredFrom("typed".to_owned()), Mark::FailedBatchesCheckedTo(1_700_000_000_000)] {
            assert_eq!(read(&mark.headers()), Entry::Mark(mark));
        }
    }

    #[test]
    fn a_dead_letter_whose_original_record_has_the_header_of_a_mark_is_read_as_a_dead_letter() {
        let dead_letter = DeadLetter::new(Stage::Sink, "refused", "no", 99);
        let headers = [Mark::FailedBatchesCheckedTo(7).headers(), dead_letter.headers()].concat();
        assert_eq!(read(&headers), Entry::DeadLetter(dead_letter));
    }

    #[test]
    fn a_record_that_another_program_wrote_is_foreign() {
        let one = |name, value: &'static [u8]| Entry::read([Header { name, value: Some(value) }].into_iter());
        assert_eq!(one("x", b"1"), Entry::Foreign);
        assert_eq!(one(header::STAGE, b"nowhere"), Entry::Foreign);
        assert_eq!(one(header::RESOLVES, b"12"), Entry::Foreign);
        assert_eq!(one(header::CHECKED_TO, b"today"), Entry::Foreign);
    }
}
