//! Why a request has no response.

use std::error::Error as _;
use std::fmt;

/// Why there is no response. Except for `Connect`, it is unknown whether the request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect(Unreached),
    /// No response arrived in time.
    Timeout,
    /// The connection broke.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect(Unreached::Dns) => "the host name cannot be resolved",
            Self::Connect(Unreached::Tls) => "the TLS handshake failed",
            Self::Connect(Unreached::Other) => "no connection",
            Self::Timeout => "no answer in time",
            Self::Interrupted => "the connection broke",
        })
    }
}

/// Why no connection could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// The host name cannot be resolved.
    Dns,
    /// The certificate is not valid, or the server does not speak TLS.
    Tls,
    /// The connection was refused, or there is no route.
    Other,
}

/// Why a request has no response.
pub(crate) fn failure(error: &reqwest::Error) -> Failure {
    let (mut causes, mut next) = (Vec::new(), error.source());
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    tracing::debug!(?causes, "a request failed");
    if error.is_connect() {
        Failure::Connect(unreached(&causes))
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Interrupted
    }
}

/// The HTTP client distinguishes these only by their text.
fn unreached(causes: &[String]) -> Unreached {
    let any = |words: &[&str]| causes.iter().any(|cause| words.iter().any(|word| cause.contains(word)));
    if any(&["dns error", "failed to lookup address"]) {
        Unreached::Dns
    } else if any(&["certificate", "TLS", "tls", "InvalidContentType", "corrupt message"]) {
        Unreached::Tls
    } else {
        Unreached::Other
    }
}
