//! Access tokens of Adobe IMS (OAuth server-to-server, `POST /ims/token/v3`, client credentials).
//!
//! Only one request for a token is in flight at a time, even if several callers need a token, because Adobe throttles
//! clients that request tokens too often. A token is renewed before it expires.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::credential::CredentialNames;
use crate::failure::{Failure, failure};

/// Maximum lifetime: a longer lifetime is reduced to this value. Adobe's tokens are valid for 24 hours.
const LONGEST_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Assumed lifetime if IMS does not return one (RFC 6749 only recommends `expires_in`). A token that expires earlier is
/// replaced after the first 401.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Wait between a failed renewal and the next attempt, while the old token is still valid.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// Function that reads the client secret. It is called for each request for a token, so that a rotated secret is used
/// for the next token.
pub type ReadSecret = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// Settings of the requests for tokens.
#[derive(Clone)]
pub struct TokenSettings {
    /// Base address of Adobe IMS. `/ims/token/v3` is appended.
    pub ims_url: Url,
    /// Client id of the credential.
    pub client_id: String,
    /// Function that returns the client secret of the credential.
    pub client_secret: ReadSecret,
    /// Scopes, separated by commas, as the Developer Console lists them for the credential.
    pub scopes: String,
    /// The variables that the credential was read from.
    pub names: CredentialNames,
}

impl fmt::Debug for TokenSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSettings")
            .field("ims_url", &self.ims_url.as_str())
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Reason why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// IMS refuses the credential.
    #[error(
        "IMS refuses the credential (HTTP {status}{}); check {}, {} and {}",
        .code.as_ref().map(|code| format!(", {code}")).unwrap_or_default(),
        .names.client_id, .names.client_secret, .names.scopes
    )]
    Refused {
        /// HTTP status code of the response.
        status: u16,
        /// OAuth error code, if the body contains one.
        code: Option<String>,
        /// The variables of the credential.
        names: CredentialNames,
    },
    /// IMS did not respond.
    #[error("IMS returns no token for now: {0}")]
    NoAnswer(Failure),
    /// IMS responded with a status that does not concern the credential.
    #[error("IMS returns no token for now: HTTP {0}")]
    Unavailable(u16),
    /// IMS responded with success, but the body contains no usable token.
    #[error("IMS returns no token for now: {0}")]
    Unusable(&'static str),
    /// The secret cannot be read. The text begins with its variable.
    #[error("{0}")]
    Secret(String),
}

/// Result of one request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// IMS granted a token.
    Granted,
    /// IMS granted no token.
    Failed,
}

/// Callback that is called after each request for a token.
pub type OnRefresh = Box<dyn Fn(RefreshOutcome) + Send + Sync>;

/// The lifetime and the scopes that IMS granted with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Time until the token expires.
    pub expires_in: Duration,
    /// The granted scopes, separated by commas: those in the response of IMS, or else the requested ones.
    pub scopes: String,
}

struct Cached {
    token: SecretString,
    scopes: Option<String>,
    asked_at: Instant,
    renew_at: Instant,
    expires_at: Instant,
}

#[derive(Default)]
struct State {
    cached: Option<Cached>,
    /// The error of the last request, if it failed.
    failure: Option<TokenError>,
}

/// Requests access tokens, caches them and renews them.
pub struct TokenProvider {
    settings: TokenSettings,
    endpoint: Url,
    http: reqwest::Client,
    /// Locked while a token is fetched, so that all other callers wait for the same token.
    state: Mutex<State>,
    /// Number of finished requests. A caller reads this number before and after it waits for the lock. If the number
    /// has changed, another caller's request ended in the meantime.
    ended: AtomicU64,
    /// Whether the warning about a missing lifetime has been logged.
    assumed: AtomicBool,
    on_refresh: OnRefresh,
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProvider").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    access_token: Option<Value>,
    /// Lifetime in seconds.
    #[serde(default)]
    expires_in: Option<Value>,
    /// The granted scopes. IMS may leave them out if they equal the requested scopes.
    #[serde(default)]
    scope: Option<Value>,
}

