//! How far a worker has processed a partition, according to the brokers and with the open transaction.

use crate::consumed::{Consumed, Undo};

/// The committed state of a partition: the offset, and the part of its metadata with the processed records after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// The first offset that is not processed.
    pub offset: i64,
    /// The first offset after which no record is processed.
    pub end: i64,
    /// See [`Consumed::note`].
    pub note: Option<String>,
}

impl Mark {
    pub(super) fn new(partition: i32, consumed: &Consumed) -> Self {
        Self { partition, offset: consumed.frontier(), end: consumed.end(), note: consumed.note() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// The state according to the brokers.
    pub(super) committed: Position,
    /// The state with the open transaction's records.
    pub(super) open: Position,
}

/// How far a partition is read, and processed. The two differ while records are read again and only the deferred ones
/// among them must be processed.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// Next offset to read.
    pub(super) read: i64,
    pub(super) consumed: Consumed,
}

/// The record that was accepted last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) partition: i32,
    offset: i64,
    /// The position before it.
    read: i64,
    undo: Undo,
}

impl Cursor {
    /// Starts at the first record that is not processed.
    pub(super) fn at(consumed: Consumed) -> Self {
        let position = Position { read: consumed.frontier(), consumed };
        Self { committed: position.clone(), open: position }
    }

    /// The record is processed in the open transaction.
    pub(super) fn accept(&mut self, partition: i32, offset: i64) -> Accepted {
        let read = std::mem::replace(&mut self.open.read, offset + 1);
        Accepted { partition, offset, read, undo: self.open.consumed.process(offset) }
    }

    /// The record must be read again.
    pub(super) fn put_back(&mut self, accepted: &Accepted) {
        self.open.read = accepted.read;
        self.open.consumed.put_back(accepted.undo);
    }

    /// The record is deferred, unless the metadata has no room for it.
    pub(super) fn defer(&mut self, accepted: &Accepted) -> bool {
        self.open.consumed.put_back(accepted.undo);
        let fits = self.open.consumed.defer(accepted.offset);
        if !fits {
            self.open.consumed.process(accepted.offset);
        }
        fits
    }
}
