//! The offset ledger: tracks which polled records are settled, and up to which offset they may be committed.
//!
//! There is one ledger per partition and assignment. Records may be settled in any order. The *frontier* is the offset
//! before which every record is settled, and only the frontier may be committed. A ledger depends on neither the time,
//! nor a Kafka client, nor the content of records.

use std::collections::{BTreeMap, VecDeque};

use contract::{Offset, Partition, Position};

/// One assignment of one partition to this consumer. A completion with an old epoch belongs to an earlier assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// A polled record that must be settled or released, exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Partition of the record.
    pub partition: Partition,
    /// Assignment under which the record was polled.
    pub epoch: Epoch,
    /// Offset of the record.
    pub offset: Offset,
}

impl Claim {
    /// Partition and offset of the record.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::of(self.partition, self.offset)
    }
}

/// A breach of the ledger's rules. Its cause is a defect in the caller, never bad input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A record was polled out of order.
    #[error("offset {offset} was polled after {next} was expected; offsets of a partition must rise")]
    OutOfOrder {
        /// Offset of the polled record.
        offset: Offset,
        /// Lowest offset that was allowed.
        next: Offset,
    },
    /// A record that is not outstanding was settled or released.
    #[error("offset {0} was settled although it is not outstanding")]
    NotOutstanding(Offset),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The record is in progress.
    Outstanding,
    /// The record was released without an outcome; the next owner of the partition will read it again.
    Released,
    /// The outcome of the record is durable.
    Settled,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: Offset,
    bytes: usize,
    state: State,
}

/// The ledger of one partition under one assignment.
#[derive(Debug)]
pub struct Ledger {
    /// Records that were added and are not before the frontier, by ascending offset.
    slots: VecDeque<Slot>,
    /// The offset after the last polled record.
    next: Offset,
    outstanding: usize,
    outstanding_bytes: usize,
}

impl Ledger {
    /// Creates a ledger that starts at `start`, the first offset that will be read.
    #[must_use]
    pub fn new(start: Offset) -> Self {
        Self { slots: VecDeque::new(), next: start, outstanding: 0, outstanding_bytes: 0 }
    }

    /// Adds a polled record with a size of `bytes`. Every polled record must be added; otherwise the frontier would
    /// pass it.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`].
    pub fn charge(&mut self, offset: Offset, bytes: usize) -> Result<(), LedgerError> {
        if offset < self.next {
            return Err(LedgerError::OutOfOrder { offset, next: self.next });
        }
        self.slots.push_back(Slot { offset, bytes, state: State::Outstanding });
        self.next = offset.next();
        self.outstanding += 1;
        self.outstanding_bytes += bytes;
        Ok(())
    }

    /// Marks a record as settled. Returns the size with which the record was added.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`] if the record was never added, or was settled or released before.
    pub fn settle(&mut self, offset: Offset) -> Result<usize, LedgerError> {
        let bytes = self.close(offset, State::Settled)?;
        while self.slots.front().is_some_and(|slot| slot.state == State::Settled) {
            self.slots.pop_front();
        }
        Ok(bytes)
    }

    /// Marks a record as released: the work on it has ended without an outcome, and the frontier will not pass it.
    /// Returns the size with which the record was added.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`].
    pub fn release(&mut self, offset: Offset) -> Result<usize, LedgerError> {
        self.close(offset, State::Released)
    }

    fn close(&mut self, offset: Offset, state: State) -> Result<usize, LedgerError> {
        let slot = self
            .slots
            .binary_search_by_key(&offset, |slot| slot.offset)
            .ok()
            .and_then(|index| self.slots.get_mut(index))
            .filter(|slot| slot.state == State::Outstanding)
            .ok_or(LedgerError::NotOutstanding(offset))?;
        slot.state = state;
        self.outstanding -= 1;
        self.outstanding_bytes -= slot.bytes;
        Ok(slot.bytes)
    }

    /// Notes that everything before `position` has been polled. Offsets that were not added have no readable record
    /// (but a marker, or an aborted or compacted record), so the frontier of an idle ledger moves to `position`.
    pub fn polled_to(&mut self, position: Offset) {
        self.next = self.next.max(position);
    }

    /// The offset before which every record is settled. This offset may be committed.
    #[must_use]
    pub fn frontier(&self) -> Offset {
        self.slots.front().map_or(self.next, |slot| slot.offset)
    }

