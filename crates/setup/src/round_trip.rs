//! A signed request through the public URL to the gateway, which verifies that Customer.io's webhooks will be accepted.
//!
//! The body has the object type [`customerio::CHECK_OBJECT_TYPE`]. The transformer recognises this type and does not
//! forward the event.

use std::error::Error as _;
use std::time::{Duration, Instant};

use customerio::{SigningKey, TestPerson, check_body, sign, test_body};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

/// Time-out of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Slowest accepted response. Customer.io gives up after 4 s; a gateway that needs 1 s while idle is too slow under
/// load.
const SLOW: Duration = Duration::from_secs(1);
/// Description of the certificates that a public URL's certificate is verified with, for messages.
pub(crate) const PUBLIC_ROOTS: &str = "one of the public root certificates (Mozilla's list, as of this version)";

/// The reason why webhooks would not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoundTripError {
    /// The host name does not resolve to an address.
    #[error("the host name of the public URL cannot be resolved; check CUSTOMERIO_PUBLIC_URL and the DNS entry")]
    Dns,
    /// The certificate cannot be verified with the public root certificates, nor with those of this machine. The text
    /// is the cause.
    #[error(
        "the certificate of the public URL cannot be verified ({0}); the server must send its certificate with all \
         intermediates, for this host name, from a public authority. Customer.io waits an hour after each attempt"
    )]
    Certificate(String),
    /// This machine accepts the certificate only because it trusts additional authorities. The text is the error of the
    /// verification with the public root certificates.
    #[error(
        "this machine accepts the certificate of the public URL, but Customer.io will not accept it: it does not lead \
         to {roots} ({0}). Use a certificate from a public authority, and let the server send all intermediates; \
         an authority that is installed on this machine does not count",
        roots = PUBLIC_ROOTS
    )]
    PrivateAuthority(String),
    /// No connection was established. The text is the cause.
    #[error(
        "there is no connection to the public URL ({0}); check that the gateway runs, and the proxy and firewall before it"
    )]
    NoConnection(String),
    /// No response arrived within the time-out.
    #[error("the public URL did not answer within {} s; check the gateway (its /readyz) and what is before it", TIMEOUT.as_secs())]
    NoAnswer,
    /// The server redirects the request.
    #[error(
        "the public URL redirects (HTTP {status}) to {to}; Customer.io does not follow: set CUSTOMERIO_PUBLIC_URL to the final address"
    )]
    Redirect {
        /// HTTP status code.
        status: u16,
        /// Target of the redirect, without its query.
        to: String,
    },
    /// The gateway refuses the signature of every body.
    #[error(
        "the gateway refuses the signature (HTTP 401): its signing key is not the one given here. Put the key of the page \
         Reporting Webhooks on the first line of the gateway's CUSTOMERIO_SIGNING_KEYS_FILE"
    )]
    OtherKey,
    /// The gateway refuses the signature only of a body with unusual bytes.
    #[error(
        "the gateway refuses the signature of a body with non-ASCII text and unusual white space, and accepts a plain one: \
         something before the gateway changes the body. It must be passed on byte for byte"
    )]
    BodyChanged,
    /// A request with a wrong signature is accepted, with this status.
    #[error(
        "the public URL accepts a wrong signature (HTTP {0}): it is not this product's gateway, or something before it answers in its place"
    )]
    AcceptsAnything(u16),
    /// The response is 404: the path does not lead to the gateway.
    #[error(
        "the public URL answers HTTP 404: it is another server, or the gateway does not know this source; check CUSTOMERIO_PUBLIC_URL and SOURCES_FILE"
    )]
    NotFound,
    /// The response is 503: the gateway cannot write to Kafka.
    #[error("the gateway answers HTTP 503: Kafka does not acknowledge; see its log")]
    NotStored,
    /// Any other status.
    #[error("the public URL answers HTTP {0}, and only 202 means stored; check what is before the gateway")]
    Status(u16),
    /// The gateway is too slow. The value is the duration in milliseconds.
    #[error(
        "the gateway stored the body after {0} ms; Customer.io gives up after 4 s, so it should take less than a second: check Kafka's latency and what is before the gateway"
    )]
    Slow(u64),
}

