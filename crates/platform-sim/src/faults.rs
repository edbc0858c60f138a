//! Faults: one after the other, each for a number of ingestion requests or a time, or until it is cleared. Poison and
//! rate limits apply in addition.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A fault and how long it lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// For how many requests; without this and `seconds`, until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// For how many seconds, from the first request that meets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Nothing: a pause between two faults.
    None,
    /// Every request is answered with this status and accepts nothing. A redirect leads to the inlet itself.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
        /// `Retry-After` as a date.
        #[serde(default)]
        date: bool,
        /// The body; none without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
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
    /// The messages are accepted, and the answer does not say so as it should.
    Answer {
        /// How it is spoilt.
        answer: OddAnswer,
    },
    /// The connection breaks.
    Reset {
        /// When.
        when: Break,
    },
    /// The answer comes late.
    Delay {
        /// How late, in milliseconds.
        millis: u64,
    },
    /// All tokens issued so far become worthless, at once.
    ExpireTokens,
    /// From now on requests for a token are answered with this.
    Tokens {
        /// The status.
        status: u16,
        /// The body; none without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// From now on ingestion requests are answered with a date so many seconds ago, as by a clock that is behind.
    Clock {
        /// How far behind, in seconds.
        behind: u32,
    },
    /// From now on messages whose `_id` begins with this text are poison.
    Poison {
        /// The text.
        prefix: String,
        /// What they are answered with.
        status: u16,
        /// Whether a request that holds one fails as a whole.
        #[serde(default)]
        whole: bool,
    },
    /// From now on more than this in a second is answered with 429.
    Limit {
        /// Requests a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requests: Option<u64>,
        /// Messages a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
    },
}

/// Adobe's two shapes of a failed entry in a 207.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `{"statusCode", "message"}`, found by its place (Adobe's documentation).
    A,
    /// `{"xactionId": "…-index", "status", "message"}` (Adobe's own connector).
    B,
    /// One after the other.
    Mixed,
}

/// How an answer to accepted messages is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddAnswer {
    /// The last entry is missing.
    Fewer,
    /// There is one entry more than messages.
    More,
    /// `responses` is empty.
    Empty,
    /// The entries come in reverse.
    Reversed,
    /// The body is no JSON.
    NotJson,
    /// A success without a body.
    NoBody,
}

/// When a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Break {
    /// Before anything is accepted.
    Before,
    /// When the messages have been accepted, without an answer.
    After,
    /// When the messages have been accepted, in the middle of the answer.
    Within,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, requests: None, seconds: None }
    }
}

impl Fault {
    /// For so many requests.
    #[must_use]
    pub fn times(self, requests: u64) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// A status for a number of requests.
    #[must_use]
    pub fn status(status: u16, retry_after: Option<u32>, requests: u64) -> Self {
        let kind = FaultKind::Status { status, retry_after, date: false, body: None };
        Self::from(kind).times(requests)
    }
}

/// Faults in their order, with the time that the first has left.
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

    /// The fault for the next request, which uses it up by one.
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
    fn faults_are_read_as_they_are_documented_and_unknown_members_are_refused() {
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
    fn a_script_goes_on_by_count_and_by_time() {
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
        assert_eq!(seen, [429, 429, 1, 1, 1, 503, 0], "the pause begins with the request that meets it, at second 1");
    }
}
