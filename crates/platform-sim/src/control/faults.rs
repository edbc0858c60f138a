//! Faults of the control plane. The first one that applies to a request is used.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::control::request::Incoming;
use crate::faults::Break;

/// A fault, and which requests it applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlFault {
    /// The fault.
    #[serde(flatten)]
    pub kind: ControlFaultKind,
    /// Only requests with this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests whose path contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For how many requests; without it, until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Only one of every n of these requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Which of the n: the last one, or a random one. A client that makes the same requests again and again could always
    /// be hit at the same request if it were the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random: bool,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlFaultKind {
    /// The request is not carried out and gets this status.
    Status {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
        /// The body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The connection breaks, before or after the request is carried out.
    Reset {
        /// When.
        when: Break,
    },
    /// The answer comes late.
    Delay {
        /// The delay in milliseconds.
        millis: u64,
        /// Whether the request is also carried out late.
        #[serde(default)]
        before: bool,
    },
    /// From now on the credential lacks a permission.
    MissingPermission {
        /// Its name, such as `manage-schemas`.
        permission: String,
    },
    /// From now on a sandbox is in another state.
    SandboxState {
        /// Its name.
        sandbox: String,
        /// The state, such as `creating`.
        state: String,
    },
    /// From now on links to a next page lead to another server.
    ForeignLinks,
    /// From now on accepted events whose `_id` begins with a text fail afterwards: they are rows of a failed batch.
    FailAfterAcceptance {
        /// The text.
        prefix: String,
        /// The code of the batch's and the rows' error.
        #[serde(default = "default_code")]
        code: String,
        /// The message.
        #[serde(default = "default_message")]
        message: String,
        /// The rule that was broken.
        #[serde(default = "default_keyword")]
        keyword: String,
        /// The location in the event.
        #[serde(default = "default_pointer")]
        pointer: String,
    },
}

fn default_code() -> String {
    "DCVS-1104-400".to_owned()
}

fn default_message() -> String {
    "expected type: String, found: Long".to_owned()
}

fn default_keyword() -> String {
    "type".to_owned()
}

fn default_pointer() -> String {
    "#/_id".to_owned()
}

impl From<ControlFaultKind> for ControlFault {
    fn from(kind: ControlFaultKind) -> Self {
        Self { kind, method: None, path: None, requests: None, every: None, random: false }
    }
}

impl ControlFault {
    /// A status for a number of requests.
    #[must_use]
    pub fn status(status: u16, requests: u64) -> Self {
        Self::from(ControlFaultKind::Status { status, retry_after: None, body: None }).times(requests)
    }

    /// Limits the fault to this number of requests.
    #[must_use]
    pub fn times(self, requests: u64) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// For requests of this method whose path contains this text.
    #[must_use]
    pub fn on(self, method: &str, path: &str) -> Self {
        Self { method: Some(method.to_owned()), path: Some(path.to_owned()), ..self }
    }

    /// For every n-th request.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { every: Some(n), ..self }
    }

    /// For one of every n requests, which may be any of them.
    #[must_use]
    pub fn one_of(self, n: u64) -> Self {
        Self { every: Some(n), random: true, ..self }
    }

    fn matches(&self, incoming: &Incoming) -> bool {
        let is_method = self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&incoming.method));
        is_method && self.path.as_ref().is_none_or(|path| incoming.target.contains(path.as_str()))
    }

    /// Whether it changes the responses until it is cleared.
    fn is_standing(&self) -> bool {
        use ControlFaultKind::{FailAfterAcceptance, ForeignLinks, MissingPermission, SandboxState};
        matches!(self.kind, MissingPermission { .. } | SandboxState { .. } | ForeignLinks | FailAfterAcceptance { .. })
    }
}

/// A fault for some requests, and which of them comes next.
#[derive(Debug)]
struct Scripted {
    fault: ControlFault,
    /// How many of the current n requests have been seen.
    seen: u64,
    /// The number of the request among these n that it applies to.
    hit: u64,
}

impl Scripted {
    fn new(fault: ControlFault) -> Self {
        let hit = next_hit(&fault);
        Self { fault, seen: 0, hit }
    }

    /// Counts a request; `true` if the fault applies to it.
    fn applies(&mut self) -> bool {
        self.seen += 1;
        let applies = self.seen == self.hit;
        if self.seen == self.fault.every.unwrap_or(1).max(1) {
            (self.seen, self.hit) = (0, next_hit(&self.fault));
        }
        applies
    }
}

