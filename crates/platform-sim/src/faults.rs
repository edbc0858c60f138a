//! Faults, one after the other, each for a number of ingestion requests or until it is cleared.

use serde::{Deserialize, Serialize};

/// A fault and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// For how many requests; without it until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// Every request is answered with this status and accepts nothing.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// 207 in which every n-th message is refused.
    Partial {
        /// Which of Adobe's two shapes a refused entry has.
        shape: Shape,
        /// n.
        every: usize,
        /// The refused entries' status.
        status: u16,
    },
    /// All tokens issued so far become worthless, at once.
    ExpireTokens,
}

/// Adobe's two shapes of a failed entry in a 207.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `{"statusCode", "message"}`, found by its place (Adobe's documentation).
    A,
    /// `{"xactionId": "…-index", "status", "message"}` (Adobe's own connector).
    B,
}

impl Fault {
    /// A status for a number of requests.
    #[must_use]
    pub fn status(status: u16, retry_after: Option<u64>, requests: u64) -> Self {
        Self { kind: FaultKind::Status { status, retry_after }, requests: Some(requests) }
    }
}
