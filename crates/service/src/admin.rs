//! The admin server: `/livez`, `/readyz`, `/metrics`, and, for a service that an operator can hold, `POST /hold` and
//! `POST /release`.
//!
//! Liveness means only that the process responds; readiness means that the service can work. The server limits its
//! clients, so that none of them can block the others, or use up the file descriptors or memory of the service.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{OPERATOR_HEADER, OperatorHold, Readiness, connections};

/// Error of starting the admin server.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the admin server: {source}; choose another ADMIN_LISTEN")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The limits for clients and their connections.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Time limit for the headers of a request.
    head: Duration,
    /// Time for which a connection serves requests. A request in progress at the end of this time gets `head` to
    /// finish.
    lifetime: Duration,
    /// The maximum number of connections.
    connections: usize,
}

const LIMITS: Limits = Limits { head: Duration::from_secs(10), lifetime: Duration::from_secs(120), connections: 100 };

/// Maximum size of the request headers, in bytes.
const BUFFER: usize = 16 * 1024;

/// The admin server, bound but not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    pages: Pages,
    limits: Limits,
}

/// The state that the pages show and change.
#[derive(Debug, Clone)]
struct Pages {
    registry: Registry,
    readiness: Readiness,
    hold: OperatorHold,
}

impl AdminServer {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`AdminError`] if the address is taken or not allowed.
    pub async fn bind(address: SocketAddr, registry: Registry, readiness: Readiness) -> Result<Self, AdminError> {
        let listener = TcpListener::bind(address).await.map_err(|source| AdminError { address, source })?;
        let pages = Pages { registry, readiness, hold: OperatorHold::default() };
        Ok(Self { listener, pages, limits: LIMITS })
    }

    /// Enables `POST /hold` and `POST /release`. They respond with 404 until the service calls [`OperatorHold::offer`].
    #[must_use]
    pub fn with_hold(mut self, hold: OperatorHold) -> Self {
        self.pages.hold = hold;
        self
    }

    /// Returns the bound address, with the actual port if port 0 was configured.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `stop` is cancelled, and then completes the requests in progress.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listener, pages, limits } = self;
        let connection = |stream, _| serve(stream, pages.clone(), limits, stop.clone());
        let mut tasks = connections::accept(listener, limits.connections, &stop, connection).await;
        while tasks.join_next().await.is_some() {}
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream, pages: Pages, limits: Limits, stop: CancellationToken) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = pages.answer(&request);
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end_of_service(limits.lifetime, &stop) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.head, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

