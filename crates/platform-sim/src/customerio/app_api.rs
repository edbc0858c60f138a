//! Responds to every request below `/customerio`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State as AxumState};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::account::{Access, CustomerIo, SERVICE_ACCOUNT_TOKEN, Seen, Stored, WORKSPACES, access};
use super::faults::{ApiFaultKind, ErrorShape};
use super::problem::{json_api, problem};
use super::webhook::checked;
use crate::faults::Break;
use crate::line::Breaker;
use crate::tokens::form;

/// Customer.io's sender addresses in the United States, from its documentation.
const SENDER_ADDRESSES: [&str; 3] = ["35.188.196.183", "104.198.177.219", "104.154.232.87"];

/// A resource that a path identifies, regardless of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Webhooks,
    Webhook(u64),
    Workspaces,
    SenderAddresses,
    Token,
    SigningSecret(u64),
}

impl Resource {
    fn find(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["v1", "reporting_webhooks"] => Some(Self::Webhooks),
            ["v1", "reporting_webhooks", id] => id.parse().ok().map(Self::Webhook),
            ["v1", "workspaces"] => Some(Self::Workspaces),
            ["v1", "info", "ip_addresses"] => Some(Self::SenderAddresses),
            ["v1", "service_accounts", "oauth", "token"] => Some(Self::Token),
            ["v1", "environments", id, "signing_secret"] => id.parse().ok().map(Self::SigningSecret),
            _ => None,
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Self::Webhooks => [Method::GET, Method::POST].contains(method),
            Self::Webhook(_) => [Method::GET, Method::PUT, Method::DELETE].contains(method),
            Self::Token => method == Method::POST,
            // In Customer.io's API, a PUT to a signing secret rotates the key. This product must never do that.
            Self::Workspaces | Self::SenderAddresses | Self::SigningSecret(_) => method == Method::GET,
        }
    }

    /// Whether a request needs an App API key.
    fn needs_key(self) -> bool {
        match self {
            Self::Webhooks | Self::Webhook(_) | Self::Workspaces => true,
            Self::SenderAddresses | Self::Token | Self::SigningSecret(_) => false,
        }
    }
}

struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    key: Option<&'a str>,
    is_json: bool,
    body: &'a [u8],
}

/// Responds to a request, and applies the next fault that matches the request.
pub(super) async fn answer(
    AxumState(state): AxumState<Arc<CustomerIo>>,
    Path(path): Path<String>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: &method,
        path: &path,
        query: uri.query(),
        key: text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")),
        is_json: text(header::CONTENT_TYPE).is_some_and(|value| value.split(';').next() == Some("application/json")),
        body: &body,
    };
    let fault = state.lock().faults.next(method.as_str());
    let late = if let Some(ApiFaultKind::Late { millis }) = fault { millis } else { 0 };
    let answer = match fault {
        Some(ApiFaultKind::Status { status, shape, detail }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut answer = problem(status, shape, &detail);
            // The target of a redirect is the same path: if a client follows the redirect, the request has its effect
            // and gets a success.
            if let Some(place) = uri.path().parse().ok().filter(|_| status.is_redirection()) {
                answer.headers_mut().insert(header::LOCATION, place);
            }
            answer
        }
        Some(ApiFaultKind::Reset { when: Break::Before }) => {
            breaker.break_it();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Some(ApiFaultKind::Reset { when: Break::After | Break::Within }) => {
            let answer = carry_out(&state, &asked);
            breaker.break_it();
            answer
        }
        Some(ApiFaultKind::Body { body }) => {
            let answer = carry_out(&state, &asked);
            if answer.status().is_success() { (answer.status(), body).into_response() } else { answer }
        }
        Some(ApiFaultKind::Late { .. }) | None => carry_out(&state, &asked),
    };
    state.lock().remember(Seen {
        method: method.to_string(),
        path: format!("/{path}"),
        // Only a JSON body is recorded. The body of a token request, which contains a secret, is form data.
        body: serde_json::from_slice(&body).ok(),
        with_key: headers.contains_key(header::AUTHORIZATION),
        status: answer.status().as_u16(),
    });
    // The request is recorded before the delay: if the client disconnects during the delay, this function ends there.
    tokio::time::sleep(Duration::from_millis(late)).await;
    answer
}

fn carry_out(state: &CustomerIo, asked: &Asked<'_>) -> Response {
    let Some(resource) = Resource::find(asked.path) else {
        return problem(StatusCode::NOT_FOUND, ErrorShape::Errors, "not found");
    };
    if !resource.takes(asked.method) {
        return problem(StatusCode::METHOD_NOT_ALLOWED, ErrorShape::Errors, "method not allowed");
    }
    if !state.lock().is_within_limit(asked.key.unwrap_or_default(), Instant::now()) {
        return problem(StatusCode::TOO_MANY_REQUESTS, ErrorShape::Meta, "too many requests");
    }
    if asked.query.is_some_and(|query| !query.is_empty()) {
        return problem(StatusCode::BAD_REQUEST, ErrorShape::Errors, "unknown parameter");
    }
    match (resource, access(asked.key)) {
        (Resource::SenderAddresses, _) => Json(json!({"ip_addresses": SENDER_ADDRESSES})).into_response(),
        (Resource::Token, _) => token(state, asked.body),
        (Resource::SigningSecret(id), _) => signing_secret(state, id, asked.key),
        (_, Access::Refused) if resource.needs_key() => {
            problem(StatusCode::UNAUTHORIZED, ErrorShape::Meta, "unauthorized")
        }
        (_, Access::Elsewhere) => problem(StatusCode::FORBIDDEN, ErrorShape::Errors, "address not allowed"),
        (Resource::Workspaces, _) => workspaces(),
        (_, Access::SendOnly | Access::Refused) => problem(StatusCode::FORBIDDEN, ErrorShape::Errors, "forbidden"),
        (Resource::Webhooks, Access::Workspace(workspace)) if asked.method == Method::GET => list(state, workspace),
        (Resource::Webhooks, Access::Workspace(workspace)) => write(state, workspace, None, asked),
        (Resource::Webhook(id), Access::Workspace(workspace)) => {
            let is_ours = state.lock().webhooks.get(&id).is_some_and(|stored| stored.workspace == workspace);
            match asked.method.as_str() {
                _ if !is_ours => problem(StatusCode::NOT_FOUND, ErrorShape::Errors, "webhook not found"),
                "PUT" => write(state, workspace, Some(id), asked),
                "DELETE" => {
                    state.lock().webhooks.remove(&id);
                    StatusCode::OK.into_response()
                }
                _ => Json(state.lock().webhooks.get(&id).map(|stored| stored.webhook.clone())).into_response(),
            }
        }
    }
}

