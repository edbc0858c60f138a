//! Faults of streaming ingestion and IMS.
//!
//! The kinds `Tokens`, `Clock`, `Poison` and `Limit` apply from the moment they are added until the faults are cleared.
//! `ExpireTokens` has its effect once, when it is added. Faults of all other kinds apply one after the other, each to a
//! number of ingestion requests, for a time, or until the faults are cleared.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A fault and its duration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Kind of the fault.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Number of requests that the fault applies to. Without `requests` and `seconds`, the fault lasts until it is
    /// cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Duration in seconds, which begins with the first request that the fault applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// No fault: a pause between two faults.
    None,
    /// Every request gets this status, and no message is accepted. A redirect has the inlet as its target.
    Status {
        /// HTTP status code.
        status: u16,
        /// Value of `Retry-After` in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
        /// Whether `Retry-After` is sent as a date.
        #[serde(default)]
        date: bool,
        /// Body of the response; empty by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The response is a 207 in which every n-th message is refused.
    Partial {
        /// Form of the refused entries.
        shape: Shape,
        /// One of every `every` messages is refused.
        every: usize,
        /// Status of the refused entries.
        status: u16,
    },
    /// The messages are accepted, and the response is malformed.
    Answer {
        /// Kind of malformed response.
        answer: OddAnswer,
    },
    /// The connection breaks.
    Reset {
        /// Moment at which the connection breaks.
        when: Break,
    },
    /// The response is late.
    Delay {
        /// Delay in milliseconds.
        millis: u64,
    },
    /// All tokens issued so far become invalid at once.
    ExpireTokens,
    /// From now on, requests for a token get this response.
    Tokens {
        /// HTTP status code.
        status: u16,
        /// Body of the response; empty by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// From now on, the date in responses to ingestion requests is too early, as from a slow clock.
    Clock {
        /// Difference to the current time in seconds.
        behind: u32,
    },
    /// From now on, messages whose `_id` begins with a text are always refused.
    Poison {
        /// Beginning of the `_id` of the messages.
        prefix: String,
        /// Status of these messages.
        status: u16,
        /// Whether a request that contains such a message fails as a whole.
        #[serde(default)]
        whole: bool,
    },
    /// From now on, requests above this rate get a 429.
    Limit {
        /// Maximum number of requests per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
        /// Maximum number of messages per second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
    },
}

/// Adobe's two shapes of a failed entry in a 207.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `{"statusCode", "message"}`: the position of the entry identifies the message (Adobe's documentation).
    A,
    /// `{"xactionId": "…-index", "status", "message"}`: the index identifies the message (Adobe's connector).
    B,
    /// Alternates between `A` and `B`.
    Mixed,
}

/// Kinds of malformed responses to accepted messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddAnswer {
    /// The last entry is missing.
    Fewer,
    /// The response has one more entry than there are messages.
    More,
    /// The list `responses` is empty.
    Empty,
    /// The entries are in reverse order.
    Reversed,
    /// The body is not JSON.
    NotJson,
    /// The response is a success without a body.
    NoBody,
}

/// Moment at which a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Break {
    /// Before any message is accepted.
    Before,
    /// After the messages have been accepted, and before the response.
    After,
    /// After the messages have been accepted, in the middle of the response.
    Within,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, requests: None, seconds: None }
    }
}

impl Fault {
    /// Limits the fault to this number of requests.
    #[must_use]
    pub fn times(self, requests: u64) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// Creates a fault that gives this status to a number of requests.
    #[must_use]
    pub fn status(status: u16, retry_after: Option<u32>, requests: u64) -> Self {
        let kind = FaultKind::Status { status, retry_after, date: false, body: None };
        Self::from(kind).times(requests)
    }
}

/// Faults in the order in which they apply, with the end time of the first one.
#[derive(Debug, Default)]
pub(crate) struct Script {
    faults: VecDeque<Fault>,
    until: Option<Instant>,
}

impl Script {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.faults.iter().cloned().collect()
    }

    /// Returns the fault for the next request, and decreases its remaining number of requests.
    pub(crate) fn next(&mut self, now: Instant) -> Option<FaultKind> {
        loop {
            let first = self.faults.front_mut()?;
            if let Some(seconds) = first.seconds {
                let lasts = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                if now >= *self.until.get_or_insert(now + lasts) {
                    self.end_first();
                    continue;
                }
            }
            let kind = first.kind.clone();
            if let Some(left) = &mut first.requests {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.end_first();
                }
            }
            return Some(kind);
        }
    }

    fn end_first(&mut self) {
        self.faults.pop_front();
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingestion_fault_with_an_unknown_json_member_is_refused() {
        let read = serde_json::from_str::<Fault>;
        let text = r#"{"fault":"status","status":503,"retry_after":1,"requests":2}"#;
        assert_eq!(read(text).unwrap(), Fault::status(503, Some(1), 2));
        let text = r#"{"fault":"partial","shape":"b","every":7,"status":400}"#;
        let kind = FaultKind::Partial { shape: Shape::B, every: 7, status: 400 };
        assert_eq!(read(text).unwrap(), Fault { kind, requests: None, seconds: None });
        for text in [
            r#"{"fault":"expire_tokens"}"#,
            r#"{"fault":"none","seconds":1.5}"#,
            r#"{"fault":"answer","answer":"not_json","requests":1}"#,
            r#"{"fault":"reset","when":"after"}"#,
            r#"{"fault":"delay","millis":100}"#,
            r#"{"fault":"poison","prefix":"bad-","status":500,"whole":true}"#,
            r#"{"fault":"limit","records":100}"#,
            r#"{"fault":"tokens","status":500}"#,
            r#"{"fault":"clock","behind":120}"#,
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
        assert!(read(r#"{"fault":"status","status":503,"requets":2}"#).is_err());
        assert!(read(r#"{"fault":"nonsense"}"#).is_err());
    }

    #[test]
    fn a_fault_ends_after_its_number_of_requests_or_its_duration() {
        let mut script = Script::default();
        script.add(Fault::status(429, None, 2));
        script.add(Fault { kind: FaultKind::None, requests: None, seconds: Some(5.0) });
        script.add(Fault::status(503, None, 1));
        let now = Instant::now();
        let status = |kind: Option<FaultKind>| match kind {
            Some(FaultKind::Status { status, .. }) => status,
            Some(_) => 1,
            None => 0,
        };
        let at = |seconds| now + Duration::from_secs(seconds);
        let seen = [0, 0, 1, 3, 5, 6, 7].map(|seconds| status(script.next(at(seconds))));
        assert_eq!(
            seen,
            [429, 429, 1, 1, 1, 503, 0],
            "the pause begins with the first request that it applies to, at second 1"
        );
    }
}
