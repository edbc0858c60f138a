//! Dead letters: the original record, unchanged, with headers that say where it came from and why it is here.
//!
//! This module knows the form of a dead letter; the services decide which records become dead letters, and with which
//! codes.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

mod entry;

use crate::record::{Header, Headers};
use crate::topic::TopicName;

pub use entry::{Closed, Cut, DeadLetter, DeadLetterOrigin, Entry, Resolution, original_headers, resolution_headers};

/// Names of the headers that a dead letter has in addition to the original ones.
pub mod header {
    /// The stage that wrote it: `gateway`, `transformer`, `sink` or `platform`.
    pub const STAGE: &str = "dead-letter-stage";
    /// Stable code of the reason.
    pub const CODE: &str = "dead-letter-code";
    /// The reason as a text of at most 1 KiB.
    pub const MESSAGE: &str = "dead-letter-message";
    /// Topic of the original record.
    pub const TOPIC: &str = "dead-letter-topic";
    /// Partition of the original record, decimal.
    pub const PARTITION: &str = "dead-letter-partition";
    /// Offset of the original record, decimal.
    pub const OFFSET: &str = "dead-letter-offset";
    /// When it was written: milliseconds since 1970, decimal.
    pub const AT: &str = "dead-letter-at";
    /// Version of the software that wrote it.
    pub const VERSION: &str = "dead-letter-version";
    /// Only on a dead letter whose value is cut: the size of the original value in bytes, decimal.
    pub const ORIGINAL_SIZE: &str = "dead-letter-original-size";
    /// Only on a dead letter whose value is cut: the SHA-256 of the original value, 64 lower-case hex digits.
    pub const ORIGINAL_SHA256: &str = "dead-letter-original-sha256";
    /// On a resolution (a record without a value, in the partition and with the key of the dead letter): the offset of
    /// the dead letter that it resolves, decimal.
    pub const RESOLVES: &str = "dead-letter-resolves";
    /// On a resolution: `replayed` or `discarded`.
    pub const RESOLUTION: &str = "dead-letter-resolution";
    /// On a resolution: who resolved it.
    pub const BY: &str = "dead-letter-by";
    /// On a resolution: why, in the words of that person.
    pub const NOTE: &str = "dead-letter-note";
}

/// Maximum length of a `dead-letter-message`, in bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// How many bytes of a value are kept if the dead-letter topic refuses the whole value.
pub const KEPT_BYTES: usize = 64 * 1024;

/// The beginning of a value that cannot be stored whole, and the size and hash of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutValue<'v> {
    /// The first [`KEPT_BYTES`].
    pub kept: &'v [u8],
    /// Size and hash of the original value.
    pub cut: Cut,
}

impl<'v> CutValue<'v> {
    /// Cuts a value that is in memory as a whole.
    #[must_use]
    pub fn of(value: &'v [u8]) -> Self {
        let hash = digest(&SHA256, value);
        let sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { kept: &value[..value.len().min(KEPT_BYTES)], cut: Cut { size: value.len() as u64, sha256 } }
    }
}

impl Cut {
    /// Adds the two headers that mark a dead letter's value as cut.
    #[must_use]
    pub fn headers(&self, headers: Headers) -> Headers {
        headers
            .with(header::ORIGINAL_SIZE, self.size.to_string().as_bytes())
            .with(header::ORIGINAL_SHA256, self.sha256.as_bytes())
    }
}

/// The stage that wrote a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The gateway could not store the body as a raw record.
    Gateway,
    /// The transformer could not map the raw record.
    Transformer,
    /// Platform refused the typed record, or it could not be sent.
    Sink,
    /// Platform rejected the record after having accepted it.
    Platform,
}

impl Stage {
    /// All stages, in the order of the pipeline.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Transformer, Self::Sink, Self::Platform];

    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Transformer => "transformer",
            Self::Sink => "sink",
            Self::Platform => "platform",
        }
    }

    /// Returns the stage of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The position of the original record.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Its topic.
    pub topic: &'a TopicName,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Why a record becomes a dead letter.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// The stage that decided it.
    pub stage: Stage,
    /// Stable code, from the stage's list.
    pub code: &'a str,
    /// What is wrong, as a text; cut to [`MESSAGE_LIMIT`] bytes.
    pub message: &'a str,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// The headers of a dead letter: the original ones in their order, then the reason and the origin.
pub fn headers<'a>(
    original: impl Iterator<Item = Header<'a>>,
    reason: Reason<'_>,
    origin: Option<Origin<'_>>,
) -> Headers {
    let mut headers = Headers::with_capacity(16);
    for header in original {
        headers = headers.with_header(header);
    }
    headers = headers
        .with(header::STAGE, reason.stage.as_str().as_bytes())
        .with(header::CODE, reason.code.as_bytes())
        .with(header::MESSAGE, cut(reason.message).as_bytes());
    if let Some(origin) = origin {
        headers = headers
            .with(header::TOPIC, origin.topic.as_str().as_bytes())
            .with(header::PARTITION, origin.partition.to_string().as_bytes())
            .with(header::OFFSET, origin.offset.to_string().as_bytes());
    }
    headers.with(header::AT, reason.at.to_string().as_bytes()).with(header::VERSION, service::VERSION.as_bytes())
}

/// Cuts the text to [`MESSAGE_LIMIT`] bytes, between code points.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_holds_its_own_value() {
        let original = [Header { name: "received-at", value: Some(b"5") }, Header { name: "null", value: None }];
        let reason = Reason { stage: Stage::Transformer, code: "not_json", message: "line 1", at: 99 };
        let topic = "raw".parse().unwrap();
        let origin = Origin { topic: &topic, partition: 7, offset: 42 };
        let headers = headers(original.into_iter(), reason, Some(origin));
        let found: Vec<_> = headers
            .iter()
            .map(|header| (header.name, header.value.map(|value| String::from_utf8_lossy(value).into_owned())))
            .collect();
        let expected = [
            ("received-at", Some("5")),
            ("null", None),
            ("dead-letter-stage", Some("transformer")),
            ("dead-letter-code", Some("not_json")),
            ("dead-letter-message", Some("line 1")),
            ("dead-letter-topic", Some("raw")),
            ("dead-letter-partition", Some("7")),
            ("dead-letter-offset", Some("42")),
            ("dead-letter-at", Some("99")),
            ("dead-letter-version", Some(service::VERSION)),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name, value.map(str::to_owned))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_long_message_is_cut_between_code_points() {
        let long = "ä".repeat(MESSAGE_LIMIT);
        assert_eq!(cut(&long).len(), MESSAGE_LIMIT);
        assert_eq!(cut(&format!("x{long}")).len(), MESSAGE_LIMIT - 1);
        assert_eq!(cut("short"), "short");
    }
}
