//! Sends batches of events to an inlet of Platform.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

use crate::failure::failure;
use crate::inlet::InletUrl;
use crate::token::{TokenError, TokenProvider};
use crate::verdict::{Answer, Response, retry_after};

/// Connection settings of the client that sends batches.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Address that batches are sent to.
    pub inlet: InletUrl,
    /// The organisation; sent as `x-gw-ims-org-id`.
    pub ims_org: String,
    /// The sandbox; sent as `x-sandbox-name`.
    pub sandbox: Option<String>,
    /// The dataflow; sent as `x-adobe-flow-id`.
    pub flow_id: Option<String>,
    /// Maximum time of a request.
    pub timeout: Duration,
    /// PEM file with additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Address of the proxy for https requests, in the form of `HTTPS_PROXY`. It may contain a password.
    pub https_proxy: Option<SecretString>,
    /// Hosts that are reached without the proxy, in the form of `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// The reason why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file with the certificate authority cannot be used.
    #[error("PLATFORM_CA_FILE: {0}")]
    CaFile(String),
    /// A value contains characters that a header cannot carry.
    #[error("{0} holds characters that cannot be sent in a header")]
    Header(&'static str),
    /// The proxy's address is not valid.
    #[error("HTTPS_PROXY: {0}")]
    Proxy(String),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Http(String),
}

/// Settings of an HTTP client: timeout, certificate authorities and proxy.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Maximum time of a request.
    pub timeout: Duration,
    /// PEM file with additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Address of the proxy for https requests, in the form of `HTTPS_PROXY`. It may contain a password.
    pub https_proxy: Option<SecretString>,
    /// Hosts that are reached without the proxy, in the form of `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl HttpSettings {
    /// Builds an HTTP client with these settings. The client does not follow redirects.
    ///
    /// # Errors
    /// Returns a [`ClientError`] if the certificate file or the proxy's address cannot be used.
    pub fn client(&self) -> Result<reqwest::Client, ClientError> {
        build(self)
    }
}

/// Builds an HTTP client, as [`HttpSettings::client`] does, with the HTTP settings in a [`ClientSettings`].
///
/// # Errors
/// Returns a [`ClientError`] if the certificate file or the proxy's address cannot be used.
pub fn http_client(settings: &ClientSettings) -> Result<reqwest::Client, ClientError> {
    build(&HttpSettings {
        timeout: settings.timeout,
        ca_file: settings.ca_file.clone(),
        https_proxy: settings.https_proxy.clone(),
        no_proxy: settings.no_proxy.clone(),
    })
}

fn build(settings: &HttpSettings) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .timeout(settings.timeout)
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("customerio-aep/", env!("CARGO_PKG_VERSION")))
        // Only `settings` decide about the proxy. By default, reqwest would also read environment variables.
        .no_proxy();
    if let Some(path) = &settings.ca_file {
        let pem = settings::read_bytes(path).map_err(|error| ClientError::CaFile(error.to_string()))?;
        let wrong = |reason: &str| ClientError::CaFile(format!("{}: {reason}", path.display()));
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| wrong("it is not well-formed PEM"))?;
        if certificates.is_empty() {
            return Err(wrong("it contains no PEM certificate"));
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(proxy) = &settings.https_proxy {
        let except = settings.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        let proxy = reqwest::Proxy::https(proxy.expose_secret())
            .map_err(|_| ClientError::Proxy("it is not the address of a proxy".to_owned()))?;
        builder = builder.proxy(proxy.no_proxy(except));
    }
    builder.build().map_err(|error| ClientError::Http(error.to_string()))
}

/// Maximum number of bytes of a response body that are read. The response to a full batch needs about a tenth of this.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// Client that sends batches to one inlet.
pub struct PlatformClient {
    http: reqwest::Client,
    inlet: InletUrl,
    headers: HeaderMap,
    tokens: Option<TokenProvider>,
    on_date: OnDate,
}

/// Callback that receives the time in the `Date` header of each response, in Unix seconds.
pub type OnDate = Box<dyn Fn(i64) + Send + Sync>;

impl fmt::Debug for PlatformClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformClient").field("inlet", &self.inlet).finish_non_exhaustive()
    }
}

