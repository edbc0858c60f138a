//! Records of requests to the control plane and of lost events.

use serde::Serialize;
use serde_json::Value;

/// A request that the control plane received.
#[derive(Debug, Clone, Serialize)]
pub struct ControlRequest {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Value of the header `x-sandbox-name`.
    pub sandbox: Option<String>,
    /// Headers that influence the response.
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// HTTP status code of the response; 0 if the connection was broken.
    pub status: u16,
}

/// An event that got a success response and never arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostEvent {
    /// `_id` of the event.
    pub id: String,
    /// Id of the event's flow; `None` if the simulator could not assign the event to a flow.
    pub flow_id: Option<String>,
    /// Name of the reason, such as `flow_disabled`.
    pub reason: &'static str,
}
