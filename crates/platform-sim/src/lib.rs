//! A simulator of the endpoints that this product uses, with faults on demand. For Experience Platform, these are IMS
//! tokens, streaming ingestion and the control plane; for Customer.io, see [`customerio`].
//!
//! The simulator behaves as Adobe's documentation describes and checks ingested messages as Platform does. A test can
//! look up each accepted id. The crate does not use Kafka, and keeps all data in memory.

mod admin;
mod control;
pub mod customerio;
mod faults;
mod ingest;
mod line;
mod messages;
mod settings;
mod state;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use control::faults::{ControlFault, ControlFaultKind};
pub use control::{ControlRequest, LostEvent};
pub use faults::{Break, Fault, FaultKind, OddAnswer, Shape};
pub use settings::{ControlOptions, SimSettings};
pub use state::Stats;

use line::{Breaker, Lines};
use state::State;

/// A simulator that runs in the background until [`Simulator::stop`] is called. Dropping the value does not stop it.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Simulator {
    /// Binds `address` and starts to serve.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, for example because it is in use.
    pub async fn start(address: SocketAddr, settings: SimSettings) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::new(settings));
        let router = Router::new()
            .route("/ims/token/v3", post(tokens::issue))
            .route("/collection/batch/{inlet}", post(ingest::batch))
            .route("/collection/{inlet}", post(ingest::single))
            .route("/admin/stats", get(admin::stats))
            .route("/admin/events", get(admin::events))
            .route("/admin/events/last", get(admin::last_event))
            .route("/admin/faults", get(admin::faults).post(admin::set_fault).delete(admin::clear_faults))
            .route("/admin/reset", post(admin::reset))
            .merge(customerio::router())
            .merge(control::routes())
            // `ingest` enforces Platform's limit and responds like Platform, so the limit here is higher.
            .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(Arc::clone(&state));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let service = router.into_make_service_with_connect_info::<Breaker>();
        let serve = axum::serve(Lines(listener), service).with_graceful_shutdown(stopped);
        let task = tokio::spawn(serve.into_future());
        Ok(Self { address, state, stop, task })
    }

    /// Returns the address that the simulator listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value of `PLATFORM_INLET_URL` for this simulator.
    #[must_use]
    pub fn inlet_url(&self) -> String {
        format!("http://{}/collection/{}", self.address, self.state.settings().inlet_id)
    }

    /// Returns the value of `IMS_URL` for this simulator.
    #[must_use]
    pub fn ims_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Returns the number of times that each id was accepted.
    #[must_use]
    pub fn accepted(&self) -> std::collections::HashMap<String, u32> {
        self.state.accepted()
    }

    /// Returns the last accepted event.
    #[must_use]
    pub fn last_event(&self) -> Option<serde_json::Value> {
        self.state.last_event()
    }

    /// Adds a fault of streaming ingestion or IMS.
    pub fn add_fault(&self, fault: Fault) {
        self.state.add_fault(fault);
    }

    /// Adds a fault of the control plane.
    pub fn add_control_fault(&self, fault: ControlFault) {
        self.state.control.add_fault(fault);
    }

    /// Returns the requests that the control plane received.
    #[must_use]
    pub fn control_requests(&self) -> Vec<ControlRequest> {
        self.state.control.requests()
    }

    /// Returns the events that got a success response and never arrive. A run with such events has failed.
    #[must_use]
    pub fn lost(&self) -> Vec<LostEvent> {
        self.state.control.lost()
    }

    /// Waits until the simulator ends by itself, which happens only if its listener fails.
    ///
    /// # Errors
    /// Returns the error of the listener.
    pub async fn join(self) -> std::io::Result<()> {
        self.task.await.map_err(std::io::Error::other)?
    }

    /// Stops serving.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}
