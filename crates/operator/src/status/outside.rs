//! State of the flow in Platform and of the webhooks in Customer.io.

use customerio_api::{AppApiClient, Webhook};
use platform::control::{ControlClient, FlowRun, flow, flow_runs};
use reqwest::Url;

use super::asked::Asked;

/// State of the Platform flow that the sink sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowState {
    /// Id of the flow.
    pub id: String,
    /// State according to Platform, for example `enabled`.
    pub state: Option<String>,
    /// The newest run. A streaming flow has one run for each hour in which it received messages.
    pub last_run: Option<LastRun>,
    /// The newest runs, at most [`RUNS`], the newest first.
    pub runs: Vec<LastRun>,
}

/// Maximum number of runs of a flow that are kept: the hourly runs of one day.
pub const RUNS: usize = 24;

impl FlowState {
    /// Whether the flow accepts messages.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state.as_deref() == Some("enabled")
    }
}

/// A run of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// Status according to Platform, for example `success`, `failed` or `inProgress`.
    pub status: Option<String>,
    /// Start of the run's time window: milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Number of records received.
    pub received: Option<i64>,
    /// Number of records ingested.
    pub ingested: Option<i64>,
    /// Number of records that failed.
    pub failed: Option<i64>,
}

impl LastRun {
    /// Whether the run or some of its records failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status.as_deref() == Some("failed") || self.failed.is_some_and(|failed| failed > 0)
    }
}

/// The reporting webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookState {
    /// Name of the source.
    pub source: String,
    /// Whether the webhook is enabled; `None` if Customer.io has no webhook for the endpoint.
    pub is_enabled: Asked<Option<bool>>,
    /// Whether the webhook was disabled after it had been enabled, by `setup webhook pause` or on Customer.io's page.
    /// `setup apply` leaves such a webhook disabled.
    pub is_paused: bool,
}

/// Queries Platform for the flow and its newest runs.
///
/// # Errors
/// Returns the reason if Platform did not respond as expected.
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

/// Queries Customer.io for the webhook with this endpoint, which is the webhook of the source. `is_paused` returns
/// whether a webhook was disabled after it had been enabled. The caller passes this function, because the crate `setup`
/// marks a webhook that was never enabled in its name.
pub async fn webhook_state(
    source: &str,
    client: &AppApiClient,
    endpoint: &Url,
    is_paused: fn(&Webhook) -> bool,
) -> WebhookState {
    let state = |is_enabled, is_paused| WebhookState { source: source.to_owned(), is_enabled, is_paused };
    let list = match client.webhooks().await {
        Ok(list) => list,
        Err(error) => return state(Asked::Failed(error.to_string()), false),
    };
    let calls_us =
        list.webhooks.iter().filter(|webhook| webhook.endpoint().parse().is_ok_and(|url: Url| url == *endpoint));
    // If several webhooks have this endpoint, an enabled one sends the events.
    let ours = calls_us.max_by_key(|webhook| webhook.is_enabled());
    state(Asked::Answer(ours.map(Webhook::is_enabled)), ours.is_some_and(is_paused))
}
