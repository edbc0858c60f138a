//! Sends calls: adds the token and the common headers, repeats safe requests, reads all pages, and waits until a newly
//! created object is visible.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::client::{ClientError, body_up_to_limit};
use crate::control::error::{classify, interrupted};
use crate::control::{
    Answer, ApiUrl, BadLink, Call, ControlError, Created, ErrorKind, FlowAction, Interruption, Method, Page, Problem,
    Request, flow_action, following,
};
use crate::failure::{Failure, Unreached, failure};
use crate::token::TokenProvider;
use crate::verdict::retry_after;

/// Settings of the control-plane client.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// Base address of Platform's APIs (`PLATFORM_API_URL`).
    pub api: ApiUrl,
    /// The organisation; sent as `x-gw-ims-org-id`.
    pub ims_org: String,
    /// The sandbox; sent as `x-sandbox-name`.
    pub sandbox: String,
    /// Client id of the credential; sent as `x-api-key`.
    pub client_id: String,
    /// Maximum time of one request.
    pub timeout: Duration,
    /// Limits for repeating requests that are safe to repeat.
    pub retries: Retries,
    /// Limits for waiting until a created object is visible.
    pub visibility: Visibility,
}

/// Number of attempts of a repeatable request, and the waits between them.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Maximum number of attempts; 1 means that no request is repeated.
    pub attempts: u32,
    /// Wait before the first repeat. Each further wait is twice as long.
    pub first_wait: Duration,
    /// Longest wait, even if `Retry-After` is longer.
    pub longest_wait: Duration,
    /// Minimum age of a token that is replaced after a 403. A token does not contain roles that were granted after it
    /// was issued.
    pub token_age_on_403: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            token_age_on_403: Duration::from_secs(60),
        }
    }
}

impl Retries {
    /// Returns the wait after this number of attempts. `asked` is the wait from the header `Retry-After`.
    fn wait(&self, attempts: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        asked.unwrap_or(doubled).min(self.longest_wait)
    }
}

/// Limits for waiting until a created object appears in responses.
#[derive(Debug, Clone, Copy)]
pub struct Visibility {
    /// Time after the creation during which an object may be missing.
    pub within: Duration,
    /// Wait between two requests for the object.
    pub interval: Duration,
}

impl Default for Visibility {
    fn default() -> Self {
        Self { within: Duration::from_secs(60), interval: Duration::from_secs(2) }
    }
}

/// Client of the control plane for one organisation and one sandbox.
pub struct ControlClient {
    http: reqwest::Client,
    settings: ControlSettings,
    headers: HeaderMap,
    tokens: TokenProvider,
}

impl fmt::Debug for ControlClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Response of any status to one attempt.
struct Attempt {
    answer: Answer,
    retry_after: Option<Duration>,
}