fn next_hit(fault: &ControlFault) -> u64 {
    let n = fault.every.unwrap_or(1).max(1);
    if fault.random { fastrand::u64(1..=n) } else { n }
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    script: Vec<Scripted>,
    standing: Vec<ControlFaultKind>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: ControlFault) {
        if fault.is_standing() {
            self.standing.push(fault.kind);
        } else {
            self.script.push(Scripted::new(fault));
        }
    }

    pub(crate) fn all(&self) -> Vec<ControlFault> {
        let script = self.script.iter().map(|scripted| scripted.fault.clone());
        script.chain(self.standing.iter().cloned().map(ControlFault::from)).collect()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the fault for this request, and decreases its remaining number of requests.
    pub(crate) fn next(&mut self, incoming: &Incoming) -> Option<ControlFaultKind> {
        for index in 0..self.script.len() {
            let scripted = &mut self.script[index];
            if !scripted.fault.matches(incoming) || !scripted.applies() {
                continue;
            }
            let kind = scripted.fault.kind.clone();
            if let Some(left) = &mut scripted.fault.requests {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.script.remove(index);
                }
            }
            return Some(kind);
        }
        None
    }

    pub(crate) fn missing_permissions(&self) -> BTreeSet<&str> {
        let names = self.standing.iter().filter_map(|kind| match kind {
            ControlFaultKind::MissingPermission { permission } => Some(permission.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// The state that a sandbox was set to.
    pub(crate) fn sandbox_state(&self, wanted: &str) -> Option<&str> {
        self.standing.iter().rev().find_map(|kind| match kind {
            ControlFaultKind::SandboxState { sandbox, state } if sandbox == wanted => Some(state.as_str()),
            _ => None,
        })
    }

    pub(crate) fn has_foreign_links(&self) -> bool {
        self.standing.contains(&ControlFaultKind::ForeignLinks)
    }

    pub(crate) fn failing(&self) -> Vec<ControlFaultKind> {
        let fails = |kind: &&ControlFaultKind| matches!(kind, ControlFaultKind::FailAfterAcceptance { .. });
        self.standing.iter().filter(fails).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    fn get(path: &str) -> Incoming {
        Incoming::new("GET", &path.parse().unwrap(), &HeaderMap::new(), b"").unwrap()
    }

    #[test]
    fn faults_are_read_as_documented_and_unknown_members_are_refused() {
        let read = serde_json::from_str::<ControlFault>;
        for text in [
            r#"{"fault":"status","status":429,"retry_after":1,"requests":2,"method":"POST","path":"/flows"}"#,
            r#"{"fault":"reset","when":"after","every":3}"#,
            r#"{"fault":"reset","when":"before","every":3,"random":true}"#,
            r#"{"fault":"delay","millis":100}"#,
            r#"{"fault":"missing_permission","permission":"manage-schemas"}"#,
            r#"{"fault":"sandbox_state","sandbox":"dev","state":"creating"}"#,
            r#"{"fault":"foreign_links"}"#,
            r#"{"fault":"fail_after_acceptance","prefix":"bad-"}"#,
        ] {
            assert!(read(text).is_ok(), "{text}: {:?}", read(text));
        }
        assert!(read(r#"{"fault":"status","status":503,"requets":2}"#).is_err());
        assert!(read(r#"{"fault":"nonsense"}"#).is_err());
    }

    #[test]
    fn a_fault_applies_to_its_requests_only_and_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(ControlFault::status(503, 2).on("get", "/flows"));
        faults.add(ControlFault::status(429, 1).every(2));
        let status = |kind: Option<ControlFaultKind>| match kind {
            Some(ControlFaultKind::Status { status, .. }) => status,
            _ => 0,
        };
        let paths = ["/data/a/flows", "/data/a/x", "/data/a/flows", "/data/a/flows", "/data/a/flows"];
        assert_eq!(paths.map(|path| status(faults.next(&get(path)))), [503, 0, 503, 429, 0]);
    }
    #[test]
    fn a_fault_for_one_of_three_requests_hits_a_random_one() {
        let mut faults = Faults::default();
        faults.add(ControlFault::from(ControlFaultKind::Reset { when: Break::Before }).one_of(3));
        let mut hits = [0; 3];
        for _ in 0..300 {
            let block = [(); 3].map(|()| faults.next(&get("/data/a/flows")).is_some());
            let hit: Vec<_> = (0..3).filter(|place| block[*place]).collect();
            assert_eq!(hit.len(), 1, "{block:?}");
            hits[hit[0]] += 1;
        }
        assert!(hits.iter().all(|count| *count > 50), "{hits:?}");
    }
}
