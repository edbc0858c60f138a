//! The admin server: `/livez`, `/readyz`, `/metrics`.
//!
//! Liveness says only that the process answers; whether it can work is readiness.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Readiness;

/// Why the admin server could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the admin server: {source}; choose another ADMIN_LISTEN")]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The admin server, bound but not yet serving.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    router: Router,
}

impl AdminServer {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`AdminError`] if the address is taken or not allowed.
    pub async fn bind(address: SocketAddr, registry: Registry, readiness: Readiness) -> Result<Self, AdminError> {
        let listener = TcpListener::bind(address).await.map_err(|source| AdminError { address, source })?;
        let router = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state((registry, readiness));
        Ok(Self { listener, router })
    }

    /// The address in use; tells the port when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// An I/O error of the listener.
    pub async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn readyz(State((_, readiness)): State<(Registry, Readiness)>) -> impl IntoResponse {
    match readiness.unready_reason() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn metrics(State((registry, _)): State<(Registry, Readiness)>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(error) => {
            let text = error.to_string().into_bytes();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}
