//! Calls webhooks like Customer.io: one signed POST for each event, a timeout of 4 seconds, and no redirects.
//!
//! The simulator never repeats a call. Instead, its report says what Customer.io would do next.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use customerio::SigningKey;
use customerio::catalogue::{CATALOGUE, CatalogueEvent, Variant};
use customerio::sample::{Person, Sample};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::account::{CustomerIo, WORKSPACES, Workspace};
use super::webhook::takes;

/// Timeout of Customer.io for the response of a webhook.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Statuses for which Customer.io repeats a call an hour later, according to its specification.
const AFTER_AN_HOUR: [u16; 11] = [400, 401, 402, 403, 404, 405, 410, 429, 500, 502, 521];

/// Request to send an event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// Name of the event, as in a webhook's list of events.
    event: String,
    /// Id of the workspace; by default the first one.
    workspace: Option<u64>,
    /// Id of the event; by default a new id.
    event_id: Option<String>,
    /// Id of the person; by default `sim-person`.
    person: Option<String>,
    /// Exact body to send; by default an example of the event.
    body: Option<String>,
}

/// Result of a request to send an event.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    event_id: String,
    calls: Vec<Call>,
}

/// Result of one call of a webhook.
#[derive(Debug, Serialize)]
struct Call {
    webhook: u64,
    endpoint: String,
    /// HTTP status code; `None` if there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Reason why there was no response.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    millis: u128,
    next: Next,
}

/// The step that Customer.io takes after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Next {
    /// Customer.io takes no further step, because the call succeeded.
    Done,
    /// Customer.io repeats the call after an hour.
    RepeatAfterAnHour,
    /// Customer.io repeats the call with increasing waits.
    RepeatWithBackOff,
}

impl Next {
    /// Returns the next step. A call without a response counts as a refused connection (521), unless it timed out.
    fn after(status: Option<u16>, timed_out: bool) -> Self {
        match status {
            Some(200..=299) => Self::Done,
            Some(status) if AFTER_AN_HOUR.contains(&status) => Self::RepeatAfterAnHour,
            None if !timed_out => Self::RepeatAfterAnHour,
            _ => Self::RepeatWithBackOff,
        }
    }
}

/// Sends an event to every enabled webhook of the workspace that subscribes to this event.
pub(super) async fn call_webhooks(
    AxumState(state): AxumState<Arc<CustomerIo>>,
    Json(order): Json<Order>,
) -> Result<Json<Report>, (StatusCode, String)> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let workspace = match order.workspace {
        None => &WORKSPACES[0],
        Some(id) => WORKSPACES
            .iter()
            .find(|workspace| workspace.id == id)
            .ok_or_else(|| bad(format!("there is no workspace {id}; GET /admin/customerio lists them")))?,
    };
    let catalogued = CATALOGUE.iter().find(|event| event.subscription == order.event);
    let (number, webhooks) = {
        let mut inner = state.lock();
        let subscribed = inner
            .webhooks
            .iter()
            .filter(|(_, stored)| stored.workspace == workspace.id && takes(&stored.webhook, &order.event));
        let webhooks: Vec<_> = subscribed.map(|(&id, stored)| (id, stored.webhook.clone())).collect();
        (inner.next_event(), webhooks)
    };
    let event_id = order.event_id.clone().unwrap_or_else(|| format!("01SIM{number:021}"));
    let body = match (&order.body, catalogued) {
        (Some(body), _) => body.clone(),
        (None, Some(event)) => example(event, &order, &event_id, number),
        (None, None) => {
            return Err(bad(format!("`{}` is not an event of the catalogue; give its body", order.event)));
        }
    };
    let http = client().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut calls = Vec::new();
    for (id, webhook) in webhooks {
        let endpoint = webhook.get("endpoint").and_then(Value::as_str).unwrap_or_default();
        let with_content = webhook.get("with_content") == Some(&Value::Bool(true));
        let body = if with_content || order.body.is_some() { body.clone() } else { without_content(&body) };
        calls.push(call(&http, workspace, id, endpoint, body).await);
    }
    Ok(Json(Report { event_id, calls }))
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent("Customer.io Web Hooks (simulated)")
        .build()
}

async fn call(http: &reqwest::Client, workspace: &Workspace, id: u64, endpoint: &str, body: String) -> Call {
    let timestamp = jiff::Timestamp::now().as_second().to_string();
    let signature = customerio::sign(&SigningKey::new(workspace.signing_key), &timestamp, body.as_bytes());
    let request = http
        .post(endpoint)
        .header("content-type", "application/json")
        .header("x-cio-timestamp", timestamp)
        .header("x-cio-signature", signature)
        .body(body);
    let start = Instant::now();
    let sent = request.send().await;
    let millis = start.elapsed().as_millis();
    let endpoint = endpoint.to_owned();
    match sent {
        Ok(answer) => {
            let status = answer.status().as_u16();
            Call {
                webhook: id,
                endpoint,
                status: Some(status),
                failure: None,
                millis,
                next: Next::after(Some(status), false),
            }
        }
        Err(error) => {
            let next = Next::after(None, error.is_timeout());
            Call { webhook: id, endpoint, status: None, failure: Some(error.to_string()), millis, next }
        }
    }
}

fn example(event: &CatalogueEvent, order: &Order, event_id: &str, number: u64) -> String {
    let id = order.person.as_deref().unwrap_or("sim-person");
    let sample = Sample {
        event,
        variant: event.variants().first().copied().unwrap_or(Variant::None),
        event_id,
        timestamp: jiff::Timestamp::now().as_second(),
        person: Person { id, email: "sim-person@example.com", cio_id: "d9c106000001" },
        number,
    };
    sample.body()
}

/// Returns the body that a webhook without `with_content` gets.
fn without_content(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
        data.shift_remove("content");
        data.shift_remove("headers");
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_webhook_call_is_repeated_after_an_hour_or_with_back_off_depending_on_its_status() {
        assert_eq!(Next::after(Some(202), false), Next::Done);
        for status in [400, 401, 429, 500, 521] {
            assert_eq!(Next::after(Some(status), false), Next::RepeatAfterAnHour, "{status}");
        }
        for status in [302, 408, 413, 503] {
            assert_eq!(Next::after(Some(status), false), Next::RepeatWithBackOff, "{status}");
        }
        assert_eq!(Next::after(None, false), Next::RepeatAfterAnHour);
        assert_eq!(Next::after(None, true), Next::RepeatWithBackOff);
    }

    #[test]
    fn a_webhook_without_content_gets_a_body_without_content_and_headers() {
        let body = r#"{"data":{"content":"x","headers":{},"subject":"s"},"event_id":"1"}"#;
        assert_eq!(without_content(body), r#"{"data":{"subject":"s"},"event_id":"1"}"#);
        assert_eq!(without_content("no json"), "no json");
    }
}
