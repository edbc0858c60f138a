//! The dedup window: the events that recently became typed records, so that a webhook that is delivered again becomes
//! one record.
//!
//! It contains only what the typed topic contains: an id enters it when its transaction has been committed, and after
//! an assignment the window is restored from the tail of that partition (`kafka::transaction`). It knows no Kafka
//! client and no clock. Time is when the gateway received a webhook, so that a backlog that is processed late gives the
//! same results as one that is processed at once.

mod window;

use std::collections::{BTreeMap, HashSet};

use contract::Partition;
use contract::raw::received_at_or;
use customerio::sha256_half;
use kafka::Record;
use kafka::record::header;
use kafka::transaction::PartitionState;

pub(crate) use window::{Window, WindowLimits};

/// An event's id in the window: half a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct IdHash([u8; 16]);

impl IdHash {
    /// Hashes the XDM `_id`, as it is in the header `event-id`.
    pub(crate) fn of(id: &[u8]) -> Self {
        Self(sha256_half(id))
    }
}

/// When a webhook was received, in whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u32);

impl Seconds {
    /// Converts milliseconds; times outside 1970 to 2106 become the nearer limit.
    pub(crate) fn from_millis(millis: i64) -> Self {
        Self(u32::try_from((millis / 1000).max(0)).unwrap_or(u32::MAX))
    }
}

/// The windows of a worker's partitions, and the ids of its open transaction.
#[derive(Debug)]
pub(crate) struct Dedup {
    limits: WindowLimits,
    windows: BTreeMap<Partition, Window>,
    /// In the order of processing, in which the windows get them.
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

    /// A partition was assigned, and its window was restored from its typed records.
    pub(crate) fn restored(&mut self, partition: Partition, window: Window) {
        self.windows.insert(partition, window);
    }

    /// A partition was revoked. No transaction is open at that time.
    pub(crate) fn release(&mut self, partition: Partition) {
        self.windows.remove(&partition);
    }

    /// Whether this event is already a typed record, or will be one with the open transaction.
    pub(crate) fn is_duplicate(&self, partition: Partition, id: IdHash, received: Seconds) -> bool {
        self.open_ids.contains(&(partition, id))
            || self.windows.get(&partition).is_some_and(|window| window.contains(id, received))
    }

    /// Notes that the open transaction writes a typed record of this event.
    pub(crate) fn note(&mut self, partition: Partition, id: IdHash, received: Seconds) {
        self.open.push((partition, id, received));
        self.open_ids.insert((partition, id));
    }

    /// The open transaction was committed.
    pub(crate) fn committed(&mut self) {
        self.open_ids.clear();
        for (partition, id, received) in self.open.drain(..) {
            if let Some(window) = self.windows.get_mut(&partition) {
                window.insert(id, received);
            }
        }
    }

    /// The open transaction was aborted.
    pub(crate) fn aborted(&mut self) {
        self.open_ids.clear();
        self.open.clear();
    }

    /// The windows by partition.
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

/// Returns when the gateway received the webhook of this record, in milliseconds since 1970; the record's own time if
/// another program wrote it.
pub(crate) fn received_at(record: &Record<'_>) -> i64 {
    received_at_or(record.header(header::RECEIVED_AT), record.timestamp())
}

/// How far the clocks of gateways and transformers may differ, in milliseconds.
pub(crate) const CLOCK_DIFFERENCE: i64 = contract::limits::CLOCK_TOLERANCE_MS;

/// Returns the time of receipt that the window uses for this record; `now`, in milliseconds since 1970, is when its
/// typed record was written.
pub(crate) fn received_for_window(record: &Record<'_>, now: i64) -> Seconds {
    Seconds::from_millis(not_after(received_at(record), now))
}

/// Limits a time of receipt to the latest possible value. Otherwise one gateway whose clock is far ahead would push
/// everything else out of the window.
fn not_after(received: i64, now: i64) -> i64 {
    received.min(now.saturating_add(CLOCK_DIFFERENCE))
}

#[cfg(test)]
mod tests;
