//! Progress of a worker in a partition: according to the brokers, and with the open transaction.

use contract::{Offset, Partition, Position};

use crate::consumed::{Consumed, Undo};

/// The state of a partition in the form in which it is committed: the offset, and the metadata that lists which records
/// after it are processed. Used for the last commit and for the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Offset of the first record that is not processed.
    pub position: Position,
    /// Offset after the last record that is processed or deferred.
    pub end: Offset,
    /// Metadata with the processed records after the offset, from [`Consumed::note`].
    pub note: Option<String>,
}

impl Mark {
    pub(super) fn new(partition: Partition, consumed: &Consumed) -> Self {
        Self { position: Position::of(partition, consumed.frontier()), end: consumed.end(), note: consumed.note() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Progress according to the brokers.
    pub(super) committed: Progress,
    /// Progress with the records of the open transaction.
    pub(super) open: Progress,
}

/// The offsets up to which a partition is read and processed. `read` is before the end of `consumed` while a new owner
/// reads records again, of which it processes only the deferred ones.
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
    /// Value of [`Progress::read`] before the record was accepted.
    read: Offset,
    undo: Undo,
}

impl Cursor {
    /// Creates a cursor at the first record that is not processed.
    pub(super) fn at(consumed: Consumed) -> Self {
        let progress = Progress { read: consumed.frontier(), consumed };
        Self { committed: progress.clone(), open: progress }
    }

    /// Notes that the record is processed in the open transaction.
    pub(super) fn accept(&mut self, position: Position) -> Accepted {
        let read = std::mem::replace(&mut self.open.read, position.offset.next());
        Accepted { position, read, undo: self.open.consumed.process(position.offset) }
    }

    /// Undoes [`Cursor::accept`], because the record must be read again.
    pub(super) fn put_back(&mut self, accepted: &Accepted) {
        self.open.read = accepted.read;
        self.open.consumed.put_back(accepted.undo);
    }

    /// Defers the record after [`Cursor::accept`]. Returns `false`, and leaves it processed, if the metadata has no
    /// room for it.
    pub(super) fn defer(&mut self, accepted: &Accepted) -> bool {
        self.open.consumed.put_back(accepted.undo);
        let fits = self.open.consumed.defer(accepted.position.offset);
        if !fits {
            self.open.consumed.process(accepted.position.offset);
        }
        fits
    }
}