impl Granted {
    fn token(&self) -> Result<&str, &'static str> {
        let token = self.access_token.as_ref().ok_or("its response has no `access_token`")?;
        let token = token.as_str().map(str::trim).filter(|token| !token.is_empty());
        token.ok_or("`access_token` in its response is not a text, or is empty")
    }

    /// Returns the lifetime, which IMS sends as a number or as text; `None` if the response has no valid lifetime.
    fn lifetime(&self) -> Option<Duration> {
        let seconds = match self.expires_in.as_ref()? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
        // A value that a `Duration` cannot represent counts as the longest lifetime.
        Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST_LIFETIME, |lifetime| lifetime.min(LONGEST_LIFETIME)))
    }
}

#[derive(Deserialize)]
struct Denied {
    error: Option<String>,
}

impl TokenProvider {
    /// Creates a provider that has no token yet.
    ///
    /// # Errors
    /// Returns a message if the path cannot be appended to the address.
    pub fn new(settings: TokenSettings, http: reqwest::Client, on_refresh: OnRefresh) -> Result<Self, String> {
        let base = settings.ims_url.as_str().trim_end_matches('/');
        let endpoint = format!("{base}/ims/token/v3").parse().map_err(|error| format!("IMS_URL: {error}"))?;
        Ok(Self {
            settings,
            endpoint,
            http,
            state: Mutex::default(),
            ended: AtomicU64::new(0),
            assumed: AtomicBool::new(false),
            on_refresh,
        })
    }

    /// Returns the cached token, or a new one if the cached token is due for renewal. If the renewal fails, the cached
    /// token is returned while it is valid.
    ///
    /// # Errors
    /// Returns a [`TokenError`] if there is no valid token.
    pub async fn token(&self) -> Result<SecretString, TokenError> {
        let ended = self.ended.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(cached) = state.cached.as_ref().filter(|cached| now < cached.renew_at) {
            return Ok(cached.token.clone());
        }
        // The request that this caller waited for has failed. If each waiting caller now sent a request, IMS would be
        // overloaded.
        if let Some(failure) = state.failure.as_ref().filter(|_| self.ended.load(Ordering::Acquire) != ended) {
            return Err(failure.clone());
        }
        let fetched = self.fetch().await;
        self.ended.fetch_add(1, Ordering::Release);
        (self.on_refresh)(if fetched.is_ok() { RefreshOutcome::Granted } else { RefreshOutcome::Failed });
        let error = match fetched {
            Ok(fresh) => {
                let token = fresh.token.clone();
                *state = State { cached: Some(fresh), failure: None };
                return Ok(token);
            }
            Err(error) => error,
        };
        let now = Instant::now();
        // An outage of IMS must not stop the delivery while the old token is valid.
        if let Some(cached) = state.cached.as_mut().filter(|cached| now < cached.expires_at) {
            cached.renew_at = (now + RENEW_AGAIN).min(cached.expires_at);
            return Ok(cached.token.clone());
        }
        *state = State { cached: None, failure: Some(error.clone()) };
        Err(error)
    }

    /// Returns the lifetime and the scopes of the current token. Requests a token first if there is none.
    ///
    /// # Errors
    /// Returns a [`TokenError`] if there is no valid token.
    pub async fn grant(&self) -> Result<Grant, TokenError> {
        self.token().await?;
        let state = self.state.lock().await;
        let (scopes, expires_in) = match &state.cached {
            Some(cached) => (cached.scopes.clone(), cached.expires_at.saturating_duration_since(Instant::now())),
            None => (None, Duration::ZERO),
        };
        Ok(Grant { expires_in, scopes: scopes.unwrap_or_else(|| self.settings.scopes.clone()) })
    }

    /// Returns the variables that the credential was read from.
    #[must_use]
    pub fn names(&self) -> CredentialNames {
        self.settings.names
    }

    /// Discards a token that Platform refused, unless the token has been replaced meanwhile.
    pub async fn invalidate(&self, refused: &SecretString) {
        let mut state = self.state.lock().await;
        if state.cached.as_ref().is_some_and(|cached| cached.token.expose_secret() == refused.expose_secret()) {
            state.cached = None;
        }
    }

