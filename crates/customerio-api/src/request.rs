//! The requests of the App API as values.

use std::fmt;

use reqwest::Method;
use serde_json::Value;

use crate::change::{NewWebhook, WebhookUpdate};
use crate::webhook::WebhookId;

/// Rule for repeating a request whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The request may be repeated: two requests leave the same state as one.
    Safe,
    /// The request must not be repeated: each one creates another object.
    Unsafe,
}

/// A request of the App API.
#[derive(Clone, PartialEq)]
pub struct ApiRequest {
    method: Method,
    path: String,
    body: Option<Value>,
    repeat: Repeat,
    with_key: bool,
    /// Names of body fields that this version does not know.
    unknown_fields: Vec<String>,
}

impl ApiRequest {
    fn new(method: Method, path: impl Into<String>, repeat: Repeat) -> Self {
        Self { method, path: path.into(), body: None, repeat, with_key: true, unknown_fields: Vec::new() }
    }

    /// Lists the webhooks of the key's workspace.
    #[must_use]
    pub fn list_webhooks() -> Self {
        Self::new(Method::GET, "/v1/reporting_webhooks", Repeat::Safe)
    }

    /// Gets one webhook.
    #[must_use]
    pub fn get_webhook(id: WebhookId) -> Self {
        Self::new(Method::GET, format!("/v1/reporting_webhooks/{id}"), Repeat::Safe)
    }

    /// Creates a webhook, disabled. This is the only request that must not be repeated without a check.
    #[must_use]
    pub fn create_webhook(new: &NewWebhook) -> Self {
        Self { body: Some(new.body()), ..Self::new(Method::POST, "/v1/reporting_webhooks", Repeat::Unsafe) }
    }

    /// Replaces a webhook as a whole.
    #[must_use]
    pub fn update_webhook(update: &WebhookUpdate) -> Self {
        Self {
            body: Some(update.body()),
            unknown_fields: update.unknown_fields(),
            ..Self::new(Method::PUT, format!("/v1/reporting_webhooks/{}", update.id()), Repeat::Safe)
        }
    }

    /// Deletes a webhook.
    #[must_use]
    pub fn delete_webhook(id: WebhookId) -> Self {
        Self::new(Method::DELETE, format!("/v1/reporting_webhooks/{id}"), Repeat::Safe)
    }

    /// Lists the account's workspaces; any App API key may do this.
    #[must_use]
    pub fn list_workspaces() -> Self {
        Self::new(Method::GET, "/v1/workspaces", Repeat::Safe)
    }

    /// Lists the IP addresses that webhooks come from. This request does not need a key and is sent without one.
    #[must_use]
    pub fn list_sender_addresses() -> Self {
        Self { with_key: false, ..Self::new(Method::GET, "/v1/info/ip_addresses", Repeat::Safe) }
    }

    /// The HTTP method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path below the API's base address.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The JSON body. It does not contain our credentials, but it contains the complete URL of the endpoint.
    #[must_use]
    pub fn body(&self) -> Option<&Value> {
        self.body.as_ref()
    }

    /// The rule for repeating the request.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Returns true if the request is sent with the App API key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.with_key
    }

    pub(crate) fn unknown_fields(&self) -> &[String] {
        &self.unknown_fields
    }
}

/// Leaves out the body, because the endpoint's URL may have a query with a secret.
impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiRequest({} {})", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_a_body_have_the_documented_method_path_and_key() {
        let id = WebhookId(4);
        for (request, line, with_key) in [
            (ApiRequest::list_webhooks(), "GET /v1/reporting_webhooks", true),
            (ApiRequest::get_webhook(id), "GET /v1/reporting_webhooks/4", true),
            (ApiRequest::delete_webhook(id), "DELETE /v1/reporting_webhooks/4", true),
            (ApiRequest::list_workspaces(), "GET /v1/workspaces", true),
            (ApiRequest::list_sender_addresses(), "GET /v1/info/ip_addresses", false),
        ] {
            assert_eq!(format!("{} {}", request.method(), request.path()), line);
            assert_eq!((request.has_key(), request.body(), request.repeat()), (with_key, None, Repeat::Safe), "{line}");
        }
    }
}
