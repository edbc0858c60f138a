//! Faults of the control plane. If several faults match a request, the first one that hits it applies. In addition, the
//! kinds `MissingPermission`, `SandboxState`, `ForeignLinks` and `FailAfterAcceptance` apply until they are cleared.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::control::request::Incoming;
use crate::faults::Break;

/// A fault, and the requests that it applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlFault {
    /// Kind of the fault.
    #[serde(flatten)]
    pub kind: ControlFaultKind,
    /// The fault applies only to requests with this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The fault applies only to requests whose path or query contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Number of requests that the fault applies to. If `None`, the fault lasts until the faults are cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The fault applies to only one of every `every` matching requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Whether the fault hits a random one of the `every` requests; otherwise it hits the last one. If a client always
    /// sends the same sequence of requests, only a random choice can hit every request of the sequence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random: bool,
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlFaultKind {
    /// The request gets this status and has no effect.
    Status {
        /// HTTP status code.
        status: u16,
        /// Value of `Retry-After` in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
        /// Body of the response.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The connection breaks, before or after the request has its effect.
    Reset {
        /// Moment at which the connection breaks.
        when: Break,
    },
    /// The response is late.
    Delay {
        /// The delay in milliseconds.
        millis: u64,
        /// Whether the request has its effect only after the delay.
        #[serde(default)]
        before: bool,
    },
    /// From now on, the credential lacks a permission.
    MissingPermission {
        /// Name of the permission, such as `manage-schemas`.
        permission: String,
    },
    /// From now on, a sandbox is in the given state.
    SandboxState {
        /// Name of the sandbox.
        sandbox: String,
        /// State of the sandbox, such as `creating`.
        state: String,
    },
    /// From now on, links in responses, such as the link to the next page, lead to another server.
    ForeignLinks,
    /// From now on, events whose `_id` begins with a text fail after they are accepted, and become rows of a failed
    /// batch.
    FailAfterAcceptance {
        /// Beginning of the `_id` of the events.
        prefix: String,
        /// Error code of the batch and of its rows.
        #[serde(default = "default_code")]
        code: String,
        /// Error message of the rows.
        #[serde(default = "default_message")]
        message: String,
        /// Name of the broken rule.
        #[serde(default = "default_keyword")]
        keyword: String,
        /// Location of the error in the event.
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
    /// Creates a fault that gives this status to a number of requests.
    #[must_use]
    pub fn status(status: u16, requests: u64) -> Self {
        Self::from(ControlFaultKind::Status { status, retry_after: None, body: None }).times(requests)
    }

    /// Limits the fault to this number of requests.
    #[must_use]
    pub fn times(self, requests: u64) -> Self {
        Self { requests: Some(requests), ..self }
    }

    /// Limits the fault to requests with this method whose path or query contains this text.
    #[must_use]
    pub fn on(self, method: &str, path: &str) -> Self {
        Self { method: Some(method.to_owned()), path: Some(path.to_owned()), ..self }
    }

    /// Limits the fault to every n-th request.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { every: Some(n), ..self }
    }

    /// Limits the fault to a random one of every n requests.
    #[must_use]
    pub fn one_of(self, n: u64) -> Self {
        Self { every: Some(n), random: true, ..self }
    }

    fn matches(&self, incoming: &Incoming) -> bool {
        let is_method = self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&incoming.method));
        is_method && self.path.as_ref().is_none_or(|path| incoming.target.contains(path.as_str()))
    }

    /// Whether the fault changes responses until the faults are cleared, regardless of the number of requests.
    fn is_standing(&self) -> bool {
        use ControlFaultKind::{FailAfterAcceptance, ForeignLinks, MissingPermission, SandboxState};
        matches!(self.kind, MissingPermission { .. } | SandboxState { .. } | ForeignLinks | FailAfterAcceptance { .. })
    }
}

/// A fault for some requests, with the position of the next request that it hits.
#[derive(Debug)]
struct Scripted {
    fault: ControlFault,
    /// Number of requests received in the current group of `every` requests.
    seen: u64,
    /// Position in this group, from 1, of the request that the fault hits.
    hit: u64,
}

impl Scripted {
    fn new(fault: ControlFault) -> Self {
        let hit = next_hit(&fault);
        Self { fault, seen: 0, hit }
    }

    /// Counts a request, and returns whether the fault hits it.
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

/// The current faults.
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

    /// Returns the fault for this request, and decreases the fault's remaining number of requests.
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

    /// Returns the state that a fault gives to a sandbox.
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
    fn a_control_fault_with_an_unknown_json_member_is_refused() {
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
    fn a_fault_hits_only_matching_requests_up_to_the_configured_number() {
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
    fn a_random_fault_hits_exactly_one_of_every_three_requests() {
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