impl RoundTripError {
    /// An identifier for machine-readable output.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Certificate(_) => "certificate",
            Self::PrivateAuthority(_) => "private_authority",
            Self::NoConnection(_) => "no_connection",
            Self::NoAnswer => "no_answer",
            Self::Redirect { .. } => "redirect",
            Self::OtherKey => "other_key",
            Self::BodyChanged => "body_changed",
            Self::AcceptsAnything(_) => "accepts_anything",
            Self::NotFound => "not_found",
            Self::NotStored => "not_stored",
            Self::Status(_) => "status",
            Self::Slow(_) => "slow",
        }
    }
}

/// Sends signed test requests to public URLs.
#[derive(Debug, Clone)]
pub struct RoundTrips {
    /// Client that trusts only the public root certificates.
    http: reqwest::Client,
    /// Client that trusts the authorities of this machine. It is used only to find out why a certificate was refused.
    /// `None` if the machine has no trust store, as in some containers.
    on_this_machine: Option<reqwest::Client>,
}

/// The result of a round trip through a gateway that stores signed webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Time from the request to the response, in milliseconds.
    pub millis: u64,
}

impl RoundTrips {
    /// Creates a client without a proxy, which trusts only the public root certificates, as Customer.io does.
    ///
    /// # Errors
    /// A message if the HTTP client cannot be set up.
    pub fn new() -> Result<Self, String> {
        Self::with_installed(Vec::new())
    }

    /// Like [`RoundTrips::new`], on a machine that also trusts these authorities.
    ///
    /// # Errors
    /// A message if the HTTP client cannot be set up.
    pub fn with_installed(authorities: Vec<reqwest::Certificate>) -> Result<Self, String> {
        let builder = || {
            reqwest::Client::builder()
                .timeout(TIMEOUT)
                .connect_timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .user_agent(concat!("customerio-aep/", env!("CARGO_PKG_VERSION"), " (check)"))
        };
        let http = builder().tls_certs_only(public_roots()?).build().map_err(|error| error.to_string())?;
        let on_this_machine = builder().tls_certs_merge(authorities).build().ok();
        Ok(Self { http, on_this_machine })
    }

    /// Sends a request with a wrong signature, which must be refused. Then sends a signed body with unusual bytes,
    /// which must be stored.
    ///
    /// # Errors
    /// [`RoundTripError`].
    pub async fn check(&self, url: &Url, key: &SecretString) -> Result<Accepted, RoundTripError> {
        let event_id = format!("customerio-aep-check-{}", jiff::Timestamp::now().as_nanosecond());
        let now = jiff::Timestamp::now().as_second();
        let unusual = check_body(&event_id, now, true);
        let signing_key = SigningKey::new(key.expose_secret().trim());
        match self.send(url, &unusual, None).await? {
            (401, _, _) => {}
            (status @ 200..=299, _, _) => return Err(RoundTripError::AcceptsAnything(status)),
            (status, location, _) => return Err(refused(status, location)),
        }
        match self.send(url, &unusual, Some(&signing_key)).await? {
            (202, _, time) if time < SLOW => Ok(Accepted { millis: millis(time) }),
            (202, _, time) => Err(RoundTripError::Slow(millis(time))),
            (401, _, _) => {
                let plain = check_body(&format!("{event_id}-plain"), now, false);
                match self.send(url, &plain, Some(&signing_key)).await? {
                    (202, _, _) => Err(RoundTripError::BodyChanged),
                    _ => Err(RoundTripError::OtherKey),
                }
            }
            (status, location, _) => Err(refused(status, location)),
        }
    }

    /// Sends a marked event that is delivered to Platform. Without `person`, the event has no identity.
    ///
    /// # Errors
    /// [`RoundTripError`].
    pub async fn send_test_event(
        &self,
        url: &Url,
        key: &SecretString,
        event_id: &str,
        person: Option<&TestPerson>,
    ) -> Result<(), RoundTripError> {
        self.send_event(url, key, &test_body(event_id, jiff::Timestamp::now().as_second(), person)).await
    }

