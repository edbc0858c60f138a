//! A hold that an operator sets through the admin server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The header that a request to hold or release must have. A web page cannot send it to another host, so that no page that
/// an operator looks at can hold a service.
pub const OPERATOR_HEADER: &str = "x-customerio-aep-operator";

/// Whether an operator holds the work of this service. Cheap to clone. A new process is not held.
#[derive(Debug, Clone, Default)]
pub struct OperatorHold(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_offered: AtomicBool,
    is_held: AtomicBool,
}

impl OperatorHold {
    /// The service can be held from now on.
    pub fn offer(&self) {
        self.0.is_offered.store(true, Ordering::Relaxed);
    }

    /// Whether an operator holds the service.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.is_held.load(Ordering::Relaxed)
    }

    /// Holds or releases the service; `false` if it cannot be held.
    pub fn set(&self, held: bool) -> bool {
        let is_offered = self.0.is_offered.load(Ordering::Relaxed);
        if is_offered && self.0.is_held.swap(held, Ordering::Relaxed) != held {
            tracing::warn!(
                held,
                "an operator {} this service through the admin server",
                if held { "has put a hold on" } else { "has released" }
            );
        }
        is_offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_held_only_if_it_offers_that() {
        let hold = OperatorHold::default();
        assert!(!hold.set(true) && !hold.is_held());
        hold.offer();
        assert!(hold.set(true) && hold.is_held());
        assert!(hold.set(false) && !hold.is_held());
    }
}
