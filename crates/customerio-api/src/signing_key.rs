//! The signing key of a workspace, fetched with a service-account token.
//!
//! The App API does not return signing keys. Customer.io's own command-line tool uses `GET
//! /v1/environments/{id}/signing_secret` of the API behind Customer.io's web pages. Two things are not verified: the
//! shape of the response, and whether the key is the one that signs reporting webhooks. Therefore the response is
//! parsed leniently, and the caller has to verify the key by a signed round trip before it enables a webhook. This
//! crate never rotates a key, because every other receiver in the workspace would then refuse webhooks.

use std::fmt;
use std::pin::Pin;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::account::WorkspaceId;
use crate::address::Api;
use crate::answer::{ErrorDetail, error_details};
use crate::client::{ApiSettings, ClientError};
use crate::credential::ServiceAccountToken;
use crate::error::{Call, Remedy};
use crate::request::Repeat;
use crate::transport::{Attempt, Sent, Transport};

/// A source from which the signing key of a workspace can be read.
pub trait SigningKeySource: Send + Sync {
    /// The signing key of the workspace, as Customer.io shows it.
    fn signing_key(&self, workspace: WorkspaceId) -> FetchedKey<'_>;
}

/// The future of [`SigningKeySource::signing_key`].
pub type FetchedKey<'a> = Pin<Box<dyn Future<Output = Result<SecretString, SigningKeyError>> + Send + 'a>>;

/// The reason why a signing key could not be fetched. Copying the key from Customer.io's page always remains possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// Customer.io refuses the service-account token.
    #[error(
        "{call}: Customer.io refuses the service-account token ({status}{}). Either CUSTOMERIO_SERVICE_ACCOUNT_TOKEN is wrong \
         or expired, or the account is in the other region (CUSTOMERIO_REGION). A Customer.io administrator creates \
         tokens. {PASTE}", said(.details)
    )]
    TokenRefused {
        /// The failed request.
        call: Call,
        /// HTTP status code.
        status: u16,
        /// Error texts of the response.
        details: Vec<ErrorDetail>,
    },
    /// The token is not allowed to read the key of this workspace, or the workspace does not exist.
    #[error(
        "{call}: the service-account token does not reach the signing key of this workspace ({status}{}). A Customer.io \
         administrator can give it access. {PASTE}", said(.details)
    )]
    NotReadable {
        /// The failed request.
        call: Call,
        /// HTTP status code.
        status: u16,
        /// Error texts of the response.
        details: Vec<ErrorDetail>,
    },
    /// The response is a success, but no signing key was found in it.
    #[error("{call}: the answer has no signing key that this version recognises (its fields: {fields}). {PASTE}")]
    Unrecognised {
        /// The request whose response was not recognised.
        call: Call,
        /// Names of the response's fields, separated by commas.
        fields: String,
    },
    /// No usable response was received.
    #[error("{call}: {reason}. Try again later. {PASTE}")]
    Unavailable {
        /// The failed request.
        call: Call,
        /// Description of the cause.
        reason: String,
    },
}

/// The alternative that always works. Every message ends with it.
const PASTE: &str =
    "Or copy the signing key from Customer.io's page Reporting Webhooks into CUSTOMERIO_SIGNING_KEYS_FILE";

impl SigningKeyError {
    /// The person or organisation that can fix the cause.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::TokenRefused { .. } | Self::NotReadable { .. } => Remedy::CustomerIoAdministrator,
            Self::Unrecognised { .. } => Remedy::You,
            Self::Unavailable { .. } => Remedy::CustomerIo,
        }
    }
}

fn said(details: &[ErrorDetail]) -> String {
    details.iter().map(|detail| format!("; it says: {detail}")).collect()
}

/// Fetches signing keys with a service-account token. Each fetch requests a new access token, which is read-only.
#[derive(Clone)]
pub struct ServiceAccountClient {
    settings: ApiSettings,
    token: ServiceAccountToken,
    transport: Transport,
}

impl fmt::Debug for ServiceAccountClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl SigningKeySource for ServiceAccountClient {
    fn signing_key(&self, workspace: WorkspaceId) -> FetchedKey<'_> {
        Box::pin(self.fetch(workspace))
    }
}

