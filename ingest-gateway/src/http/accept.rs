//! Accepts connections, and closes them during a stop without losing a response.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use service::Context;
use tokio::net::{TcpListener, TcpStream};
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
    /// Whether every response asks its client to use another connection for the next request.
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

    /// Serves until `context.stop`, continues for the drain delay, and then lets every request finish.
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
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = &mut drained => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => server.begin(stream, &tasks).await,
                    // Most likely, the process has no free file descriptors; connections wait in the listener's queue
                    // meanwhile.
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
        // Closing the listener would reset the connections in its queue.
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            server.begin(stream, &tasks).await;
        }
        drop(listener);
        server.finish.cancel();
        tasks.close();
        let left = context.shutdown_timeout.saturating_sub(drain_delay);
        if tokio::time::timeout(left, tasks.wait()).await.is_err() {
            tracing::warn!("some connections were still open when the time for a clean stop was over");
        }
    }

    /// Starts serving a connection as soon as there is a free slot.
    async fn begin(self: &Arc<Self>, stream: TcpStream, tasks: &TaskTracker) {
        // Responses are small and must be sent at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "setting TCP_NODELAY");
        }
        let admitted = self.connections.admit().await;
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

    /// After a defect in the handling of one request, the response is 503 and the connection stays open, because a
    /// reset would delay the sender by an hour.
    async fn handle(&self, request: Request<TrackedBody<'_>>) -> Response<Full<Bytes>> {
        let answer = AssertUnwindSafe(self.gateway.answer(request)).catch_unwind().await;
        let mut response = answer.unwrap_or(Answer::Defect).into_response();
        if self.draining.load(Ordering::Relaxed) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
