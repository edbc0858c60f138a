//! Resolutions: records that mark a dead letter as resolved.

use super::header;
use crate::position::Offset;

/// The two ways to resolve a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResolutionKind {
    /// The record of the dead letter was written to its topic again.
    Replayed,
    /// A person decided not to process the record of the dead letter.
    Discarded,
}

impl ResolutionKind {
    /// Value of the header [`RESOLUTION`](header::RESOLUTION).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// Returns the kind for a value of the header [`RESOLUTION`](header::RESOLUTION); `None` if the value is unknown.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Replayed, Self::Discarded].into_iter().find(|kind| kind.as_str().as_bytes() == name)
    }
}

/// A record without a value that resolves a dead letter, in the partition and with the key of the dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Offset of the resolved dead letter, in the same partition as the resolution.
    pub dead_letter: Offset,
    /// Whether the dead letter was replayed or discarded.
    pub kind: ResolutionKind,
    /// The person who resolved the dead letter.
    pub by: Option<String>,
    /// Explanation by the person who resolved the dead letter.
    pub note: Option<String>,
    /// Time of the resolution: milliseconds since 1970.
    pub at: Option<i64>,
}

impl Resolution {
    /// Headers of the resolution record.
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