    /// Number of records in progress.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Bytes of the records in progress.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }
}

/// The effect of settling or releasing a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The ledger was updated.
    Counted,
    /// The claim belongs to an assignment that has ended. No ledger was updated.
    Stale,
}

#[derive(Debug)]
struct Assigned {
    epoch: Epoch,
    ledger: Ledger,
    committed: Offset,
}

/// The ledgers of all partitions of one consumer.
#[derive(Debug, Default)]
pub struct Ledgers {
    partitions: BTreeMap<Partition, Assigned>,
    epochs: u64,
}

impl Ledgers {
    /// Starts an assignment of a partition that is read from `start`.
    pub fn assign(&mut self, start: Position) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        let Position { partition, offset } = start;
        self.partitions.insert(partition, Assigned { epoch, ledger: Ledger::new(offset), committed: offset });
        epoch
    }

    /// Ends the assignment of a partition. Its outstanding claims become stale.
    pub fn revoke(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// Adds a polled record. Returns its claim; `None` if the partition is not assigned (the caller then drops the
    /// record, which came after a revoke).
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`].
    pub fn charge(&mut self, record: Position, bytes: usize) -> Result<Option<Claim>, LedgerError> {
        let Position { partition, offset } = record;
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(None) };
        assigned.ledger.charge(offset, bytes)?;
        Ok(Some(Claim { partition, epoch: assigned.epoch, offset }))
    }

    /// Settles a claim.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`].
    pub fn settle(&mut self, claim: Claim) -> Result<Completion, LedgerError> {
        self.complete(claim, Ledger::settle)
    }

    /// Releases a claim.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`].
    pub fn release(&mut self, claim: Claim) -> Result<Completion, LedgerError> {
        self.complete(claim, Ledger::release)
    }

    fn complete(
        &mut self,
        claim: Claim,
        close: fn(&mut Ledger, Offset) -> Result<usize, LedgerError>,
    ) -> Result<Completion, LedgerError> {
        match self.partitions.get_mut(&claim.partition).filter(|assigned| assigned.epoch == claim.epoch) {
            None => Ok(Completion::Stale),
            Some(assigned) => close(&mut assigned.ledger, claim.offset).map(|_| Completion::Counted),
        }
    }

    /// Calls [`Ledger::polled_to`] for the ledger of the partition.
    pub fn polled_to(&mut self, position: Position) {
        if let Some(assigned) = self.partitions.get_mut(&position.partition) {
            assigned.ledger.polled_to(position.offset);
        }
    }

    /// Returns the frontier of each partition whose frontier is after its last acknowledged commit.
    pub fn to_commit(&self) -> impl Iterator<Item = Position> {
        self.partitions
            .iter()
            .map(|(&partition, assigned)| (partition, assigned.ledger.frontier(), assigned.committed))
            .filter(|(_, frontier, committed)| frontier > committed)
            .map(|(partition, frontier, _)| Position::of(partition, frontier))
    }

    /// Notes that the brokers acknowledged the commit of this offset.
    pub fn committed(&mut self, position: Position) {
        if let Some(assigned) = self.partitions.get_mut(&position.partition) {
            assigned.committed = assigned.committed.max(position.offset);
        }
    }

    /// The offset after the last polled record of each partition.
    pub fn next_to_read(&self) -> impl Iterator<Item = Position> {
        self.partitions.iter().map(|(&partition, assigned)| Position::of(partition, assigned.ledger.next))
    }

    /// The frontier of a partition; `None` if the partition is not assigned.
    #[must_use]
    pub fn frontier(&self, partition: Partition) -> Option<Offset> {
        self.partitions.get(&partition).map(|assigned| assigned.ledger.frontier())
    }

    /// The frontier of each partition.
    pub fn frontiers(&self) -> impl Iterator<Item = Position> {
        self.partitions.iter().map(|(&partition, assigned)| Position::of(partition, assigned.ledger.frontier()))
    }

    /// Number of records in progress in this partition.
    #[must_use]
    pub fn outstanding(&self, partition: Partition) -> usize {
        self.partitions.get(&partition).map_or(0, |assigned| assigned.ledger.outstanding())
    }

    /// Bytes of all records in progress.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.partitions.values().map(|assigned| assigned.ledger.outstanding_bytes()).sum()
    }

    /// The partitions assigned now.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.partitions.keys().copied()
    }
}

#[cfg(test)]
mod tests;
