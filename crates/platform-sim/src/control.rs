//! Experience Platform's control plane: Schema Registry, Catalog, Identity, Flow Service, sandboxes, access control, and
//! the results of accepted events.
//!
//! It keeps state, as the real one does: objects refer to each other, titles are unique, updates need the current version,
//! lists come in pages, a new object is invisible for a while, and events that are sent too early are lost. It is stricter
//! than the real one: an unknown path, query parameter or member of a body is refused. Permissions, namespaces and answers
//! follow Adobe's specification files; where these say nothing, the comment at the place says so.

#![allow(clippy::result_large_err, reason = "a refusal is an answer like any other, and used at once")]

mod access;
mod admin;
mod catalog;
mod descriptors;
mod fields;
mod flow_objects;
mod flow_service;
mod gate;
mod identity;
mod ingestion;
mod json_patch;
mod registry;
mod reply;
mod request;
mod results;
mod seed;
mod store;
mod world;

pub(crate) mod faults;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State as AxumState};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde::Serialize;
use serde_json::Value;

use crate::faults::Break;
use crate::line::Breaker;
use crate::state::{SimSettings, State};

use faults::{ControlFault, ControlFaultKind};
pub(crate) use ingestion::{Delivery, Inlet};
use reply::Reply;
use request::Incoming;
use world::World;

/// Behaviour of the control plane.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Start without any schema, dataset or flow; otherwise with those that [`SimSettings`] names.
    pub fresh: bool,
    /// How long a created object is missing from lists and look-ups.
    pub visible_after: Duration,
    /// Factor on the times in which events are lost (five minutes after a flow changed, fifteen after a schema did) and on
    /// the hour of a flow run. 0 loses nothing.
    pub settle_scale: f64,
    /// The most entries of one page.
    pub page_size: usize,
    /// Under which `host:port` inlets are named; without it, the one that the request was sent to.
    pub public_host: Option<String>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self { fresh: false, visible_after: Duration::ZERO, settle_scale: 1.0, page_size: 100, public_host: None }
    }
}

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

/// The state of the control plane, shared by all requests.
#[derive(Debug)]
pub(crate) struct Control {
    world: Mutex<World>,
}

impl Control {
    pub(crate) fn new(settings: &SimSettings) -> Self {
        Self { world: Mutex::new(World::new(settings)) }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_fault(&self, fault: ControlFault) {
        self.lock().faults.add(fault);
    }

    pub(crate) fn requests(&self) -> Vec<ControlRequest> {
        self.lock().log.clone()
    }

    pub(crate) fn lost(&self) -> Vec<LostEvent> {
        self.lock().lost.clone()
    }

    pub(crate) fn lost_count(&self) -> u64 {
        self.lock().lost_total
    }

    /// Forgets the requests and the lost events; objects stay.
    pub(crate) fn forget_seen(&self) {
        let mut world = self.lock();
        world.log.clear();
        world.lost.clear();
        world.lost_total = 0;
    }

    /// The inlet with this id; `None` if it does not exist.
    pub(crate) fn inlet(&self, id: &str) -> Option<Inlet> {
        self.lock().inlet(id)
    }

    /// Notes the results of a request's messages.
    pub(crate) fn record(&self, inlet: &Inlet, deliveries: &[Delivery]) {
        self.lock().record(inlet, deliveries);
    }
}

/// The control plane's routes and its admin pages.
pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new().route("/data/{*path}", any(serve)).merge(admin::routes())
}

async fn serve(
    AxumState(state): AxumState<Arc<State>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(incoming) = Incoming::new(method.as_str(), &uri, &headers, &body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let fault = state.control.lock().faults.next(&incoming);
    if let Some(ControlFaultKind::Delay { millis, before: true }) = fault {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let reply = match &fault {
        Some(ControlFaultKind::Status { status, retry_after, body }) => {
            let body = body.as_ref().map(|body| serde_json::from_str(body).unwrap_or_else(|_| body.clone().into()));
            Reply { status: *status, retry_after: *retry_after, body, ..Reply::default() }
        }
        Some(ControlFaultKind::Reset { when: Break::Before }) => Reply { status: 0, ..Reply::default() },
        _ => respond(&state, &incoming),
    };
    let is_broken = matches!(fault, Some(ControlFaultKind::Reset { .. }));
    state.control.lock().note(&incoming, if is_broken { 0 } else { reply.status });
    match fault {
        Some(ControlFaultKind::Reset { when: Break::Within }) => {
            let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"{")), Err("broken off")]);
            return (status(reply.status), Body::from_stream(broken)).into_response();
        }
        Some(ControlFaultKind::Reset { .. }) => breaker.break_it(),
        // The request is carried out, and the answer comes late.
        Some(ControlFaultKind::Delay { millis, before: false }) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        _ => {}
    }
    answer(reply)
}

fn respond(state: &State, incoming: &Incoming) -> Reply {
    let settings = state.settings();
    let token_is_good = incoming.bearer().is_some_and(|token| state.token_is_good(token));
    let mut world = state.control.lock();
    match gate::check(&world, settings, incoming, token_is_good) {
        Err(refusal) => refusal,
        Ok(()) => world.respond(incoming),
    }
}

fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn answer(reply: Reply) -> Response {
    let content_type = if reply.lines.is_some() { "application/octet-stream" } else { "application/json" };
    let body = match (reply.body, reply.lines) {
        (Some(body), _) => body.to_string(),
        (None, Some(lines)) => lines,
        (None, None) => String::new(),
    };
    let mut response = (status(reply.status), body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    let optional = [
        (header::CONTENT_TYPE, Some(content_type.to_owned())),
        (header::ETAG, reply.etag),
        (header::LOCATION, reply.location),
        (header::RETRY_AFTER, reply.retry_after.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in optional {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    }
    response
}
