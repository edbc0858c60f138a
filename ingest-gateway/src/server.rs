//! Connections: accepting them, their time-outs, and letting them go without losing an answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use service::Context;
use tokio::net::{TcpListener, TcpStream};

use crate::answer::Answer;
use crate::config::Settings;
use crate::ingest::Gateway;
use crate::publish::Publish;

/// Serves until `context.stop`, then goes on for the drain delay, then lets every request finish.
pub(crate) async fn serve<P: Publish>(
    listener: TcpListener,
    gateway: Arc<Gateway<P>>,
    settings: &Settings,
    context: &Context,
) {
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(settings.read_timeout).keep_alive(true);
    let drained = async {
        context.stop.cancelled().await;
        context.readiness.set_unready("draining");
        tracing::info!(delay = ?settings.drain_delay, "draining: still answering");
        tokio::time::sleep(settings.drain_delay).await;
    };
    tokio::pin!(drained);
    loop {
        tokio::select! {
            () = &mut drained => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connection(stream, &http, &graceful, &gateway),
                // Out of file descriptors, most likely: connections wait in the listener's queue meanwhile.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    let left = context.shutdown_timeout.saturating_sub(settings.drain_delay);
    if tokio::time::timeout(left, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were still open when the time for a clean stop was over");
    }
}

fn connection<P: Publish>(
    stream: TcpStream,
    http: &http1::Builder,
    graceful: &GracefulShutdown,
    gateway: &Arc<Gateway<P>>,
) {
    // Answers are small and must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "setting TCP_NODELAY");
    }
    let gateway = Arc::clone(gateway);
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, std::convert::Infallible>(handle(&gateway, request).await) }
    });
    let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// A defect in the handling of one request answers 503 and leaves the connection alone: a reset would cost the sender an
/// hour.
async fn handle<P: Publish>(gateway: &Gateway<P>, request: Request<Incoming>) -> Response<Body> {
    let answer = AssertUnwindSafe(gateway.answer(request.map(Body::new))).catch_unwind().await;
    answer.unwrap_or(Answer::Defect).into_response()
}
