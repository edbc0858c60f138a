//! Serves `POST /collection/batch/{inlet}` and `POST /collection/{inlet}`.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State as AxumState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::control::{Delivery, Inlet};
use crate::faults::{Break, FaultKind, OddAnswer, Shape};
use crate::line::Breaker;
use crate::state::{Poison, State};

/// Maximum size of a request in bytes. Platform responds with 413 to a larger request.
const REQUEST_LIMIT: usize = 1_000_000;

/// Receives a batch. The response is 207 if the request itself is acceptable, even if every message is refused.
pub(crate) async fn batch(
    AxumState(state): AxumState<Arc<State>>,
    Path(inlet): Path<String>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = state.next_fault();
    let mut answer = match gate(&state, &inlet, &headers, &body, fault.as_ref()).await {
        Err(refusal) => refusal,
        Ok(inlet) => match fault {
            Some(FaultKind::Reset { when }) => reset(&state, &inlet, &headers, &body, when, &breaker),
            fault => take_batch(&state, &inlet, &headers, &body, fault.as_ref()),
        },
    };
    let behind = state.clock_behind();
    if behind > 0
        && let Ok(date) = http_date(-i64::from(behind)).parse()
    {
        answer.headers_mut().insert(header::DATE, date);
    }
    state.answered(answer.status().as_u16());
    answer
}

/// Receives a single message.
pub(crate) async fn single(
    AxumState(state): AxumState<Arc<State>>,
    Path(inlet): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = state.next_fault();
    let answer = match gate(&state, &inlet, &headers, &body, fault.as_ref()).await {
        Err(refusal) => refusal,
        Ok(inlet) => match serde_json::from_slice::<Value>(&body) {
            Err(_) => problem(StatusCode::BAD_REQUEST, "Invalid JSON", "the body is not JSON"),
            Ok(message) => match inlet.deliver(&message, flow_id(&headers)) {
                Delivery::Refused(message) => {
                    state.refuse();
                    problem(StatusCode::BAD_REQUEST, "Invalid XDM Message Format", &message)
                }
                delivery => {
                    take(&state, &inlet, vec![delivery]);
                    let batch = state.next_batch();
                    Json(json!({"inletId": inlet.id, "xactionId": format!("{batch}:0:0"), "receivedTimeMs": now()}))
                        .into_response()
                }
            },
        },
    };
    state.answered(answer.status().as_u16());
    answer
}

/// Returns the flow id in the request's header. It applies to each message that contains no flow id.
fn flow_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-adobe-flow-id").and_then(|value| value.to_str().ok())
}

/// Records the results of a request's messages in the control plane, and stores the accepted events, including those
/// that fail later. Lost events are not stored, although they get a success response.
fn take(state: &State, inlet: &Inlet, deliveries: Vec<Delivery>) {
    state.control.record(inlet, &deliveries);
    for delivery in deliveries {
        match delivery {
            Delivery::Accepted { id, event, .. } | Delivery::Failed { id, event, .. } => state.accept(id, event),
            Delivery::Lost(_) | Delivery::Refused(_) => {}
        }
    }
}

/// Applies the latency and a delay or status fault, and then checks the inlet, the size and the token of a request.
async fn gate(
    state: &State,
    inlet: &str,
    headers: &HeaderMap,
    body: &Bytes,
    fault: Option<&FaultKind>,
) -> Result<Inlet, Response> {
    let settings = state.settings();
    tokio::time::sleep(settings.latency + settings.jitter.mul_f64(fastrand::f64())).await;
    match fault {
        Some(FaultKind::Delay { millis }) => tokio::time::sleep(std::time::Duration::from_millis(*millis)).await,
        Some(FaultKind::Status { status, retry_after, date, body }) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut answer = (status, body.clone().unwrap_or_default()).into_response();
            if status.is_redirection() {
                // The target is the real path: if a client follows the redirect, its messages are among the accepted
                // ones.
                let place = format!("/collection/batch/{}", settings.inlet_id);
                if let Ok(place) = place.parse() {
                    answer.headers_mut().insert(header::LOCATION, place);
                }
            }
            if let Some(seconds) = retry_after {
                let value = if *date { http_date(i64::from(*seconds)) } else { seconds.to_string() };
                if let Ok(value) = value.parse() {
                    answer.headers_mut().insert(header::RETRY_AFTER, value);
                }
            }
            return Err(answer);
        }
        _ => {}
    }
    let Some(inlet) = state.control.inlet(inlet) else {
        return Err(problem(StatusCode::NOT_FOUND, "Not Found", "unknown inlet"));
    };
    if body.len() > REQUEST_LIMIT {
        return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    }
    if !inlet.is_open {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| state.token_is_good(token)) {
            let body = json!({
                "type": "https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization",
                "status": "401",
                "title": "Authorization",
                "report": {"message": format!("[{}] Ims service token is invalid", inlet.id)},
            });
            return Err((StatusCode::UNAUTHORIZED, Json(body)).into_response());
        }
    }
    Ok(inlet)
}

