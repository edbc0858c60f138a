//! `POST /ims/token/v3`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::state::State;

/// Issues a token for the right credential; all four fields are mandatory.
pub(crate) async fn issue(AxumState(state): AxumState<Arc<State>>, body: String) -> Response {
    if let Some((status, body)) = state.token_answer() {
        return (StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), body).into_response();
    }
    let form: HashMap<String, String> = form(&body);
    let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let denied = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    if field("grant_type") != Some("client_credentials") {
        return denied("unsupported_grant_type");
    }
    let (Some(id), Some(secret), Some(_)) = (field("client_id"), field("client_secret"), field("scope")) else {
        return denied("invalid_request");
    };
    if state.settings().credential.as_ref().is_none_or(|(good_id, good_secret)| good_id != id || good_secret != secret)
    {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let token = state.issue_token();
    let seconds = state.settings().token_lifetime.as_secs();
    Json(json!({"access_token": token, "token_type": "bearer", "expires_in": seconds})).into_response()
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn form(body: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                    std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(b'?')
                }
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}
