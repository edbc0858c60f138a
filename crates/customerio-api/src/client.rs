//! The client of the App API.

use std::fmt;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;

use crate::account::{SenderAddress, Workspace, sender_addresses, workspaces};
use crate::address::{Api, ApiAddress};
use crate::answer::{Answer, error_details};
use crate::change::{NewWebhook, WebhookUpdate};
use crate::credential::AppApiKey;
use crate::error::{ApiError, Call, CreateError, UnconfirmedCreate};
use crate::pace::{RequestBudget, RetryPolicy};
use crate::request::ApiRequest;
use crate::transport::{Attempt, Sent, Transport};
use crate::webhook::{UnreadableWebhook, Webhook, WebhookId, WebhookList};

/// Connection settings for Customer.io: address, time-out, retries, proxy and certificates.
#[derive(Clone)]
pub struct ApiSettings {
    /// Base address of Customer.io's APIs.
    pub address: ApiAddress,
    /// Time-out of a single attempt.
    pub timeout: Duration,
    /// Number of attempts, and the waits between them.
    pub retry: RetryPolicy,
    /// Request rate limit. All clients of a process hold clones of one budget.
    pub budget: RequestBudget,
    /// Proxy for https requests. Without one, the connection is direct, and the proxy variables of the environment are
    /// ignored.
    pub proxy: Option<reqwest::Proxy>,
    /// Certificate authorities that are trusted in addition to the default ones.
    pub authorities: Vec<reqwest::Certificate>,
}

impl ApiSettings {
    /// Settings with a time-out of 10 seconds, five attempts, a new request budget and a direct connection.
    #[must_use]
    pub fn new(address: ApiAddress) -> Self {
        Self {
            address,
            timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            budget: RequestBudget::default(),
            proxy: None,
            authorities: Vec::new(),
        }
    }

    pub(crate) fn transport(&self) -> Result<Transport, ClientError> {
        let mut builder = reqwest::Client::builder()
            .timeout(self.timeout)
            .connect_timeout(self.timeout)
            // Following a redirect would send the key to another address.
            .redirect(reqwest::redirect::Policy::none())
            // Only `RetryPolicy` decides whether a request is repeated.
            .retry(reqwest::retry::never())
            .user_agent(concat!("customerio-aep/", env!("CARGO_PKG_VERSION")))
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy();
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        for authority in &self.authorities {
            builder = builder.add_root_certificate(authority.clone());
        }
        let http = builder.build().map_err(|error| ClientError(error.to_string()))?;
        Ok(Transport { http, budget: self.budget.clone(), retry: self.retry, limit: None })
    }

    pub(crate) fn call(&self, api: Api, method: &str, path: &str) -> Call {
        let region = (!self.address.is_replaced()).then(|| self.address.region());
        Call { method: method.to_owned(), url: self.address.join(api, path), region }
    }
}

/// Leaves out the proxy, because its address may contain a password.
impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings")
            .field("address", &self.address)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// The HTTP client cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot set up the HTTP client for Customer.io: {0}; check the certificate authorities and the proxy")]
pub struct ClientError(String);

/// The outcome of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The webhook existed and was deleted.
    Deleted,
    /// The webhook did not exist.
    Absent,
}

/// Client of the App API with one key. It caches nothing.
#[derive(Debug, Clone)]
pub struct AppApiClient {
    settings: ApiSettings,
    key: AppApiKey,
    transport: Transport,
}

