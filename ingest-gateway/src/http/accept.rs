//! Accepts connections, and closes them during a stop without losing a response.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use service::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop::unconstrained;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::config::Settings;
use crate::http::admission::{Admitted, Connections};
use crate::http::connection::{self, TrackedBody};
use crate::ingest::Gateway;
use crate::metrics::Metrics;
use crate::publish::Publish;
use crate::tls::Tls;
use settings::watched::Current;

/// The state that all connections share.
pub(crate) struct Server<P> {
    gateway: Gateway<P>,
    connections: Connections,
    tls: Option<Arc<Current<Tls>>>,
    metrics: Arc<Metrics>,
    http: http1::Builder,
    read_timeout: Duration,
    /// Whether every response contains `Connection: close`.
    draining: AtomicBool,
    /// Cancelled when connections must end.
    finish: CancellationToken,
}

impl<P: Publish> Server<P> {
    pub(crate) fn new(
        gateway: Gateway<P>,
        settings: &Settings,
        max_connections: usize,
        tls: Option<Arc<Current<Tls>>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            gateway,
            connections: Connections::new(max_connections, settings.read_timeout, metrics.connections.clone()),
            tls,
            metrics,
            http: connection::http(),
            read_timeout: settings.read_timeout,
            draining: AtomicBool::new(false),
            finish: CancellationToken::new(),
        }
    }

    /// Serves until `context.stop` is cancelled and then for the drain delay. Then lets every request in progress
    /// finish, within `SHUTDOWN_TIMEOUT`.
    pub(crate) async fn serve(self, listener: TcpListener, drain_delay: Duration, context: &Context) {
        let server = Arc::new(self);
        let tasks = TaskTracker::new();
        let drained = async {
            context.stop.cancelled().await;
            context.readiness.set_unready("draining");
            server.draining.store(true, Ordering::Relaxed);
            tracing::info!(delay = ?drain_delay, "draining: still answering");
            tokio::time::sleep(drain_delay).await;
        };
        // The accepted connection that waits for a slot. It is kept here, so that it survives the end of the accept
        // loop.
        let mut waiting = None;
        tokio::select! {
            () = drained => {}
            never = server.accept(&listener, &mut waiting, &tasks) => match never {},
        }
        let ended = async {
            // `join` polls `begin_queued` first: queued connections that get a slot at once start before the open
            // connections are asked to end.
            let finish = async { server.finish.cancel() };
            join(server.begin_queued(listener, waiting, &tasks), finish).await;
            tasks.close();
            tasks.wait().await;
        };
        let left = context.shutdown_timeout.saturating_sub(drain_delay);
        if tokio::time::timeout(left, ended).await.is_err() {
            tracing::warn!("some connections were still open when the time for a clean stop was over");
        }
    }

    /// Accepts connections until this future is dropped. A connection that waits for a slot at that time stays in
    /// `waiting`.
    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        waiting: &mut Option<TcpStream>,
        tasks: &TaskTracker,
    ) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    *waiting = Some(stream);
                    self.begin(waiting, tasks).await;
                }
                // Most likely, the process has no free file descriptors. Meanwhile, connections wait in the listener's
                // queue.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Starts serving the connection in `waiting` and all connections in the listener's queue. If the listener were
    /// closed instead, the kernel would reset the queued connections.
    async fn begin_queued(
        self: &Arc<Self>,
        listener: TcpListener,
        mut waiting: Option<TcpStream>,
        tasks: &TaskTracker,
    ) {
        loop {
            if waiting.is_none() {
                // Without `unconstrained`, tokio makes this task yield after some connections, which looks like an
                // empty queue.
                let next = unconstrained(listener.accept()).now_or_never();
                let Some(Ok((stream, _))) = next else { break };
                waiting = Some(stream);
            }
            self.begin(&mut waiting, tasks).await;
        }
    }

    /// Starts serving the connection in `waiting` as soon as a slot is free. If this future is dropped earlier, the
    /// connection stays in `waiting`.
    async fn begin(self: &Arc<Self>, waiting: &mut Option<TcpStream>, tasks: &TaskTracker) {
        let admitted = self.connections.admit().await;
        let Some(stream) = waiting.take() else { return };
        // Responses are small and must be sent at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "setting TCP_NODELAY");
        }
        tasks.spawn(Arc::clone(self).connection(stream, admitted));
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, admitted: Admitted) {
        let Some(tls) = &self.tls else { return self.requests(stream, &admitted).await };
        let handshake = TlsAcceptor::from(Arc::clone(&tls.get().0)).accept(stream);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(self.read_timeout, handshake) => outcome,
            () = admitted.state.evicted() => return,
        };
        match outcome {
            Ok(Ok(stream)) => return self.requests(stream, &admitted).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
        self.metrics.connections.tls_failures.inc();
    }

    async fn requests<S>(&self, stream: S, admitted: &Admitted)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let handle = |request| self.handle(request);
        if connection::serve(stream, &self.http, &admitted.state, &self.finish, handle).await {
            self.metrics.abandoned();
        }
    }

    /// Handles one request. If the handler panics, the response is 503 and the connection stays open, because
    /// Customer.io waits an hour after a reset.
    async fn handle(&self, request: Request<TrackedBody<'_>>) -> Response<Full<Bytes>> {
        let answer = AssertUnwindSafe(self.gateway.answer(request)).catch_unwind().await;
        let mut response = answer.unwrap_or(Answer::Defect).into_response();
        if self.draining.load(Ordering::Relaxed) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::tests::{Fate, prepare};

    #[tokio::test]
    async fn at_a_stop_every_connection_in_the_accept_queue_is_served() {
        // The shortest usual accept queue (128) holds more connections than this.
        const QUEUED: usize = 100;
        let server = Arc::new(prepare(Fate::Stored, &[]).server);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..QUEUED).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let (first, _) = listener.accept().await.unwrap();
        let tasks = TaskTracker::new();
        // tokio makes a task yield after a number of operations. The loop uses up most of them, so that `begin_queued`
        // would yield without `unconstrained`.
        for _ in 0..100 {
            tokio::task::coop::consume_budget().await;
        }
        server.begin_queued(listener, Some(first), &tasks).await;
        assert_eq!(tasks.len(), clients.len());
    }
}
