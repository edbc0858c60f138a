//! The state of the control plane, shared by all requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::faults::ControlFault;
use crate::control::ingestion::{Delivery, Inlet};
use crate::control::records::{ControlRequest, LostEvent};
use crate::control::seed;
use crate::control::world::World;
use crate::settings::SimSettings;

#[derive(Debug)]
pub(crate) struct Control {
    world: Mutex<World>,
}

impl Control {
    pub(crate) fn new(settings: &SimSettings) -> Self {
        let mut world = World::new(settings);
        seed::plant(&mut world, settings);
        Self { world: Mutex::new(world) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_fault(&self, fault: ControlFault) {
        self.lock().faults.add(fault);
    }

    pub(crate) fn requests(&self) -> Vec<ControlRequest> {
        self.lock().log.clone()
    }

    pub(crate) fn lost(&self) -> Vec<LostEvent> {
        self.lock().lost.clone()
    }

    pub(crate) fn lost_count(&self) -> u64 {
        self.lock().lost_total
    }

    /// Clears the recorded requests and lost events, and keeps all objects.
    pub(crate) fn forget_seen(&self) {
        let mut world = self.lock();
        world.log.clear();
        world.lost.clear();
        world.lost_total = 0;
    }

    /// Returns the inlet with this id; `None` if it does not exist.
    pub(crate) fn inlet(&self, id: &str) -> Option<Inlet> {
        self.lock().inlet(id)
    }

    /// Records the results of a request's messages.
    pub(crate) fn record(&self, inlet: &Inlet, deliveries: &[Delivery]) {
        self.lock().record(inlet, deliveries);
    }
}