    /// Discards the cached token if it was requested at or before `sent_at`, the time at which a request was sent that
    /// Platform then refused.
    pub async fn invalidate_before(&self, sent_at: Instant) {
        let mut state = self.state.lock().await;
        if state.cached.as_ref().is_some_and(|cached| cached.asked_at <= sent_at) {
            state.cached = None;
        }
    }

    /// Returns the assumed lifetime. The warning is logged only once, because the lifetime is missing from every
    /// response.
    fn assumed_lifetime(&self) -> Duration {
        if !self.assumed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                assumed = ?ASSUMED_LIFETIME,
                "the response of IMS has no lifetime of the token (`expires_in` in seconds): it is renewed after this time"
            );
        }
        ASSUMED_LIFETIME
    }

    async fn fetch(&self) -> Result<Cached, TokenError> {
        let names = self.settings.names;
        let unreadable = |error| TokenError::Secret(format!("{}: {error}", names.client_secret));
        let secret = (self.settings.client_secret)().map_err(unreadable)?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.client_id),
            ("client_secret", secret.expose_secret()),
            ("scope", &self.settings.scopes),
        ];
        let asked = Instant::now();
        let answer = self.http.post(self.endpoint.clone()).form(&form).send().await.map_err(no_answer)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(no_answer)?;
        if status.is_success() {
            // The body contains the token, so no part of it may get into a message.
            let granted: Granted = serde_json::from_slice(&body)
                .map_err(|_| TokenError::Unusable("its response is not a JSON object; check IMS_URL"))?;
            let token = granted.token().map_err(TokenError::Unusable)?;
            let lifetime = granted.lifetime().unwrap_or_else(|| self.assumed_lifetime());
            let margin = (lifetime / 10).min(Duration::from_secs(300));
            let expires_at = asked + lifetime;
            let token = token.to_owned().into();
            let scopes = granted.scope.as_ref().and_then(Value::as_str).map(str::to_owned);
            return Ok(Cached { token, scopes, asked_at: asked, renew_at: expires_at - margin, expires_at });
        }
        if status.is_client_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS {
            let code = serde_json::from_slice::<Denied>(&body).ok().and_then(|denied| denied.error);
            let plain = |code: &String| code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            return Err(TokenError::Refused { status: status.as_u16(), code: code.filter(plain), names });
        }
        Err(TokenError::Unavailable(status.as_u16()))
    }
}