impl ControlClient {
    /// Creates a client. `http` must not follow redirects; [`crate::client::HttpSettings::client`] builds such clients.
    ///
    /// # Errors
    /// Returns a [`ClientError`] if a setting cannot be sent in a header.
    pub fn new(settings: ControlSettings, http: reqwest::Client, tokens: TokenProvider) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, value, variable) in [
            ("x-gw-ims-org-id", &settings.ims_org, "PLATFORM_IMS_ORG"),
            ("x-sandbox-name", &settings.sandbox, "PLATFORM_SANDBOX"),
            ("x-api-key", &settings.client_id, tokens.names().client_id),
        ] {
            let value = HeaderValue::from_str(value).map_err(|_| ClientError::Header(variable))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Self { http, settings, headers, tokens })
    }

    /// Returns the settings that the client was created with.
    #[must_use]
    pub fn settings(&self) -> &ControlSettings {
        &self.settings
    }

    /// Sends a call and reads the response.
    ///
    /// # Errors
    /// Returns a [`ControlError`] if the request fails or the response cannot be read.
    pub async fn send<T>(&self, call: &Call<T>) -> Result<T, ControlError> {
        let answer = self.answer_to(call.request()).await?;
        call.read(&answer).map_err(|error| {
            let kind = match call.request().is_repeatable() {
                true => ErrorKind::Unreadable(error.to_string()),
                // Platform executed the request, but the response with the result cannot be read.
                false => ErrorKind::OutcomeUnknown(Interruption::Status {
                    status: answer.status,
                    problem: Problem { detail: Some(error.to_string()), ..Problem::default() },
                }),
            };
            self.error(call.request(), kind)
        })
    }

    /// Reads all pages of a list and returns their entries.
    ///
    /// # Errors
    /// Returns a [`ControlError`] if a page cannot be read or the link to the next page must not be followed.
    pub async fn list<T>(&self, call: &Call<Page<T>>) -> Result<Vec<T>, ControlError> {
        let mut items = Vec::new();
        let mut call = call.clone();
        let mut seen = BTreeSet::new();
        loop {
            seen.insert(call.request().path.clone());
            let page = self.send(&call).await?;
            items.extend(page.items);
            let Some(next) = page.next else { return Ok(items) };
            let bad_link = |error: BadLink| self.error(call.request(), ErrorKind::BadLink(error.to_string()));
            let request = following(call.request(), &next, &self.settings.api).map_err(bad_link)?;
            if seen.contains(&request.path) {
                return Err(bad_link(BadLink::Loop));
            }
            call = call.with_request(request);
        }
    }

    /// Sends a call that refers to an object created at `created_at`. Until [`Visibility::within`] has passed since
    /// then, a response of 400 or 404 means "not visible yet", and the call is sent again. A request that gets one of
    /// these statuses has no effect.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotVisible`] after that time, or any other [`ControlError`].
    pub async fn send_when_visible<T>(&self, call: &Call<T>, created_at: Instant) -> Result<T, ControlError> {
        loop {
            let error = match self.send(call).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let last = match &*error.kind {
                ErrorKind::NotFound(problem) | ErrorKind::Rejected { status: 400, problem } => problem.clone(),
                _ => return Err(error),
            };
            if !self.wait_until_visible(created_at).await {
                let kind = ErrorKind::NotVisible { waited: created_at.elapsed(), last };
                return Err(self.error(call.request(), kind));
            }
        }
    }

    /// Searches a list for an object that was or may have been created at `created_at`. Until [`Visibility::within`]
    /// has passed since then, the list can miss the object and is read again. Returns `None` if the object does not
    /// exist.
    ///
    /// # Errors
    /// Returns a [`ControlError`] if the list cannot be read.
    pub async fn find_when_visible<T>(
        &self,
        call: &Call<Page<T>>,
        is_wanted: impl Fn(&T) -> bool,
        created_at: Instant,
    ) -> Result<Option<T>, ControlError> {
        loop {
            if let Some(found) = self.list(call).await?.into_iter().find(&is_wanted) {
                return Ok(Some(found));
            }
            if !self.wait_until_visible(created_at).await {
                return Ok(None);
            }
        }
    }

    /// Waits before the next attempt. Returns `false` at once if [`Visibility::within`] has passed since `created_at`.
    async fn wait_until_visible(&self, created_at: Instant) -> bool {
        let Visibility { within, interval } = self.settings.visibility;
        let is_early = created_at.elapsed() < within;
        if is_early {
            tokio::time::sleep(interval).await;
        }
        is_early
    }

    /// Enables or disables a flow. If Platform responds with 400, the request is sent again with the parameter `subOp`.
    ///
    /// # Errors
    /// Returns a [`ControlError`] if the last request fails.
    pub async fn set_flow_state(&self, id: &str, action: FlowAction) -> Result<Created, ControlError> {
        match self.send(&flow_action(id, action, false)).await {
            Err(error) if matches!(*error.kind, ErrorKind::Rejected { status: 400, .. }) => {
                self.send(&flow_action(id, action, true)).await
            }
            other => other,
        }
    }

    /// Returns a successful response. After a temporary failure, a request that is safe to repeat is sent again.
    async fn answer_to(&self, request: &Request) -> Result<Answer, ControlError> {
        let mut attempts = 1;
        loop {
            let mut asked = None;
            let error = match self.authorized(request).await? {
                Ok(Attempt { answer, .. }) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(Attempt { answer, retry_after }) => {
                    asked = retry_after;
                    classify(request, answer.status, retry_after, &answer.body).with_credential(self.tokens.names())
                }
                Err(failure @ Failure::Connect(_)) => self.error(request, ErrorKind::Unreachable(failure)),
                Err(failure) => self.error(request, interrupted(request, Interruption::Failed(failure))),
            };
            let may_pass = matches!(
                *error.kind,
                ErrorKind::RateLimited { .. } | ErrorKind::Unavailable(_) | ErrorKind::Unreachable(_)
            );
            if !may_pass || !request.is_repeatable() || attempts >= self.settings.retries.attempts {
                return Err(error);
            }
            let wait = self.settings.retries.wait(attempts, asked);
            tracing::debug!(%request, attempts, ?wait, "repeating a request to Platform");
            tokio::time::sleep(wait).await;
            attempts += 1;
        }
    }

    /// Sends a request with a token, and once more with a new token if Platform refuses the first one. A request that
    /// gets 401 or 403 has no effect, so the second attempt is safe for every request.
    async fn authorized(&self, request: &Request) -> Result<Result<Attempt, Failure>, ControlError> {
        let token = self.token(request).await?;
        let first = self.attempt(request, &token).await;
        match first.as_ref().map(|attempt| attempt.answer.status) {
            Ok(401) => self.tokens.invalidate(&token).await,
            Ok(403) => {
                if let Some(long_ago) = Instant::now().checked_sub(self.settings.retries.token_age_on_403) {
                    self.tokens.invalidate_before(long_ago).await;
                }
            }
            _ => return Ok(first),
        }
        let fresh = self.token(request).await?;
        if fresh.expose_secret() == token.expose_secret() {
            return Ok(first);
        }
        Ok(self.attempt(request, &fresh).await)
    }

    async fn token(&self, request: &Request) -> Result<SecretString, ControlError> {
        self.tokens.token().await.map_err(|error| self.error(request, ErrorKind::NoToken(error)))
    }

    fn error(&self, request: &Request, kind: ErrorKind) -> ControlError {
        ControlError::new(request, kind).with_credential(self.tokens.names())
    }

    async fn attempt(&self, request: &Request, token: &SecretString) -> Result<Attempt, Failure> {
        let Some(url) = self.settings.api.join(&request.path) else {
            return Err(Failure::Connect(Unreached::Other));
        };
        // The path comes from this crate or was checked by `following`. The check below is a second safeguard: the
        // token is never sent to another server.
        if !self.settings.api.is_same_server(&url) {
            return Err(Failure::Connect(Unreached::Other));
        }
        let mut headers = self.headers.clone();
        for (name, value) in &request.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut sending =
            self.http.request(method(request.method), url).headers(headers).timeout(self.settings.timeout);
        if let Some(body) = &request.body {
            sending = sending.body(body.to_string());
        }
        let response = sending.send().await.map_err(|error| failure(&error))?;
        let text =
            |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, etag) = (response.status().as_u16(), text(ETAG));
        let wait = text(RETRY_AFTER).and_then(|value| retry_after(&value, jiff::Timestamp::now()));
        let (body, is_cut) = body_up_to_limit(response).await.map_err(|error| failure(&error))?;
        let body = without_token(body, token);
        Ok(Attempt { answer: Answer { status, etag, body, is_cut }, retry_after: wait })
    }
}

/// Removes the token from a response body, because an error message can quote the body.
fn without_token(body: bytes::Bytes, token: &SecretString) -> bytes::Bytes {
    let secret = token.expose_secret().as_bytes();
    if secret.is_empty() || !body.windows(secret.len()).any(|window| window == secret) {
        return body;
    }
    String::from_utf8_lossy(&body).replace(token.expose_secret(), "[token]").into()
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_attempts_double_up_to_a_limit() {
        let retries = Retries::default();
        let waits: Vec<_> = (1..=8).map(|attempts| retries.wait(attempts, None).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(retries.wait(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(retries.wait(1, Some(Duration::from_secs(3600))), Duration::from_secs(30));
        assert_eq!(retries.wait(60, None), Duration::from_secs(30));
    }

    #[test]
    fn the_token_is_removed_from_a_response_body() {
        let token = SecretString::from("topsecret");
        let body = without_token(bytes::Bytes::from_static(b"{\"message\":\"bad topsecret!\"}"), &token);
        assert_eq!(&body[..], b"{\"message\":\"bad [token]!\"}");
        let other = bytes::Bytes::from_static(b"\xff");
        assert_eq!(without_token(other.clone(), &token), other);
    }
}
