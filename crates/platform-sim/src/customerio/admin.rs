//! Admin endpoints that read and change the simulated account without its API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as AxumState};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::account::{CustomerIo, Inner, Seen, Stored, WORKSPACES};
use super::faults::{ApiFault, Faults};
use super::webhook::Fields;

type Shared = AxumState<Arc<CustomerIo>>;

/// Returns the workspaces with their signing keys, as Customer.io's user interface shows them, and all webhooks.
pub(super) async fn everything(AxumState(state): Shared) -> Json<Value> {
    let webhooks: Vec<Stored> = state.lock().webhooks.values().cloned().collect();
    Json(json!({"workspaces": WORKSPACES, "webhooks": webhooks}))
}

/// Changes a webhook without the checks of the API, as a person in Customer.io's user interface or a later version of
/// the API could. The given fields replace existing ones, and `null` removes a field.
pub(super) async fn change_webhook(
    AxumState(state): Shared,
    Path(id): Path<u64>,
    Json(change): Json<Fields>,
) -> Result<Json<Fields>, StatusCode> {
    let mut inner = state.lock();
    let stored = inner.webhooks.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
    for (name, value) in change {
        match value {
            Value::Null => stored.webhook.shift_remove(&name),
            value => stored.webhook.insert(name, value),
        };
    }
    Ok(Json(stored.webhook.clone()))
}

/// Returns the received requests, oldest first.
pub(super) async fn requests(AxumState(state): Shared) -> Json<Vec<Seen>> {
    Json(state.lock().seen.iter().cloned().collect())
}

pub(super) async fn add_fault(AxumState(state): Shared, Json(fault): Json<ApiFault>) -> StatusCode {
    state.lock().faults.add(fault);
    StatusCode::NO_CONTENT
}

pub(super) async fn clear_faults(AxumState(state): Shared) -> StatusCode {
    state.lock().faults = Faults::default();
    StatusCode::NO_CONTENT
}

pub(super) async fn reset(AxumState(state): Shared) -> StatusCode {
    *state.lock() = Inner::default();
    StatusCode::NO_CONTENT
}
