//! Classifies the failure of a request that has no response.

use std::error::Error as _;
use std::fmt;

/// Reason why a request has no response. Except for `Connect`, it is unknown whether the request reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Connect(Unreached),
    /// No response arrived in time.
    Timeout,
    /// The connection broke before a complete response arrived.
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

/// Reason why no connection could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// The host name cannot be resolved.
    Dns,
    /// The certificate is not valid, or the server does not speak TLS.
    Tls,
    /// The connection was refused, or there is no route.
    Other,
}

/// Returns the reason why a request has no response.
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

/// Classifies a failed connection by the texts of its causes, because the HTTP client has no other distinction.
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::HttpSettings;

    async fn failure_at(address: String) -> Failure {
        let timeout = Duration::from_secs(20);
        let settings = HttpSettings { timeout, ca_file: None, https_proxy: None, no_proxy: None };
        failure(&settings.client().unwrap().get(address).send().await.unwrap_err())
    }

    /// Starts a server that reads once from each client, sends `response` and closes the connection.
    async fn server(response: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                drop(stream.read(&mut [0; 1024]).await);
                drop(stream.write_all(response).await);
            }
        });
        address
    }

    /// Fails if a new version of the HTTP client changes the texts of its errors.
    #[tokio::test]
    async fn dns_tls_and_connection_failures_of_the_http_client_are_distinguished() {
        let unreached = Failure::Connect;
        assert_eq!(failure_at("http://no-such-host.invalid/".to_owned()).await, unreached(Unreached::Dns));
        let without_tls = server(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert_eq!(failure_at(format!("https://{without_tls}/")).await, unreached(Unreached::Tls));
        // No process listens on port 1.
        assert_eq!(failure_at("http://127.0.0.1:1/".to_owned()).await, unreached(Unreached::Other));
        let silent = server(b"").await;
        assert_eq!(failure_at(format!("http://{silent}/")).await, Failure::Interrupted);
    }
}