impl ServiceAccountClient {
    /// Creates a client, which connects with its first call.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(settings: &ApiSettings, token: ServiceAccountToken) -> Result<Self, ClientError> {
        Ok(Self { settings: settings.clone(), token, transport: settings.transport()? })
    }

    async fn fetch(&self, workspace: WorkspaceId) -> Result<SecretString, SigningKeyError> {
        let access_token = self.access_token().await?;
        let path = format!("/v1/environments/{workspace}/signing_secret");
        let call = self.settings.call(Api::ServiceAccount, "GET", &path);
        let url = call.url.clone();
        let build = |http: &reqwest::Client| http.get(&url).bearer_auth(access_token.expose_secret());
        let sent = self.transport.send(Repeat::Safe, build).await;
        let value = self.success(call.clone(), sent, &access_token)?;
        match find_key(&value) {
            Some(key) => Ok(key.into()),
            None => Err(SigningKeyError::Unrecognised { call, fields: field_names(&value) }),
        }
    }

    async fn access_token(&self) -> Result<SecretString, SigningKeyError> {
        let call = self.settings.call(Api::ServiceAccount, "POST", "/v1/service_accounts/oauth/token");
        let url = call.url.clone();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_secret", self.token.secret().expose_secret()),
            ("scope", "read_only"),
        ];
        let sent = self.transport.send(Repeat::Safe, |http| http.post(&url).form(&form)).await;
        // An OAuth token endpoint responds with 400 if a credential is wrong.
        if let Attempt::Answered(answer) = &sent.last
            && matches!(answer.status, 400 | 403)
        {
            let details = error_details(&answer.body, Some(self.token.secret()));
            return Err(SigningKeyError::TokenRefused { call, status: answer.status, details });
        }
        let value = self.success(call.clone(), sent, self.token.secret())?;
        match value["access_token"].as_str().map(str::trim).filter(|token| !token.is_empty()) {
            Some(token) => Ok(token.into()),
            None => Err(SigningKeyError::Unavailable { call, reason: "the answer has no `access_token`".to_owned() }),
        }
    }

    fn success(&self, call: Call, sent: Sent, secret: &SecretString) -> Result<Value, SigningKeyError> {
        let unavailable = |call, reason: String| Err(SigningKeyError::Unavailable { call, reason });
        let answer = match sent.last {
            Attempt::NotSent(reason) => return unavailable(call, format!("no connection ({reason})")),
            Attempt::NoAnswer(reason) => return unavailable(call, format!("no answer ({reason})")),
            Attempt::Answered(answer) => answer,
        };
        let details = || error_details(&answer.body, Some(secret));
        match answer.status {
            200..=299 => match answer.json() {
                Some(value) => Ok(value),
                None => unavailable(call, "the answer is not JSON".to_owned()),
            },
            status @ 401 => Err(SigningKeyError::TokenRefused { call, status, details: details() }),
            status @ (403 | 404) => Err(SigningKeyError::NotReadable { call, status, details: details() }),
            status => unavailable(call, format!("Customer.io answers {status}{}", said(&details()))),
        }
    }
}

/// Names of fields that may contain the key, the likeliest first.
const KEY_NAMES: [&str; 6] = ["signing_secret", "signing_key", "webhook_signing_key", "secret", "key", "value"];
/// Minimum length of a text that is accepted as a key.
const SHORTEST_KEY: usize = 16;

/// Searches for the key: in the value itself, then in its fields with one of [`KEY_NAMES`], then in the objects in it.
fn find_key(value: &Value) -> Option<&str> {
    let is_key = |text: &&str| text.len() >= SHORTEST_KEY && text.bytes().all(|byte| byte.is_ascii_graphic());
    match value {
        Value::String(text) => Some(text.as_str()).filter(is_key),
        Value::Object(fields) => {
            let named = KEY_NAMES.iter().filter_map(|name| fields.get(*name)).find_map(find_key);
            named.or_else(|| fields.values().filter(|value| value.is_object()).find_map(find_key))
        }
        _ => None,
    }
}

fn field_names(value: &Value) -> String {
    let names = value.as_object().into_iter().flat_map(|fields| fields.keys());
    let names: Vec<_> = names.take(10).map(|name| name.escape_debug().take(40).collect::<String>()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "8f2a6c1d9e4b47f0a3c5d7e9b1f20486";

    #[test]
    fn the_key_is_found_in_every_expected_response_shape() {
        for answer in [
            json!({"signing_secret": KEY}),
            json!({"signing_key": KEY, "key": "not-this-one-at-all"}),
            json!({"signing_secret": {"secret": KEY, "created_at": 1}}),
            json!({"environment": {"id": 1, "name": "production-of-acme", "signing_secret": KEY}}),
            json!(KEY),
        ] {
            assert_eq!(find_key(&answer), Some(KEY), "{answer}");
        }
    }

    #[test]
    fn a_response_without_a_key_is_described_by_field_names_only() {
        for answer in [
            json!({}),
            json!(null),
            json!([KEY]),
            json!({"id": KEY}),
            json!({"key": "short"}),
            json!({"key": "two words in it here"}),
        ] {
            assert_eq!(find_key(&answer), None, "{answer}");
        }
        assert_eq!(field_names(&json!({"id": KEY, "other": 1})), "id, other");
        assert_eq!(field_names(&json!([KEY])), "none");
    }
}
