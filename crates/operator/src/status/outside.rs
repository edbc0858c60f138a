//! What Platform says about the flow, and Customer.io about the webhooks.

use customerio_api::AppApiClient;
use platform::control::{ControlClient, FlowRun, flow, flow_runs};
use reqwest::Url;

use super::asked::Asked;

/// The flow that the sink sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowState {
    /// Its id.
    pub id: String,
    /// `enabled`, or not.
    pub state: Option<String>,
    /// Its last run: a streaming flow has one for each hour in which it got messages.
    pub last_run: Option<LastRun>,
    /// Its last runs, at most [`RUNS`], the newest first.
    pub runs: Vec<LastRun>,
}

/// How many runs of a flow are kept: those of a day.
pub const RUNS: usize = 24;

impl FlowState {
    /// Whether it takes messages.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state.as_deref() == Some("enabled")
    }
}

/// A run of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// `success`, `failed`, `inProgress`, …
    pub status: Option<String>,
    /// When its window began: milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Records received.
    pub received: Option<i64>,
    /// Records ingested.
    pub ingested: Option<i64>,
    /// Records that failed.
    pub failed: Option<i64>,
}

impl LastRun {
    /// Whether records failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status.as_deref() == Some("failed") || self.failed.is_some_and(|failed| failed > 0)
    }
}

/// The reporting webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookState {
    /// The source.
    pub source: String,
    /// Whether it is enabled; `None` if there is no webhook for the endpoint.
    pub is_enabled: Asked<Option<bool>>,
}

/// Asks Platform for the flow and its last run.
///
/// # Errors
/// Why Platform did not answer.
pub async fn flow_state(client: &ControlClient, id: &str) -> Result<FlowState, String> {
    let found = client.send(&flow(id)).await.map_err(|error| error.to_string())?;
    let runs = client.send(&flow_runs(id)).await.map_err(|error| error.to_string())?;
    let run = |run: FlowRun| LastRun {
        status: run.status,
        started_at: run.started_at,
        received: run.received,
        ingested: run.ingested,
        failed: run.failed,
    };
    let runs: Vec<LastRun> = runs.items.into_iter().take(RUNS).map(run).collect();
    Ok(FlowState { id: found.id, state: found.state, last_run: runs.first().cloned(), runs })
}

/// Asks Customer.io whether the webhook with this endpoint is enabled.
pub async fn webhook_state(client: &AppApiClient, endpoint: &Url) -> Asked<Option<bool>> {
    let list = match client.webhooks().await {
        Ok(list) => list,
        Err(error) => return Asked::Failed(error.to_string()),
    };
    let calls_us =
        list.webhooks.iter().filter(|webhook| webhook.endpoint().parse().is_ok_and(|url: Url| url == *endpoint));
    // Of several, one that is enabled sends the events.
    Asked::Answer(calls_us.map(customerio_api::Webhook::is_enabled).max())
}
