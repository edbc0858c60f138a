//! Serves the console over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use service::connections;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::guard::Peer;
use crate::router::router;
use crate::state::Console;

/// Timeout for the headers of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(30);
/// Maximum size of the request headers, in bytes.
const BUFFER: usize = 32 * 1024;
/// Maximum number of connections. At the limit, a new connection closes the oldest one, and its browser reconnects.
const CONNECTIONS: usize = 200;
/// Time that open responses have to end after the stop. Streams end immediately.
const DRAIN: Duration = Duration::from_secs(2);

/// The console with a bound listener, before it serves requests.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    console: Console,
}

impl Server {
    /// Creates the server on this listener, which must have the address of the settings.
    #[must_use]
    pub fn new(listener: TcpListener, console: &Console) -> Self {
        Self { listener, router: router(console), console: console.clone() }
    }

    /// Serves requests until `stop` is cancelled.
    pub async fn serve(self, stop: CancellationToken) {
        for warning in self.console.settings().warnings() {
            tracing::warn!("{warning}");
        }
        let (console, follows) = (self.console.clone(), stop.clone());
        let following = tokio::spawn(async move { console.follow(follows).await });
        let connection = |stream, peer| serve(stream, peer, self.router.clone(), stop.clone());
        let mut tasks = connections::accept(self.listener, CONNECTIONS, &stop, connection).await;
        let ended = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tasks.abort_all();
        }
        following.abort();
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let answer = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
        let router = router.clone();
        async move {
            let answer: Result<_, Infallible> = router.oneshot(request).await;
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the console ended early");
    }
}
