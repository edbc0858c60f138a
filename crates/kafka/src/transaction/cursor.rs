//! How far a worker has processed a partition, according to the brokers and with the open transaction.

use contract::{Offset, Partition, Position};

use crate::consumed::{Consumed, Undo};

/// The committed state of a partition: the offset, and the part of its metadata with the processed records after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The first offset of a partition that is not processed.
    pub position: Position,
    /// The first offset after which no record is processed.
    pub end: Offset,
    /// See [`Consumed::note`].
    pub note: Option<String>,
}

impl Mark {
    pub(super) fn new(partition: Partition, consumed: &Consumed) -> Self {
        Self { position: Position::of(partition, consumed.frontier()), end: consumed.end(), note: consumed.note() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// The state according to the brokers.
    pub(super) committed: Progress,
    /// The state with the open transaction's records.
    pub(super) open: Progress,
}

/// How far a partition is read, and processed. The two differ while records are read again and only the deferred ones
/// among them must be processed.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Next offset to read.
    pub(super) read: Offset,
    pub(super) consumed: Consumed,
}

/// The record that was accepted last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) position: Position,
    /// The next offset to read before it.
    read: Offset,
    undo: Undo,
}

impl Cursor {
    /// Starts at the first record that is not processed.
    pub(super) fn at(consumed: Consumed) -> Self {
        let progress = Progress { read: consumed.frontier(), consumed };
        Self { committed: progress.clone(), open: progress }
    }

    /// The record is processed in the open transaction.
    pub(super) fn accept(&mut self, position: Position) -> Accepted {
        let read = std::mem::replace(&mut self.open.read, position.offset.next());
        Accepted { position, read, undo: self.open.consumed.process(position.offset) }
    }

    /// The record must be read again.
    pub(super) fn put_back(&mut self, accepted: &Accepted) {
        self.open.read = accepted.read;
        self.open.consumed.put_back(accepted.undo);
    }

    /// The record is deferred, unless the metadata has no room for it.
    pub(super) fn defer(&mut self, accepted: &Accepted) -> bool {
        self.open.consumed.put_back(accepted.undo);
        let fits = self.open.consumed.defer(accepted.position.offset);
        if !fits {
            self.open.consumed.process(accepted.position.offset);
        }
        fits
    }
}
