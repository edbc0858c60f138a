//! The budget of bytes in flight. The bytes of a body count from their arrival until the delivery report of their
//! record.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Number of bytes that each request takes from the budget in addition to its body.
const PER_REQUEST: usize = 2048;

/// The budget of bytes in flight. Cheap to clone; all clones are the same budget.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    semaphore: Arc<Semaphore>,
    total: usize,
}

/// A share of the budget; dropping it releases the bytes.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    /// Releases `bytes` of the share.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        drop(self.0.split(bytes));
    }
}

/// Error: the budget does not have enough free bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

impl InFlight {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(total)), total }
    }

    /// Takes a share for a request with `bytes` received bytes of its body. Never waits for free bytes: Customer.io
    /// waits at most 4 s, so a request over the budget gets its response at once.
    pub(crate) fn take(&self, bytes: usize) -> Result<Share, Spent> {
        self.permits(bytes.saturating_add(PER_REQUEST)).map(Share)
    }

    /// Adds `bytes` to a share.
    pub(crate) fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Spent> {
        share.0.merge(self.permits(bytes)?);
        Ok(())
    }

    fn permits(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Spent> {
        let bytes = u32::try_from(bytes).map_err(|_| Spent)?;
        Arc::clone(&self.semaphore).try_acquire_many_owned(bytes).map_err(|_| Spent)
    }

    /// Returns the number of bytes in flight.
    pub(crate) fn used(&self) -> usize {
        self.total - self.semaphore.available_permits().min(self.total)
    }

    /// Returns the size of the whole budget in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_over_the_budget_is_refused_and_dropping_a_share_frees_bytes() {
        let budget = InFlight::new(10_000);
        let mut first = budget.take(4_000).unwrap();
        assert_eq!(budget.used(), 4_000 + PER_REQUEST);
        assert_eq!(budget.take(4_000).unwrap_err(), Spent);
        assert_eq!(budget.grow(&mut first, 1_000), Ok(()));
        assert_eq!(budget.grow(&mut first, 5_000), Err(Spent));
        first.shrink(3_000);
        assert_eq!(budget.used(), 2_000 + PER_REQUEST);
        drop(first);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.take(usize::MAX).unwrap_err(), Spent);
    }
}
