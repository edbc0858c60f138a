//! The simulator's admin endpoints for the control plane.

use std::sync::Arc;

use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::control::faults::ControlFault;
use crate::control::records::{ControlRequest, LostEvent};
use crate::state::State;

type Shared = AxumState<Arc<State>>;

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/admin/control/faults", get(faults).post(set_fault).delete(clear_faults))
        .route("/admin/control/requests", get(requests))
        .route("/admin/control/lost", get(lost))
}

async fn faults(AxumState(state): Shared) -> Json<Vec<ControlFault>> {
    Json(state.control.lock().faults.all())
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Faults {
    Several(Vec<ControlFault>),
    One(ControlFault),
}

async fn set_fault(AxumState(state): Shared, Json(faults): Json<Faults>) -> StatusCode {
    match faults {
        Faults::Several(faults) => faults.into_iter().for_each(|fault| state.control.add_fault(fault)),
        Faults::One(fault) => state.control.add_fault(fault),
    }
    StatusCode::NO_CONTENT
}

async fn clear_faults(AxumState(state): Shared) -> StatusCode {
    state.control.lock().faults.clear();
    StatusCode::NO_CONTENT
}

/// Returns all requests to the control plane, for checks against Adobe's specification.
async fn requests(AxumState(state): Shared) -> Json<Vec<ControlRequest>> {
    Json(state.control.requests())
}

/// Returns the events that got a success response and never arrive.
async fn lost(AxumState(state): Shared) -> Json<Vec<LostEvent>> {
    Json(state.control.lost())
}
