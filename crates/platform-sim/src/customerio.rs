//! A simulator of Customer.io: the App API under `/customerio`, and an admin endpoint that makes the simulator call the
//! webhooks.
//!
//! The simulator is stateful and strict: it refuses unknown fields, methods, paths and parameters. Where Customer.io's
//! documentation is ambiguous, the simulator behaves in the way that is less convenient for a client. For example, an
//! update without a field resets the field.
//!
//! | credential | response |
//! |---|---|
//! | `sim-app-key` | access to the workspace `Acme` (130001) |
//! | `sim-app-key-dev` | access to the workspace `Acme development` (130002) |
//! | `sim-app-key-eu` | 401: the key belongs to another region |
//! | `sim-track-key` | 401: the key belongs to another API |
//! | `sim-app-key-send-only` | 403, except for the list of workspaces: the scope of the key is too small |
//! | `sim-app-key-elsewhere` | 403: the client's address is not on the key's list of allowed addresses |
//! | `sa_live_sim` | a service-account token: in exchange, an access token for the signing keys of the workspaces |
//!
//! Admin requests: `GET /admin/customerio` (workspaces with their signing keys, and all webhooks),
//! `POST /admin/customerio/events`, `PATCH /admin/customerio/webhooks/{id}` (a change in Customer.io's user interface),
//! `GET /admin/customerio/requests`, `POST` and `DELETE /admin/customerio/faults`, `POST /admin/customerio/reset`.

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

/// Returns the routes, with the state of a new account.
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
    /// Returns the value of `CUSTOMERIO_API_URL` for this simulator.
    #[must_use]
    pub fn customerio_url(&self) -> String {
        format!("http://{}/customerio", self.address)
    }
}
