//! Serves the control plane, and applies its faults.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State as AxumState};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::control::faults::ControlFaultKind;
use crate::control::reply::Reply;
use crate::control::request::Incoming;
use crate::control::{admin, gate};
use crate::faults::Break;
use crate::line::Breaker;
use crate::state::State;

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
        // The request has already had its effect; only the response is late.
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