async fn end_of_service(lifetime: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(lifetime) => {}
        () = stop.cancelled() => {}
    }
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let held = match request.uri().path() {
            "/hold" => Some(true),
            "/release" => Some(false),
            _ => None,
        };
        if let (&Method::POST, Some(held)) = (request.method(), held) {
            return self.hold(held, request.headers().contains_key(OPERATOR_HEADER));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is allowed\n");
        }
        match request.uri().path() {
            "/livez" => answer(StatusCode::OK, PLAIN, "ok\n"),
            "/readyz" => match self.readiness.unready_reason() {
                None => answer(StatusCode::OK, PLAIN, "ready\n"),
                Some(reason) => answer(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("not ready: {reason}\n")),
            },
            "/metrics" => self.metrics(),
            _ => answer(StatusCode::NOT_FOUND, PLAIN, "there are /livez, /readyz and /metrics\n"),
        }
    }

    fn hold(&self, held: bool, is_operator: bool) -> Response<Body> {
        if !is_operator {
            return answer(StatusCode::FORBIDDEN, PLAIN, format!("the header {OPERATOR_HEADER} is missing\n"));
        }
        match (self.hold.set(held), held) {
            (false, _) => answer(StatusCode::NOT_FOUND, PLAIN, "this service cannot be held\n"),
            (true, true) => answer(StatusCode::OK, PLAIN, "held\n"),
            (true, false) => answer(StatusCode::OK, PLAIN, "released\n"),
        }
    }

    fn metrics(&self) -> Response<Body> {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => answer(StatusCode::OK, prometheus::TEXT_FORMAT, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, error.to_string()),
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    async fn start(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let (registry, readiness) = (crate::registry("test"), Readiness::default());
        let mut server = AdminServer::bind(([127, 0, 0, 1], 0).into(), registry, readiness).await.unwrap();
        server.limits = limits;
        let (address, stop) = (server.address().unwrap(), CancellationToken::new());
        (address, stop.clone(), tokio::spawn(server.serve(stop)))
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    }

    /// Waits for the other side to close the connection.
    async fn closed(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        let closing = stream.read_to_end(&mut rest);
        drop(tokio::time::timeout(Duration::from_secs(5), closing).await.expect("the connection is closed"));
    }

    #[tokio::test]
    async fn livez_readyz_and_metrics_are_served_and_other_requests_get_404_or_405() {
        let (address, stop, ended) = start(LIMITS).await;
        assert!(ask(address, &get("/livez")).await.starts_with("HTTP/1.1 200"));
        let unready = ask(address, &get("/readyz?verbose")).await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("not ready: starting\n"), "{unready}");
        let metrics = ask(address, &get("/metrics")).await;
        assert!(
            metrics.contains("text/plain; version=0.0.4") && metrics.contains("customerio_build_info"),
            "{metrics}"
        );
        assert!(ask(address, &get("/")).await.starts_with("HTTP/1.1 404"));
        assert!(ask(address, &get("/livez").replace("GET", "POST")).await.starts_with("HTTP/1.1 405"));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_hold_request_gets_403_without_the_operator_header_and_404_if_no_hold_is_offered() {
        let hold = OperatorHold::default();
        let (registry, readiness) = (crate::registry("test"), Readiness::default());
        let server = AdminServer::bind(([127, 0, 0, 1], 0).into(), registry, readiness).await.unwrap();
        let server = server.with_hold(hold.clone());
        let (address, stop) = (server.address().unwrap(), CancellationToken::new());
        tokio::spawn(server.serve(stop.clone()));
        let post = |path: &str, header: &str| get(path).replace("GET", "POST").replace("host: x", header);
        let operator = format!("host: x\r\n{OPERATOR_HEADER}: me");
        assert!(
            ask(address, &post("/hold", &operator)).await.starts_with("HTTP/1.1 404"),
            "the service does not offer a hold"
        );
        hold.offer();
        assert!(ask(address, &post("/hold", "host: x")).await.starts_with("HTTP/1.1 403"));
        assert!(ask(address, &get("/hold")).await.starts_with("HTTP/1.1 404"), "a GET does not hold the service");
        assert!(!hold.is_held());
        assert!(ask(address, &post("/hold", &operator)).await.starts_with("HTTP/1.1 200"));
        assert!(hold.is_held());
        assert!(ask(address, &post("/release", &operator)).await.starts_with("HTTP/1.1 200"));
        assert!(!hold.is_held());
        stop.cancel();
    }

    #[tokio::test]
    async fn a_client_that_has_not_sent_its_headers_in_time_is_disconnected() {
        let (address, _stop, _) = start(Limits { head: Duration::from_millis(200), ..LIMITS }).await;
        let started = Instant::now();
        for begun in ["", "GET /metrics HTTP/1.1\r\nhost:"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            closed(&mut stream).await;
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn an_admin_connection_is_closed_at_the_end_of_its_lifetime() {
        // `head` is longer than the test waits, so only `lifetime` can end the connection.
        let limits = Limits { lifetime: Duration::from_millis(200), head: Duration::from_secs(60), connections: 10 };
        let (address, _stop, _) = start(limits).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        closed(&mut stream).await;
    }

    #[tokio::test]
    async fn at_the_connection_limit_the_oldest_connection_is_closed_and_probes_get_200() {
        let (address, _stop, _) = start(Limits { connections: 5, ..LIMITS }).await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(TcpStream::connect(address).await.unwrap());
            assert!(ask(address, &get("/livez")).await.starts_with("HTTP/1.1 200"));
        }
        for stream in &mut silent[..35] {
            closed(stream).await;
        }
    }
}