/// Returns the date this many seconds from now, in the format of HTTP.
fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default()
}

fn reset(state: &State, inlet: &Inlet, headers: &HeaderMap, body: &[u8], when: Break, breaker: &Breaker) -> Response {
    let answer = match when {
        Break::Before => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Break::After | Break::Within => take_batch(state, inlet, headers, body, None),
    };
    if when == Break::Within {
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"{\"inletId\":")), Err("broken off")]);
        return (StatusCode::MULTI_STATUS, Body::from_stream(broken)).into_response();
    }
    breaker.break_it();
    answer
}

/// Returns the messages in the body of a batch; `None` if there are no messages.
fn messages_of(body: &[u8]) -> Option<Vec<Value>> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    match body.get_mut("messages")?.take() {
        Value::Array(messages) if !messages.is_empty() => Some(messages),
        _ => None,
    }
}

fn poison<'p>(poisons: &'p [Poison], message: &Value) -> Option<&'p Poison> {
    let id = message.pointer("/body/xdmEntity/_id").and_then(Value::as_str)?;
    poisons.iter().find(|poison| id.starts_with(&poison.prefix))
}

fn take_batch(state: &State, inlet: &Inlet, headers: &HeaderMap, body: &[u8], fault: Option<&FaultKind>) -> Response {
    let Some(messages) = messages_of(body) else {
        return problem(StatusCode::BAD_REQUEST, "Invalid JSON", "`messages` is missing or empty");
    };
    let second = u64::try_from(now() / 1000).unwrap_or_default();
    if !state.is_within_limits(second, messages.len()) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let poisons = state.poisons();
    if let Some(whole) = messages.iter().filter_map(|message| poison(&poisons, message)).find(|poison| poison.whole) {
        let status = StatusCode::from_u16(whole.status).unwrap_or(StatusCode::BAD_REQUEST);
        return problem(status, "Invalid XDM Message Format", "a message of this request is poison");
    }
    let settings = state.settings();
    let batch = format!("{}:{}:153", now(), state.next_batch());
    let mut responses = Vec::with_capacity(messages.len());
    let mut deliveries = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let by_fault = match fault {
            Some(FaultKind::Partial { shape, every, status }) if (index + 1) % (*every).max(1) == 0 => {
                let shape = match shape {
                    Shape::Mixed if (index + 1) / (*every).max(1) % 2 == 0 => Shape::A,
                    Shape::Mixed => Shape::B,
                    shape => *shape,
                };
                Some((shape, *status, "refused by a fault of the simulator".to_owned()))
            }
            _ => poison(&poisons, message).map(|poison| (Shape::A, poison.status, "poison".to_owned())),
        };
        let refusal = by_fault.or_else(|| match inlet.deliver(message, flow_id(headers)) {
            Delivery::Refused(text) => Some((Shape::A, 400, text)),
            delivery => {
                deliveries.push(delivery);
                None
            }
        });
        let shape_b = matches!(fault, Some(FaultKind::Partial { shape: Shape::B | Shape::Mixed, .. }));
        responses.push(match refusal {
            None if shape_b => json!({"xactionId": format!("7a5c-{index}")}),
            None => json!({"xactionId": format!("{batch}:{index}")}),
            Some((shape, status, text)) => {
                state.refuse();
                let message = format!("inletId: [{}] imsOrgId: [{}] {text}", inlet.id, settings.ims_org);
                refused_entry(shape, index, status, &message)
            }
        });
    }
    take(state, inlet, deliveries);
    if let Some(FaultKind::Answer { answer }) = fault
        && let Some(answer) = spoil(*answer, &mut responses)
    {
        return answer;
    }
    let answer = json!({
        "inletId": inlet.id, "batchId": batch, "receivedTimeMs": now(), "responses": responses,
    });
    (StatusCode::MULTI_STATUS, Json(answer)).into_response()
}

/// Returns the entry of a refused message, in one of the forms that Adobe uses.
fn refused_entry(shape: Shape, index: usize, status: u16, message: &str) -> Value {
    match shape {
        Shape::A | Shape::Mixed => json!({"statusCode": status, "message": message}),
        Shape::B => json!({"xactionId": format!("7a5c-{index}"), "status": status, "message": message}),
    }
}

/// Makes the response to accepted messages malformed. Returns a complete response if changing the entries is not
/// sufficient.
fn spoil(odd: OddAnswer, responses: &mut Vec<Value>) -> Option<Response> {
    match odd {
        OddAnswer::Fewer => drop(responses.pop()),
        OddAnswer::More => responses.push(json!({"xactionId": "one-more"})),
        OddAnswer::Empty => responses.clear(),
        OddAnswer::Reversed => responses.reverse(),
        OddAnswer::NotJson => return Some((StatusCode::MULTI_STATUS, "<html>accepted</html>").into_response()),
        OddAnswer::NoBody => return Some(StatusCode::NO_CONTENT.into_response()),
    }
    None
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
