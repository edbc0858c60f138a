//! What the control plane remembers of requests and of events.

use serde::Serialize;
use serde_json::Value;

/// A request that the control plane got.
#[derive(Debug, Clone, Serialize)]
pub struct ControlRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The sandbox it named.
    pub sandbox: Option<String>,
    /// Headers that decide about the answer.
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// The answer's status; 0 if the connection was broken.
    pub status: u16,
}

/// An accepted event that never arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostEvent {
    /// Its `_id`.
    pub id: String,
    /// The flow, if one was found.
    pub flow_id: Option<String>,
    /// The reason.
    pub reason: &'static str,
}
