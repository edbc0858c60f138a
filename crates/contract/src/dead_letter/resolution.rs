//! Resolutions: how a dead letter was resolved.

use super::header;
use crate::position::Offset;

/// How a dead letter was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResolutionKind {
    /// Its record was written again.
    Replayed,
    /// A person decided to discard it.
    Discarded,
}

impl ResolutionKind {
    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// Reads the value of the header.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Replayed, Self::Discarded].into_iter().find(|kind| kind.as_str().as_bytes() == name)
    }
}

/// A record without a value that resolves a dead letter, in the partition and with the key of the dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Offset of the dead letter that it resolves, in the same partition.
    pub dead_letter: Offset,
    /// How it was resolved.
    pub kind: ResolutionKind,
    /// Who resolved it.
    pub by: Option<String>,
    /// Why, in the words of that person.
    pub note: Option<String>,
    /// When it was resolved: milliseconds since 1970.
    pub at: Option<i64>,
}

impl Resolution {
    /// The headers of the record.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![(header::RESOLVES, self.dead_letter.to_string()), (header::RESOLUTION, self.kind.as_str().to_owned())];
        headers.extend(self.by.clone().map(|by| (header::BY, by)));
        headers.extend(self.note.clone().map(|note| (header::NOTE, note)));
        headers.extend(self.at.map(|at| (header::AT, at.to_string())));
        headers
    }
}
