//! `POST /collection/batch/{inlet}` and `POST /collection/{inlet}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::faults::{FaultKind, Shape};
use crate::messages;
use crate::state::State;

/// Platform answers 413 above this.
const REQUEST_LIMIT: usize = 1_000_000;

/// A batch: 207 whenever the request itself is acceptable, even if every message is refused.
pub(crate) async fn batch(
    AxumState(state): AxumState<Arc<State>>,
    Path(inlet): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = match gate(&state, &inlet, &headers, &body).await {
        Err(refusal) => refusal,
        Ok(fault) => take_batch(&state, &body, fault.as_ref()),
    };
    state.answered(answer.status().as_u16());
    answer
}

/// A single message.
pub(crate) async fn single(
    AxumState(state): AxumState<Arc<State>>,
    Path(inlet): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = match gate(&state, &inlet, &headers, &body).await {
        Err(refusal) => refusal,
        Ok(_) => match serde_json::from_slice::<Value>(&body) {
            Err(_) => problem(StatusCode::BAD_REQUEST, "Invalid JSON", "the body is not JSON"),
            Ok(message) => match messages::check(&message, state.settings()) {
                Ok((id, event)) => {
                    state.accept(id, event);
                    let batch = state.next_batch();
                    let settings = state.settings();
                    Json(json!({"inletId": settings.inlet_id, "xactionId": format!("{batch}:0:0"), "receivedTimeMs": now()}))
                        .into_response()
                }
                Err(message) => {
                    state.refuse();
                    problem(StatusCode::BAD_REQUEST, "Invalid XDM Message Format", &message)
                }
            },
        },
    };
    state.answered(answer.status().as_u16());
    answer
}

/// What is checked of every request: fault, address, size, token.
async fn gate(state: &State, inlet: &str, headers: &HeaderMap, body: &Bytes) -> Result<Option<FaultKind>, Response> {
    let settings = state.settings();
    tokio::time::sleep(settings.latency).await;
    let fault = state.next_fault();
    if let Some(FaultKind::Status { status, retry_after }) = &fault {
        let mut answer = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE).into_response();
        if let Some(seconds) = retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
        }
        return Err(answer);
    }
    if inlet != settings.inlet_id {
        return Err(problem(StatusCode::NOT_FOUND, "Not Found", "unknown inlet"));
    }
    if body.len() > REQUEST_LIMIT {
        return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    if settings.credential.is_some() {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| state.token_is_good(token)) {
            let body = json!({
                "type": "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization",
                "status": "401",
                "title": "Authorization",
                "report": {"message": format!("[{inlet}] Ims service token is invalid")},
            });
            return Err((StatusCode::UNAUTHORIZED, Json(body)).into_response());
        }
    }
    Ok(fault)
}

fn take_batch(state: &State, body: &[u8], fault: Option<&FaultKind>) -> Response {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let messages = body.as_ref().and_then(|body| body.get("messages")).and_then(Value::as_array);
    let Some(messages) = messages.filter(|messages| !messages.is_empty()) else {
        return problem(StatusCode::BAD_REQUEST, "Invalid JSON", "`messages` is missing or empty");
    };
    let settings = state.settings();
    let batch = format!("{}:{}:153", now(), state.next_batch());
    let mut responses = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let by_fault = match fault {
            Some(FaultKind::Partial { shape, every, status }) if (index + 1) % (*every).max(1) == 0 => {
                Some((*shape, *status, "refused by a fault of the simulator".to_owned()))
            }
            _ => None,
        };
        let refusal = by_fault.or_else(|| {
            let checked = messages::check(message, settings);
            match checked {
                Ok((id, event)) => {
                    state.accept(id, event);
                    None
                }
                Err(text) => Some((Shape::A, 400, text)),
            }
        });
        responses.push(match refusal {
            None if matches!(fault, Some(FaultKind::Partial { shape: Shape::B, .. })) => {
                json!({"xactionId": format!("7a5c-{index}")})
            }
            None => json!({"xactionId": format!("{batch}:{index}")}),
            Some((shape, status, text)) => {
                state.refuse();
                let message = format!("inletId: [{}] imsOrgId: [{}] {text}", settings.inlet_id, settings.ims_org);
                match shape {
                    Shape::A => json!({"statusCode": status, "message": message}),
                    Shape::B => json!({"xactionId": format!("7a5c-{index}"), "status": status, "message": message}),
                }
            }
        });
    }
    let answer = json!({
        "inletId": settings.inlet_id, "batchId": batch, "receivedTimeMs": now(), "responses": responses,
    });
    (StatusCode::MULTI_STATUS, Json(answer)).into_response()
}

fn problem(status: StatusCode, title: &str, message: &str) -> Response {
    let body = json!({
        "type": "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet",
        "status": status.as_u16(),
        "title": title,
        "report": {"message": message},
    });
    (status, Json(body)).into_response()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
