//! `--health`: checks whether the running service is ready. Container images without a shell use it as their health
//! check.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Time limit for connecting and for each read.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of bytes that are read from a response. Only the status line and the reason are needed.
const LONGEST_RESPONSE: u64 = 16 * 1024;

/// Error for a service that does not count as ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// The admin server cannot be reached.
    #[error("no response from the admin server on {address}: {source}; is the service running with this ADMIN_LISTEN?")]
    NoResponse { address: SocketAddr, source: std::io::Error },
    /// The service responds that it is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Requests `/readyz` from the service whose admin server listens on this address.
pub(crate) fn ask(listens: SocketAddr) -> Result<(), HealthError> {
    let address = reachable(listens);
    let response = get(address).map_err(|source| HealthError::NoResponse { address, source })?;
    match response.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => {
            let reason = last_line(&response);
            Err(HealthError::NotReady(reason.strip_prefix("not ready: ").unwrap_or(reason).to_owned()))
        }
    }
}

/// Returns the address for the request: loopback, if the service listens on every address.
#[must_use]
pub fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.take(LONGEST_RESPONSE).read_to_string(&mut response)?;
    Ok(response)
}

/// Returns the last line of the body, which contains the reason.
fn last_line(response: &str) -> &str {
    let line = response.trim_end().rsplit('\n').next().map_or("", str::trim);
    if line.is_empty() { "an empty response" } else { line }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Starts a server that sends one response.
    fn responding(response: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(response.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_health_check_of_a_ready_service_succeeds() {
        ask(responding("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")).unwrap();
    }

    #[test]
    fn the_health_check_of_an_unready_service_fails_with_its_reason() {
        let address = responding("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 20\r\n\r\nnot ready: starting\n");
        assert_eq!(ask(address).unwrap_err().to_string(), "not ready: starting");
        assert_eq!(ask(responding("")).unwrap_err().to_string(), "not ready: an empty response");
    }

    #[test]
    fn the_health_check_fails_if_no_service_listens_on_the_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = ask(free).unwrap_err().to_string();
        assert!(error.contains(&free.to_string()) && error.contains("ADMIN_LISTEN"), "{error}");
    }

    #[test]
    fn the_health_check_of_a_service_that_listens_on_every_address_uses_loopback() {
        let reached = |listens: &str| reachable(listens.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("10.0.0.7:9464"), "10.0.0.7:9464");
    }
}
