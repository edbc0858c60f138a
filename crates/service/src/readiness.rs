//! Whether the service can do its work right now, as `/readyz` tells it.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared readiness of one service: ready, or not ready with the reason. Cheap to clone; starts not ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    reason: Arc<Mutex<Option<&'static str>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { reason: Arc::new(Mutex::new(Some("starting"))) }
    }
}

impl Readiness {
    /// From now on the service can do its work.
    pub fn set_ready(&self) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on it cannot; `reason` is shown to whoever asks.
    pub fn set_unready(&self, reason: &'static str) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Why the service is not ready; `None` when it is.
    #[must_use]
    pub fn unready_reason(&self) -> Option<&'static str> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