impl AppApiClient {
    /// Creates a client, which connects with its first call.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(settings: &ApiSettings, key: AppApiKey) -> Result<Self, ClientError> {
        Ok(Self { settings: settings.clone(), key, transport: settings.transport()? })
    }

    /// A copy of this client for the other region, to find out whether a refused key belongs there; `None` if
    /// `CUSTOMERIO_API_URL` replaces the addresses of both regions.
    #[must_use]
    pub fn in_other_region(&self) -> Option<Self> {
        let address = self.settings.address.other_region()?;
        Some(Self { settings: ApiSettings { address, ..self.settings.clone() }, ..self.clone() })
    }

    /// This client with a time limit for each call. The limit covers all attempts of a call, and begins with its first
    /// attempt: a call that waits for the request budget takes longer.
    #[must_use]
    pub fn answering_within(&self, limit: Duration) -> Self {
        Self { transport: Transport { limit: Some(limit), ..self.transport.clone() }, ..self.clone() }
    }

    /// The address to which the client sends requests.
    #[must_use]
    pub fn address(&self) -> &ApiAddress {
        &self.settings.address
    }

    /// The fingerprint of the key: [`AppApiKey::fingerprint`].
    #[must_use]
    pub fn key_fingerprint(&self) -> String {
        self.key.fingerprint()
    }

    /// The webhooks of the key's workspace.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn webhooks(&self) -> Result<WebhookList, ApiError> {
        self.read(&ApiRequest::list_webhooks(), WebhookList::parse).await
    }

    /// Reads one webhook of the key's workspace.
    ///
    /// # Errors
    /// [`ApiError`]; [`ApiError::NotFound`] if no webhook has this id.
    pub async fn webhook(&self, id: WebhookId) -> Result<Webhook, ApiError> {
        self.read(&ApiRequest::get_webhook(id), webhook).await
    }

    /// Creates a webhook, disabled. The request is repeated only if it certainly had no effect.
    ///
    /// # Errors
    /// [`CreateError`], whose variants distinguish "not created" from an unknown outcome.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Webhook, CreateError> {
        let request = ApiRequest::create_webhook(&new);
        let sent = self.send(&request).await;
        let is_unknown = match &sent.last {
            // A success status means that the webhook was created, even if the response body cannot be read.
            Attempt::Answered(answer) if answer.is_success() => true,
            last => last.ended().is_unknown(),
        };
        match self.classify(&request, sent, webhook) {
            Ok(webhook) => Ok(webhook),
            Err(cause) if is_unknown => Err(CreateError::Unconfirmed(UnconfirmedCreate::new(new, cause))),
            Err(error) => Err(CreateError::NotCreated(error)),
        }
    }

    /// Replaces a webhook as a whole and returns Customer.io's new version. The request may be repeated, because it
    /// sets the same state each time.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn update_webhook(&self, update: &WebhookUpdate) -> Result<Webhook, ApiError> {
        self.read(&ApiRequest::update_webhook(update), webhook).await
    }

    /// Deletes a webhook. The request may be repeated.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<Deletion, ApiError> {
        let request = ApiRequest::delete_webhook(id);
        let sent = self.send(&request).await;
        let earlier_unknown = sent.earlier_unknown;
        match &sent.last {
            Attempt::Answered(answer) if answer.is_success() => Ok(Deletion::Deleted),
            // An earlier attempt without a response may have deleted the webhook.
            Attempt::Answered(answer) if answer.status == 404 && earlier_unknown => Ok(Deletion::Deleted),
            Attempt::Answered(answer) if answer.status == 404 => Ok(Deletion::Absent),
            _ => Err(self.error(&request, sent, "")),
        }
    }

    /// The workspaces of the account. Any App API key may list them, so this call distinguishes a key that is refused
    /// from one whose scope is too small.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, ApiError> {
        self.read(&ApiRequest::list_workspaces(), workspaces).await
    }

    /// The IP addresses that Customer.io sends webhooks from in the client's region.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn sender_addresses(&self) -> Result<Vec<SenderAddress>, ApiError> {
        self.read(&ApiRequest::list_sender_addresses(), sender_addresses).await
    }

    async fn read<T, E: fmt::Display>(
        &self,
        request: &ApiRequest,
        parse: impl Fn(&Value) -> Result<T, E>,
    ) -> Result<T, ApiError> {
        let sent = self.send(request).await;
        self.classify(request, sent, parse)
    }

    async fn send(&self, request: &ApiRequest) -> Sent {
        let url = self.settings.address.join(Api::App, request.path());
        let build = |http: &reqwest::Client| {
            let mut builder = http.request(request.method().clone(), &url);
            if request.has_key() {
                builder = builder.bearer_auth(self.key.secret().expose_secret());
            }
            match request.body() {
                Some(body) => builder.json(body),
                None => builder,
            }
        };
        self.transport.send(request.repeat(), build).await
    }

    /// Parses the body of a success, and turns every other outcome into an [`ApiError`].
    fn classify<T, E: fmt::Display>(
        &self,
        request: &ApiRequest,
        sent: Sent,
        parse: impl Fn(&Value) -> Result<T, E>,
    ) -> Result<T, ApiError> {
        let what = match &sent.last {
            Attempt::Answered(answer) if answer.is_success() => match answer.json() {
                None => "it is not JSON".to_owned(),
                Some(value) => match parse(&value) {
                    Ok(value) => return Ok(value),
                    Err(what) => what.to_string(),
                },
            },
            _ => String::new(),
        };
        Err(self.error(request, sent, &what))
    }

    fn error(&self, request: &ApiRequest, sent: Sent, what: &str) -> ApiError {
        let call = self.settings.call(Api::App, request.method().as_str(), request.path());
        let attempts = sent.attempts;
        match sent.last {
            Attempt::NotSent(reason) => ApiError::NotSent { call, reason },
            Attempt::NoAnswer(reason) => ApiError::NoAnswer { call, reason, attempts },
            Attempt::Answered(Answer { status, body }) => {
                let details = error_details(&body, Some(self.key.secret()));
                match status {
                    401 => ApiError::KeyRefused { call, details },
                    403 => ApiError::NotAllowed { call, details },
                    404 => ApiError::NotFound { call, details },
                    408 | 500..=599 => ApiError::Unavailable { call, status, attempts },
                    429 => ApiError::TooManyRequests { call, attempts },
                    400..=499 => {
                        ApiError::Rejected { call, status, details, unknown_fields: request.unknown_fields().to_vec() }
                    }
                    300..=399 => ApiError::Unexpected { call, status, what: "it is a redirect".to_owned() },
                    _ => ApiError::Unexpected { call, status, what: what.to_owned() },
                }
            }
        }
    }
}

/// Parses the webhook in a response body: the object itself, as documented, or the value of its field
/// `reporting_webhook`.
fn webhook(value: &Value) -> Result<Webhook, UnreadableWebhook> {
    Webhook::parse(value.get("reporting_webhook").unwrap_or(value))
}
