//! The simulator's admin endpoints: its statistics, the accepted events, and the faults to simulate.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State as AxumState};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::state::{State, Stats};

type Shared = AxumState<Arc<State>>;

pub(crate) async fn stats(AxumState(state): Shared) -> Json<Stats> {
    Json(state.stats())
}

/// Query parameters of a request for accepted ids.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    id: Option<String>,
    #[serde(default)]
    offset: usize,
    #[serde(default = "page_size")]
    limit: usize,
}

fn page_size() -> usize {
    10_000
}

/// Returns how often an id was accepted (`?id=`), or a page of all accepted ids with their counts (`?offset=&limit=`).
pub(crate) async fn events(AxumState(state): Shared, Query(page): Query<Page>) -> Json<Value> {
    match page.id {
        Some(id) => Json(json!({"id": id, "accepted": state.accepted_count(&id)})),
        None => Json(json!({"events": state.ids(page.offset, page.limit)})),
    }
}

pub(crate) async fn last_event(AxumState(state): Shared) -> Result<Json<Value>, StatusCode> {
    state.last_event().map(Json).ok_or(StatusCode::NOT_FOUND)
}

pub(crate) async fn faults(AxumState(state): Shared) -> Json<Vec<Fault>> {
    Json(state.faults())
}

/// One fault, or several faults in the order in which they apply.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Faults {
    Script(Vec<Fault>),
    One(Fault),
}

pub(crate) async fn set_fault(AxumState(state): Shared, Json(faults): Json<Faults>) -> StatusCode {
    match faults {
        Faults::Script(faults) => faults.into_iter().for_each(|fault| state.add_fault(fault)),
        Faults::One(fault) => state.add_fault(fault),
    }
    StatusCode::NO_CONTENT
}

pub(crate) async fn clear_faults(AxumState(state): Shared) -> StatusCode {
    state.clear_faults();
    StatusCode::NO_CONTENT
}

pub(crate) async fn reset(AxumState(state): Shared) -> StatusCode {
    state.reset();
    StatusCode::NO_CONTENT
}