impl PlatformClient {
    /// Creates a client for one inlet. If `tokens` is `None`, the inlet must not require authentication.
    ///
    /// # Errors
    /// Returns a [`ClientError`] if a setting cannot be sent in a header.
    pub fn new(
        settings: &ClientSettings,
        http: reqwest::Client,
        tokens: Option<TokenProvider>,
        on_date: OnDate,
    ) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let optional = [
            ("x-gw-ims-org-id", Some(&settings.ims_org), "PLATFORM_IMS_ORG"),
            ("x-sandbox-name", settings.sandbox.as_ref(), "PLATFORM_SANDBOX"),
            ("x-adobe-flow-id", settings.flow_id.as_ref(), "PLATFORM_FLOW_ID"),
        ];
        for (name, value, variable) in optional {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value).map_err(|_| ClientError::Header(variable))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Ok(Self { http, inlet: settings.inlet.clone(), headers, tokens, on_date })
    }

    /// Sends one batch. A token that Platform refuses is discarded, so that the next request gets a new token.
    pub async fn send_batch(&self, body: Bytes) -> Answer {
        match self.token().await {
            Ok(token) => self.send_batch_with(body, token.as_ref()).await,
            Err(error) => Answer::NoToken(error),
        }
    }

    /// Returns the token for the next request; `None` for an inlet without authentication.
    ///
    /// # Errors
    /// Returns a [`TokenError`] if there is no valid token.
    pub async fn token(&self) -> Result<Option<SecretString>, TokenError> {
        match &self.tokens {
            None => Ok(None),
            Some(tokens) => tokens.token().await.map(Some),
        }
    }

    /// Sends one batch with the given token. If the response is 401 or 403, the token is discarded.
    pub async fn send_batch_with(&self, body: Bytes, token: Option<&SecretString>) -> Answer {
        let answer = self.request(body, token).await;
        if let (Answer::Response(response), Some(tokens), Some(token)) = (&answer, &self.tokens, token)
            && matches!(response.status, 401 | 403)
        {
            tokens.invalidate(token).await;
        }
        answer
    }

    /// Discards the cached token if it was requested at or before `sent_at`. Call this after a response whose entries
    /// refuse the token; `sent_at` is the time at which the request was sent.
    pub async fn forget_token(&self, sent_at: tokio::time::Instant) {
        if let Some(tokens) = &self.tokens {
            tokens.invalidate_before(sent_at).await;
        }
    }

    async fn request(&self, body: Bytes, token: Option<&SecretString>) -> Answer {
        let mut request = self.http.post(self.inlet.batch_url().clone()).headers(self.headers.clone()).body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Answer::Failed(failure(&error)),
        };
        let status = response.status().as_u16();
        if let Some(date) = response.headers().get(DATE).and_then(|value| http_date(value.to_str().ok()?)) {
            (self.on_date)(date);
        }
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, jiff::Timestamp::now()));
        match body_up_to_limit(response).await {
            Ok((body, _)) => Answer::Response(Response { status, retry_after: wait, body }),
            Err(error) => Answer::Failed(failure(&error)),
        }
    }
}

/// Reads the body of a response up to [`ANSWER_LIMIT`] bytes and returns whether the limit was reached. A truncated
/// body is not valid JSON, so none of its entries is read.
pub(crate) async fn body_up_to_limit(mut response: reqwest::Response) -> Result<(Bytes, bool), reqwest::Error> {
    let mut is_cut = false;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_LIMIT - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            tracing::warn!(limit = ANSWER_LIMIT, "a response of Platform was longer than the limit and was cut");
            is_cut = true;
            break;
        }
    }
    Ok((body.freeze(), is_cut))
}

fn http_date(text: &str) -> Option<i64> {
    Some(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_endless_response_is_truncated_at_the_limit() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 207 Multi-Status\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            // The response never ends: only the client can close the connection.
            while stream.write_all(&chunk).await.is_ok() {}
        });
        let settings = ClientSettings {
            inlet: format!("http://{address}/collection/a").parse().unwrap(),
            ims_org: "o@AdobeOrg".into(),
            sandbox: None,
            flow_id: None,
            timeout: Duration::from_secs(30),
            ca_file: None,
            https_proxy: None,
            no_proxy: None,
        };
        let client = PlatformClient::new(&settings, http_client(&settings).unwrap(), None, Box::new(|_| {})).unwrap();
        let Answer::Response(answer) = client.send_batch(Bytes::from_static(b"{}")).await else { panic!("no answer") };
        assert_eq!((answer.status, answer.body.len()), (207, ANSWER_LIMIT));
        server.await.unwrap();
    }
}
