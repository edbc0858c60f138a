//! Queries the admin addresses of the services.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;

use super::exposition::Exposition;
use super::look::{Answer, Look};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum size of a response in bytes. The metrics of a service have a few tens of thousands of bytes.
const LARGEST_BODY: usize = 8 << 20;

/// Builds a client for [`look`]. An address may belong to an unrelated server, so the client follows no redirects.
///
/// # Errors
/// Returns an error if the client cannot be built.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}

/// List of admin addresses: `host:port` separated by commas. An entry with only a port uses the host of the entry
/// before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddresses(Vec<(String, u16)>);

/// Error for a text that is not a list of admin addresses. The error does not contain the text, which may include a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("number {0} is not an address; write host:port, or a port alone for the host before it")]
pub struct AdminError(usize);

impl FromStr for AdminAddresses {
    type Err = AdminError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut addresses: Vec<(String, u16)> = Vec::new();
        for (index, word) in text.split(',').map(str::trim).enumerate() {
            let wrong = || AdminError(index + 1);
            let before = addresses.last().map(|(host, _)| host.clone());
            let (host, port) = match word.rsplit_once(':') {
                Some((host, port)) => (Some(host.to_owned()).filter(|host| is_host(host)), port),
                None => (before, word),
            };
            addresses.push((host.ok_or_else(wrong)?, port.parse().map_err(|_| wrong())?));
        }
        Ok(Self(addresses))
    }
}

/// Whether a text can be a host name or an IP address: it has no scheme, path, user or password.
fn is_host(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
    }
}

impl AdminAddresses {
    /// Returns each address as `host:port`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(host, port)| format!("{host}:{port}")).collect()
    }
}

impl fmt::Display for AdminAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

/// Requests `/readyz` and `/metrics` from every address. If a host has several IP addresses, each of them gets the
/// requests.
pub async fn look(addresses: &AdminAddresses, http: &reqwest::Client) -> Look {
    let mut asking = JoinSet::new();
    for (index, (host, port)) in addresses.0.iter().enumerate() {
        let (name, http) = (format!("{host}:{port}"), http.clone());
        asking.spawn(async move { (index, ask_name(&name, &http).await) });
    }
    let mut found: Vec<(usize, Vec<Answer>)> = asking.join_all().await;
    found.sort_by_key(|(index, _)| *index);
    Look { at: service::unix_millis(), answers: found.into_iter().flat_map(|(_, answers)| answers).collect() }
}

async fn ask_name(name: &str, http: &reqwest::Client) -> Vec<Answer> {
    let found = tokio::time::timeout(TIMEOUT, lookup_host(name)).await;
    let mut addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) => return vec![unanswered(name, "the name cannot be resolved")],
        Err(_) => return vec![unanswered(name, "the name server does not respond")],
    };
    addresses.sort_unstable();
    addresses.dedup();
    let is_one = addresses.len() == 1;
    let mut asking = JoinSet::new();
    for address in addresses {
        let shown = if is_one { name.to_owned() } else { format!("{name} ({})", address.ip()) };
        let http = http.clone();
        asking.spawn(async move { ask(&shown, address, &http).await });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by(|a, b| a.address.cmp(&b.address));
    // `localhost` often has an IPv4 and an IPv6 address, and the service listens at only one of them.
    let is_silent = |answer: &Answer| answer.ready.is_err();
    if name.starts_with("localhost:") && !answers.iter().all(is_silent) {
        answers.retain(|answer| !is_silent(answer));
    }
    answers
}

fn unanswered(address: &str, error: &str) -> Answer {
    Answer { address: address.to_owned(), ready: Err(error.to_owned()), metrics: Err(error.to_owned()) }
}

async fn ask(shown: &str, address: SocketAddr, http: &reqwest::Client) -> Answer {
    let ready = match get(http, address, "readyz").await {
        Ok((status, _)) if status.is_success() => Ok(None),
        Ok((status, text)) if status == reqwest::StatusCode::SERVICE_UNAVAILABLE => {
            let text = text.lines().next().unwrap_or_default();
            Ok(Some(text.strip_prefix("not ready: ").unwrap_or(text).to_owned()))
        }
        Ok((status, _)) => Err(format!("/readyz answered {status}")),
        Err(error) => return unanswered(shown, &error),
    };
    let metrics = match get(http, address, "metrics").await {
        Ok((status, text)) if status.is_success() => Exposition::parse(&text).map_err(|error| error.to_string()),
        Ok((status, _)) => Err(format!("/metrics answered {status}")),
        Err(error) => Err(error),
    };
    Answer { address: shown.to_owned(), ready, metrics }
}

async fn get(http: &reqwest::Client, address: SocketAddr, path: &str) -> Result<(reqwest::StatusCode, String), String> {
    let answer = http.get(format!("http://{address}/{path}")).timeout(TIMEOUT).send().await;
    let mut answer = answer.map_err(|error| reason(&error))?;
    let (status, mut body) = (answer.status(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_BODY {
            return Err(format!("/{path} answered with more than {} MiB", LARGEST_BODY >> 20));
        }
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no response in {} s", TIMEOUT.as_secs());
    }
    if error.is_connect() {
        return "nothing listens there".to_owned();
    }
    "the response is incomplete".to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Starts a server that responds to every request with these bytes.
    async fn server(answer: Vec<u8>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    drop(stream.read(&mut request).await);
                    drop(stream.write_all(&answer).await);
                });
            }
        });
        address.to_string()
    }

    #[tokio::test]
    async fn a_redirect_or_a_response_over_8_mib_is_an_error() {
        let with_body = |size: usize| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
            [head.into_bytes(), vec![b'\n'; size]].concat()
        };
        let ready = |answer: Vec<u8>| async move {
            let addresses = server(answer).await.parse().unwrap();
            look(&addresses, &client().unwrap()).await.answers.remove(0).ready
        };
        assert_eq!(ready(with_body(1000)).await, Ok(None));
        let too_large = ready(with_body(LARGEST_BODY + 1)).await;
        assert_eq!(too_large, Err("/readyz answered with more than 8 MiB".to_owned()));
        let target = server(with_body(1000)).await;
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{target}/readyz\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let redirected = ready(redirect.into_bytes()).await;
        assert!(redirected.as_ref().is_err_and(|error| error.contains("302")), "{redirected:?}");
    }

    #[test]
    fn an_address_without_a_host_uses_the_host_before_it() {
        let parse = |text: &str| text.parse::<AdminAddresses>().map(|addresses| addresses.to_string());
        assert_eq!(parse("127.0.0.1:9464,9465,9466").unwrap(), "127.0.0.1:9464,127.0.0.1:9465,127.0.0.1:9466");
        assert_eq!(parse("gateway:9464, sink:9466").unwrap(), "gateway:9464,sink:9466");
        assert_eq!(parse("[::1]:9464,9465").unwrap(), "[::1]:9464,[::1]:9465");
        for (text, number) in [("9464", 1), ("", 1), ("a:1,,b:2", 2), ("a:1,b:x", 2), ("http://a:1", 1), ("u:p@h:1", 1)]
        {
            assert_eq!(parse(text).unwrap_err(), AdminError(number), "{text}");
        }
    }
}
