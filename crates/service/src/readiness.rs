//! The readiness of a service, which `/readyz` reports.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared readiness of one service: ready, or not ready with a reason. Cheap to clone. A service starts as not ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    reason: Option<&'static str>,
    /// Whether a dependency has failed for so long that the service is not ready.
    waiting: bool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { reason: Some("starting"), waiting: false })) }
    }
}

impl Readiness {
    /// Marks the service as ready. While a dependency fails for too long, `/readyz` still reports that the service is
    /// not ready.
    pub fn set_ready(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reason = None;
    }

    /// Marks the service as not ready; `/readyz` shows the `reason`.
    pub fn set_unready(&self, reason: &'static str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reason = Some(reason);
    }

    /// Sets whether a dependency has failed for too long. This does not change the state that the service itself has
    /// set.
    pub(crate) fn set_waiting(&self, waiting: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting = waiting;
    }

    /// Returns the reason why the service is not ready; `None` if it is ready.
    #[must_use]
    pub fn unready_reason(&self) -> Option<&'static str> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reason.or(state
            .waiting
            .then_some("a service this one depends on does not work: see the log and customerio_*_waiting"))
    }
}