    /// Sends this body with a signature.
    ///
    /// # Errors
    /// [`RoundTripError`].
    pub async fn send_event(&self, url: &Url, key: &SecretString, body: &str) -> Result<(), RoundTripError> {
        let signing_key = SigningKey::new(key.expose_secret().trim());
        match self.send(url, body, Some(&signing_key)).await? {
            (202, _, _) => Ok(()),
            (status, location, _) => Err(refused(status, location)),
        }
    }

    /// Sends a body. Returns the status, the `Location` header and the time until the response. Without a key, the
    /// signature is wrong.
    async fn send(
        &self,
        url: &Url,
        body: &str,
        key: Option<&SigningKey>,
    ) -> Result<(u16, Option<String>, Duration), RoundTripError> {
        let timestamp = jiff::Timestamp::now().as_second().to_string();
        let signature = match key {
            Some(key) => sign(key, &timestamp, body.as_bytes()),
            None => "0".repeat(64),
        };
        let request = self
            .http
            .post(url.clone())
            .header("content-type", "application/json")
            .header("x-cio-timestamp", timestamp)
            .header("x-cio-signature", signature)
            .body(body.to_owned());
        let start = Instant::now();
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explained(url, failure(&error)).await),
        };
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((answer.status().as_u16(), location, start.elapsed()))
    }

    /// After a certificate was refused, finds out whether this machine would accept it. The request for that has
    /// neither a body nor a signature.
    async fn explained(&self, url: &Url, failure: RoundTripError) -> RoundTripError {
        let (RoundTripError::Certificate(cause), Some(client)) = (&failure, &self.on_this_machine) else {
            return failure;
        };
        let is_accepted = match client.get(url.clone()).send().await {
            Ok(_) => true,
            // An error after the TLS handshake: the certificate was accepted.
            Err(error) => !error.is_connect() && !error.is_timeout(),
        };
        if is_accepted { RoundTripError::PrivateAuthority(cause.clone()) } else { failure }
    }
}

/// The public root certificates, which do not depend on this machine's trust store.
fn public_roots() -> Result<Vec<reqwest::Certificate>, String> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    roots.map(|root| reqwest::Certificate::from_der(root).map_err(|error| error.to_string())).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn refused(status: u16, location: Option<String>) -> RoundTripError {
    match status {
        300..=399 => {
            let to = location.as_deref().and_then(|to| to.split(['?', '#']).next()).unwrap_or("nowhere").to_owned();
            RoundTripError::Redirect { status, to }
        }
        401 => RoundTripError::OtherKey,
        404 => RoundTripError::NotFound,
        503 => RoundTripError::NotStored,
        status => RoundTripError::Status(status),
    }
}

/// Classifies an error of the HTTP client by the texts of its causes.
fn failure(error: &reqwest::Error) -> RoundTripError {
    if error.is_timeout() {
        return RoundTripError::NoAnswer;
    }
    let (mut texts, mut next) = (Vec::new(), error.source());
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    let innermost = texts.last().cloned().unwrap_or_else(|| "unknown".to_owned());
    let says = |words: &[&str]| texts.iter().any(|text| words.iter().any(|word| text.contains(word)));
    if says(&["dns error", "failed to lookup address"]) {
        RoundTripError::Dns
    } else if says(&["certificate", "UnknownIssuer", "NotValidForName", "invalid peer"]) {
        RoundTripError::Certificate(innermost)
    } else {
        RoundTripError::NoConnection(innermost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_root_certificates_can_be_used() {
        assert!(public_roots().unwrap().len() > 100);
        RoundTrips::new().unwrap();
    }

    #[test]
    fn the_message_for_a_redirect_omits_the_query_of_the_target() {
        let error = refused(301, Some("https://x.example/login?token=topsecret".to_owned()));
        assert_eq!(error.code(), "redirect");
        assert!(!error.to_string().contains("topsecret") && error.to_string().contains("https://x.example/login"));
    }
}
