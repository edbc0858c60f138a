//! Faults of the App API. Each fault applies to the next requests that match it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::faults::Break;

/// A fault, and the requests that it applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiFault {
    /// Kind of the fault.
    #[serde(flatten)]
    pub kind: ApiFaultKind,
    /// The fault applies only to requests with this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Number of requests that the fault applies to; 1 by default.
    #[serde(default = "once")]
    pub requests: u32,
}

fn once() -> u32 {
    1
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum ApiFaultKind {
    /// The request gets this status and has no effect. If the status is a redirect, its target is the requested path.
    Status {
        /// HTTP status code.
        status: u16,
        /// Form of the error body.
        #[serde(default)]
        shape: ErrorShape,
        /// Text in the error body.
        #[serde(default)]
        detail: String,
    },
    /// The request has its effect, and the response is late.
    Late {
        /// The delay in milliseconds.
        millis: u64,
    },
    /// The request has its effect, and the successful response has this body.
    Body {
        /// Body of the response.
        body: String,
    },
    /// The connection breaks.
    Reset {
        /// Moment at which the connection breaks.
        when: Break,
    },
}

/// Form of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// Errors of the form `{"errors": [{"detail", "status"}]}`.
    Errors,
    /// An error of the form `{"meta": {"error"}}`.
    #[default]
    Meta,
    /// Errors in the form of JSON:API, with `source.pointer`.
    JsonApi,
    /// An HTML page of a proxy.
    Html,
}

/// Faults for the next requests, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<ApiFault>);

impl Faults {
    pub(super) fn add(&mut self, fault: ApiFault) {
        self.0.push_back(fault);
    }

    /// Returns the first fault that applies to a request with this method, and decreases its remaining number of
    /// requests.
    pub(super) fn next(&mut self, method: &str) -> Option<ApiFaultKind> {
        let met = |fault: &ApiFault| fault.method.as_ref().is_none_or(|only| only.eq_ignore_ascii_case(method));
        let place = self.0.iter().position(met)?;
        let fault = self.0.get_mut(place)?;
        let kind = fault.kind.clone();
        fault.requests = fault.requests.saturating_sub(1);
        if fault.requests == 0 {
            self.0.remove(place);
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_fault_ends_after_its_configured_number_of_requests() {
        let read = |text| serde_json::from_str::<ApiFault>(text);
        let mut faults = Faults::default();
        faults.add(read(r#"{"fault":"late","millis":5,"method":"POST"}"#).unwrap());
        faults.add(read(r#"{"fault":"status","status":503,"shape":"json_api","requests":2}"#).unwrap());
        faults.add(read(r#"{"fault":"reset","when":"after"}"#).unwrap());
        faults.add(read(r#"{"fault":"body","body":""}"#).unwrap());
        let status = |kind: Option<ApiFaultKind>| matches!(kind, Some(ApiFaultKind::Status { status: 503, .. }));
        assert!(status(faults.next("GET")));
        assert_eq!(faults.next("post"), Some(ApiFaultKind::Late { millis: 5 }));
        assert!(status(faults.next("POST")));
        assert_eq!(faults.next("GET"), Some(ApiFaultKind::Reset { when: Break::After }));
        assert_eq!(faults.next("GET"), Some(ApiFaultKind::Body { body: String::new() }));
        assert_eq!(faults.next("GET"), None);
        assert!(read(r#"{"fault":"late","millis":5,"requets":2}"#).is_err());
        assert!(read(r#"{"fault":"nonsense"}"#).is_err());
    }
}
