//! Faults, one after the other, each for a number of ingestion requests or until it is cleared.

use serde::{Deserialize, Serialize};

/// A fault and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_documented_and_unknown_members_are_refused() {
        let read = serde_json::from_str::<Fault>;
        let text = r#"{"fault":"status","status":503,"retry_after":1,"requests":2}"#;
        assert_eq!(read(text).unwrap(), Fault::status(503, Some(1), 2));
        let text = r#"{"fault":"partial","shape":"b","every":7,"status":400}"#;
        let kind = FaultKind::Partial { shape: Shape::B, every: 7, status: 400 };
        assert_eq!(read(text).unwrap(), Fault { kind, requests: None });
        assert_eq!(read(r#"{"fault":"expire_tokens"}"#).unwrap().kind, FaultKind::ExpireTokens);
        assert!(read(r#"{"fault":"status","status":503,"requets":2}"#).is_err());
        assert!(read(r#"{"fault":"nonsense"}"#).is_err());
    }
}
