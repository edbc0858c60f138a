//! A simulator of Customer.io: the App API under `/customerio`, and an admin request that makes it call the webhooks.
//!
//! It is stateful and strict: unknown fields, methods, paths and parameters are refused. Where Customer.io's documentation
//! leaves something open, the less convenient reading is taken: an update without a field resets the field.
//!
//! | credential | answer |
//! |---|---|
//! | `sim-app-key` | the workspace `Acme` (130001) |
//! | `sim-app-key-dev` | the workspace `Acme development` (130002) |
//! | `sim-app-key-eu` | 401: a key of the other region |
//! | `sim-track-key` | 401: a key of another API |
//! | `sim-app-key-send-only` | 403 for everything but the list of workspaces: its scope is too small |
//! | `sim-app-key-elsewhere` | 403 for everything: its list of allowed addresses does not have this one |
//! | `sa_live_sim` | as a service-account token: reads the workspaces' signing keys |
//!
//! Admin requests: `GET /admin/customerio` (everything it knows, signing keys included), `POST /admin/customerio/events`,
//! `PATCH /admin/customerio/webhooks/{id}` (a change on Customer.io's page), `GET /admin/customerio/requests`,
//! `POST` and `DELETE /admin/customerio/faults`, `POST /admin/customerio/reset`.

mod account;
mod admin;
mod app_api;
mod faults;
mod problem;
mod sender;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, patch, post};

use crate::Simulator;

pub use faults::{ApiFault, ApiFaultKind, ErrorShape};

use account::CustomerIo;

/// The routes, with a state of their own.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/customerio/{*path}", any(app_api::answer))
        .route("/admin/customerio", get(admin::everything))
        .route("/admin/customerio/events", post(sender::call_webhooks))
        .route("/admin/customerio/webhooks/{id}", patch(admin::change_webhook))
        .route("/admin/customerio/requests", get(admin::requests))
        .route("/admin/customerio/faults", post(admin::add_fault).delete(admin::clear_faults))
        .route("/admin/customerio/reset", post(admin::reset))
        .with_state(Arc::new(CustomerIo::default()))
}

impl Simulator {
    /// `CUSTOMERIO_API_URL` for this simulator.
    #[must_use]
    pub fn customerio_url(&self) -> String {
        format!("http://{}/customerio", self.address)
    }
}
