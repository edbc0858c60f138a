//! The dedup window: the ids of events that recently became typed records. With the window, a webhook that is delivered
//! again does not become a second record.
//!
//! The window contains only ids that the typed topic contains: an id is added after its transaction has been committed.
//! After an assignment, the window is restored from the tail of the typed topic's partition (`kafka::transaction`).
//! This module uses neither a Kafka client nor a clock. Its times are the receive times of webhooks, so a backlog that
//! is processed late gives the same results as one that is processed at once.

mod window;

use std::collections::{BTreeMap, HashSet};

use contract::Partition;
use contract::raw::received_at_or;
use customerio::sha256_half;
use kafka::Record;
use kafka::record::header;
use kafka::transaction::PartitionState;

pub(crate) use window::{Window, WindowLimits};

/// The id of an event in the window: half a SHA-256 of its XDM `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IdHash([u8; 16]);

impl IdHash {
    /// Hashes the XDM `_id`, which is also the value of the header `event-id`.
    pub(crate) fn of(id: &[u8]) -> Self {
        Self(sha256_half(id))
    }
}

/// Receive time of a webhook, in whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u32);

impl Seconds {
    /// Converts milliseconds since 1970. A time outside 1970 to 2106 becomes the nearer limit.
    pub(crate) fn from_millis(millis: i64) -> Self {
        Self(u32::try_from((millis / 1000).max(0)).unwrap_or(u32::MAX))
    }
}

/// The windows of a worker's partitions, and the ids in the worker's open transaction.
#[derive(Debug)]
pub(crate) struct Dedup {
    limits: WindowLimits,
    windows: BTreeMap<Partition, Window>,
    /// The ids in the open transaction, in the order of processing. After the commit, the windows get them in this
    /// order.
    open: Vec<(Partition, IdHash, Seconds)>,
    open_ids: HashSet<(Partition, IdHash)>,
}

impl Dedup {
    pub(crate) fn new(limits: WindowLimits) -> Self {
        Self { limits, windows: BTreeMap::new(), open: Vec::new(), open_ids: HashSet::new() }
    }

    /// Creates an empty window.
    pub(crate) fn window(&self) -> Window {
        Window::new(self.limits)
    }

    /// Adds the window of an assigned partition, which was restored from the typed topic.
    pub(crate) fn restored(&mut self, partition: Partition, window: Window) {
        self.windows.insert(partition, window);
    }

    /// Drops the window of a revoked partition. No transaction is open at that time.
    pub(crate) fn release(&mut self, partition: Partition) {
        self.windows.remove(&partition);
    }

    /// Whether this event already has a typed record, or gets one with the open transaction.
    pub(crate) fn is_duplicate(&self, partition: Partition, id: IdHash, received: Seconds) -> bool {
        self.open_ids.contains(&(partition, id))
            || self.windows.get(&partition).is_some_and(|window| window.contains(id, received))
    }

    /// Notes that the open transaction contains a typed record of this event.
    pub(crate) fn note(&mut self, partition: Partition, id: IdHash, received: Seconds) {
        self.open.push((partition, id, received));
        self.open_ids.insert((partition, id));
    }

    /// Adds the ids of the committed transaction to the windows.
    pub(crate) fn committed(&mut self) {
        self.open_ids.clear();
        for (partition, id, received) in self.open.drain(..) {
            if let Some(window) = self.windows.get_mut(&partition) {
                window.insert(id, received);
            }
        }
    }

    /// Discards the ids of the aborted transaction.
    pub(crate) fn aborted(&mut self) {
        self.open_ids.clear();
        self.open.clear();
    }

    /// Iterates over the windows and their partitions.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (Partition, &Window)> {
        self.windows.iter().map(|(&partition, window)| (partition, window))
    }
}

impl PartitionState for Window {
    fn starts_late(&mut self) {
        self.begin_late();
    }

    fn restore(&mut self, record: &Record<'_>) {
        let Some(id) = record.header(header::EVENT_ID) else { return };
        let written = record.timestamp().unwrap_or_default();
        self.insert(IdHash::of(id), received_for_window(record, written));
    }
}

/// Returns the receive time of this record's webhook, in milliseconds since 1970; the record's timestamp if the header
/// `received-at` is missing or not a number.
pub(crate) fn received_at(record: &Record<'_>) -> i64 {
    received_at_or(record.header(header::RECEIVED_AT), record.timestamp())
}

/// Tolerated difference between the clocks of gateways and transformers, in milliseconds.
pub(crate) const CLOCK_DIFFERENCE: i64 = contract::limits::CLOCK_TOLERANCE_MS;

/// Returns the receive time that the window uses for this record: [`received_at`], limited by [`not_after`]. `now` is
/// the time at which the typed record is written, in milliseconds since 1970.
pub(crate) fn received_for_window(record: &Record<'_>, now: i64) -> Seconds {
    Seconds::from_millis(not_after(received_at(record), now))
}

/// Limits a receive time to the latest possible value. Otherwise, one gateway whose clock is far ahead would make all
/// other ids expire.
fn not_after(received: i64, now: i64) -> i64 {
    received.min(now.saturating_add(CLOCK_DIFFERENCE))
}

#[cfg(test)]
mod tests;
