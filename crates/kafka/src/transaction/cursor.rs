//! How far a worker has come in a partition, as the brokers know it and with the open transaction.

use crate::consumed::{Consumed, Undo};

/// What is committed of a partition: the offset and the part of its metadata that says what is processed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// The first offset that is not processed.
    pub offset: i64,
    /// The first offset after which nothing is processed.
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
    /// As the brokers know it.
    pub(super) committed: Position,
    /// With the open transaction's records.
    pub(super) open: Position,
}

/// How far a partition is read, and processed. The two differ while records are read again of which only the deferred ones
/// are to be processed.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// Next offset to read.
    pub(super) read: i64,
    pub(super) consumed: Consumed,
}

/// The record accepted last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) partition: i32,
    offset: i64,
    /// The position before it.
    read: i64,
    undo: Undo,
}

impl Cursor {
    /// At the first record that is not processed.
    pub(super) fn at(consumed: Consumed) -> Self {
        let position = Position { read: consumed.frontier(), consumed };
        Self { committed: position.clone(), open: position }
    }

    /// A record is to be processed with the open transaction.
    pub(super) fn accept(&mut self, partition: i32, offset: i64) -> Accepted {
        let read = std::mem::replace(&mut self.open.read, offset + 1);
        Accepted { partition, offset, read, undo: self.open.consumed.process(offset) }
    }

    /// It is to be read again.
    pub(super) fn put_back(&mut self, accepted: &Accepted) {
        self.open.read = accepted.read;
        self.open.consumed.put_back(accepted.undo);
    }

    /// It is left for later, unless there is no room to remember it.
    pub(super) fn defer(&mut self, accepted: &Accepted) -> bool {
        self.open.consumed.put_back(accepted.undo);
        let fits = self.open.consumed.defer(accepted.offset);
        if !fits {
            self.open.consumed.process(accepted.offset);
        }
        fits
    }
}