/// Returns the webhooks of a workspace. Like Customer.io, it returns `null` in place of an empty list.
fn list(state: &CustomerIo, workspace: u64) -> Response {
    let inner = state.lock();
    let ours = inner.webhooks.values().filter(|stored| stored.workspace == workspace);
    let webhooks: Vec<Value> = ours.map(|stored| Value::Object(stored.webhook.clone())).collect();
    let webhooks = if webhooks.is_empty() { Value::Null } else { Value::Array(webhooks) };
    Json(json!({"reporting_webhooks": webhooks})).into_response()
}

/// Creates a webhook, or replaces the one with this id.
fn write(state: &CustomerIo, workspace: u64, id: Option<u64>, asked: &Asked<'_>) -> Response {
    if !asked.is_json {
        return problem(StatusCode::BAD_REQUEST, ErrorShape::Errors, "the content type is not application/json");
    }
    let mut inner = state.lock();
    let existing = id.and_then(|id| inner.webhooks.get(&id)).map(|stored| stored.webhook.clone());
    let checked_fields = checked(asked.body, id.unwrap_or_default(), existing.as_ref());
    match checked_fields {
        Err(errors) => json_api(StatusCode::BAD_REQUEST, &errors),
        Ok(mut webhook) => {
            let id = id.unwrap_or_else(|| inner.new_id());
            webhook.insert("id".to_owned(), json!(id));
            inner.webhooks.insert(id, Stored { workspace, webhook: webhook.clone() });
            Json(webhook).into_response()
        }
    }
}

fn workspaces() -> Response {
    let entry = |workspace: &super::account::Workspace| {
        json!({
            "id": workspace.id, "name": workspace.name, "messages_sent": 100_202, "billable_messages_sent": 75_124,
            "people": 25_666, "object_types": 4, "objects": 10,
        })
    };
    Json(json!({"workspaces": WORKSPACES.iter().map(entry).collect::<Vec<_>>()})).into_response()
}

/// Grants an access token for OAuth's client credentials. The form fields are as in Customer.io's command-line tool.
fn token(state: &CustomerIo, body: &[u8]) -> Response {
    let form = form(&String::from_utf8_lossy(body));
    let field = |name: &str| form.get(name).map(String::as_str);
    if form.keys().any(|name| !["grant_type", "client_secret", "scope"].contains(&name.as_str()))
        || field("grant_type") != Some("client_credentials")
    {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"}))).into_response();
    }
    if field("client_secret") != Some(SERVICE_ACCOUNT_TOKEN) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let token = state.lock().new_access_token();
    let scope = field("scope").unwrap_or_default();
    Json(json!({"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": scope})).into_response()
}

fn signing_secret(state: &CustomerIo, id: u64, token: Option<&str>) -> Response {
    if !state.lock().has_access_token(token) {
        return problem(StatusCode::UNAUTHORIZED, ErrorShape::Meta, "unauthorized");
    }
    match WORKSPACES.iter().find(|workspace| workspace.id == id) {
        Some(workspace) => Json(json!({"signing_secret": workspace.signing_key})).into_response(),
        None => problem(StatusCode::NOT_FOUND, ErrorShape::Errors, "environment not found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_api_paths_are_recognised() {
        assert_eq!(Resource::find("v1/reporting_webhooks"), Some(Resource::Webhooks));
        assert_eq!(Resource::find("v1/reporting_webhooks/4"), Some(Resource::Webhook(4)));
        assert_eq!(Resource::find("v1/environments/7/signing_secret"), Some(Resource::SigningSecret(7)));
        for path in [
            "v1/reporting_webhook",
            "v1/reporting_webhooks/",
            "v1/reporting_webhooks/x",
            "v2/workspaces",
            "v1//workspaces",
        ] {
            assert_eq!(Resource::find(path), None, "{path}");
        }
    }

    #[test]
    fn each_resource_accepts_only_the_methods_that_the_simulator_supports() {
        let takes = |resource: Resource| {
            [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
                .map(|method| resource.takes(&method))
        };
        assert_eq!(takes(Resource::Webhooks), [true, true, false, false, false]);
        assert_eq!(takes(Resource::Webhook(1)), [true, false, true, false, true]);
        assert_eq!(takes(Resource::Token), [false, true, false, false, false]);
        assert_eq!(takes(Resource::SigningSecret(1)), [true, false, false, false, false]);
    }
}
