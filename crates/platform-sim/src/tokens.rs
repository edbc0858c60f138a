//! Serves `POST /ims/token/v3`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::state::State;

/// Issues a token for the credential in [`SimSettings`](crate::SimSettings). All four form fields are mandatory.
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

/// Parses an `application/x-www-form-urlencoded` body.
pub(crate) fn form(body: &str) -> HashMap<String, String> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}