fn no_answer(error: reqwest::Error) -> TokenError {
    TokenError::NoAnswer(failure(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering as Order};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a fake IMS that responds to each request with the next of `answers` (status, body) and repeats the last
    /// one. Returns a provider that uses the fake IMS, and a counter of the requests.
    async fn ims(answers: Vec<(u16, String)>) -> (Arc<TokenProvider>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(6).any(|part| part == b"scope=") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                let n = counter.fetch_add(1, Order::SeqCst).min(answers.len() - 1);
                let (status, body) = &answers[n];
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let settings = TokenSettings {
            ims_url: format!("http://{address}").parse().unwrap(),
            client_id: "id".into(),
            client_secret: Arc::new(|| Ok("secret".into())),
            scopes: "openid".into(),
            names: CredentialNames::default(),
        };
        (Arc::new(TokenProvider::new(settings, reqwest::Client::new(), Box::new(|_| {})).unwrap()), asked)
    }

    fn granted(lifetime: u64) -> (u16, String) {
        (200, format!(r#"{{"access_token":"token","expires_in":{lifetime}}}"#))
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_failed_token_request() {
        let (provider, asked) = ims(vec![(503, String::new())]).await;
        let callers: Vec<_> = (0..50)
            .map(|_| {
                let provider = Arc::clone(&provider);
                tokio::spawn(async move { provider.token().await.is_err() })
            })
            .collect();
        for caller in callers {
            assert!(caller.await.unwrap());
        }
        assert_eq!(asked.load(Order::SeqCst), 1);
        assert!(provider.token().await.is_err());
        assert_eq!(asked.load(Order::SeqCst), 2, "a later caller sends a new request");
    }

    #[tokio::test]
    async fn a_token_is_used_until_it_expires_if_its_renewal_fails() {
        let (provider, asked) = ims(vec![granted(3600), (503, String::new())]).await;
        provider.token().await.unwrap();
        make_due(&provider).await;
        for _ in 0..3 {
            assert_eq!(provider.token().await.unwrap().expose_secret(), "token");
        }
        assert_eq!(asked.load(Order::SeqCst), 2, "a failed renewal is not repeated at once");
    }

    #[tokio::test]
    async fn a_huge_token_lifetime_is_accepted_without_overflow() {
        let (provider, _) = ims(vec![granted(u64::MAX)]).await;
        provider.token().await.unwrap();
    }

    #[tokio::test]
    async fn a_token_without_a_valid_lifetime_gets_the_assumed_lifetime() {
        let answer = |expires: &str| (200, format!(r#"{{"access_token":"token"{expires}}}"#));
        for expires in [
            "",
            r#","expires_in":null"#,
            r#","expires_in":"soon""#,
            r#","expires_in":0"#,
            r#","expires_in":-5"#,
            r#","expires_in":{}"#,
        ] {
            let (provider, asked) = ims(vec![answer(expires)]).await;
            for _ in 0..3 {
                assert_eq!(provider.token().await.unwrap().expose_secret(), "token", "{expires}");
            }
            assert_eq!(asked.load(Order::SeqCst), 1, "{expires}: one token serves all callers");
            assert_eq!(lifetime(&provider).await, ASSUMED_LIFETIME, "{expires}");
        }
        for expires in
            [r#","expires_in":"3600""#, r#","expires_in":3600.0"#, r#","expires_in":3600"#, r#","expires_in":" 3600 ""#]
        {
            let (provider, _) = ims(vec![answer(expires)]).await;
            provider.token().await.unwrap();
            assert_eq!(lifetime(&provider).await, Duration::from_secs(3600), "{expires}");
        }
    }

    #[tokio::test]
    async fn the_error_for_an_unusable_ims_response_does_not_quote_the_body() {
        for (body, words) in [
            (r#"{"expires_in":3600,"secret":"x"}"#, "no `access_token`"),
            (r#"{"access_token":"","secret":"x"}"#, "not a text, or is empty"),
            (r#"{"access_token":{"secret":"x"}}"#, "not a text, or is empty"),
            ("<html>secret</html>", "not a JSON object; check IMS_URL"),
        ] {
            let (provider, _) = ims(vec![(200, body.to_owned())]).await;
            let error = provider.token().await.unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_grant_has_the_scopes_of_the_response_or_else_the_requested_ones() {
        for (scope, expected) in [(r#","scope":"openid,AdobeID""#, "openid,AdobeID"), ("", "openid")] {
            let body = format!(r#"{{"access_token":"token","expires_in":3600{scope}}}"#);
            let (provider, asked) = ims(vec![(200, body)]).await;
            let grant = provider.grant().await.unwrap();
            assert_eq!(grant.scopes, expected);
            assert!(grant.expires_in > Duration::from_secs(3590) && grant.expires_in <= Duration::from_secs(3600));
            provider.grant().await.unwrap();
            assert_eq!(asked.load(Order::SeqCst), 1, "the token is cached");
        }
    }

    #[test]
    fn an_error_about_the_credential_contains_the_variables_it_was_read_from() {
        let text = |names| TokenError::Refused { status: 401, code: None, names }.to_string();
        assert!(text(CredentialNames::default()).ends_with("check IMS_CLIENT_ID, IMS_CLIENT_SECRET and IMS_SCOPES"));
        let own = text(CredentialNames::of_setup(true));
        assert!(own.ends_with("check SETUP_IMS_CLIENT_ID, SETUP_IMS_CLIENT_SECRET and SETUP_IMS_SCOPES"), "{own}");
        assert!(text(CredentialNames::of_setup(false)).ends_with("SETUP_IMS_CLIENT_SECRET and IMS_SCOPES"));
    }

    async fn lifetime(provider: &TokenProvider) -> Duration {
        let state = provider.state.lock().await;
        let cached = state.cached.as_ref().unwrap();
        cached.expires_at - cached.asked_at
    }

    async fn make_due(provider: &TokenProvider) {
        provider.state.lock().await.cached.as_mut().unwrap().renew_at = Instant::now();
    }
}
