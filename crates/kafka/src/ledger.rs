//! The offset ledger: which polled records are settled, and up to where their offsets may be committed.
//!
//! Per partition and assignment. Records may be settled in any order; the *frontier* is the offset before which
//! everything is settled, and only the frontier may be committed. A ledger knows no time, no Kafka client and no record.

use std::collections::{BTreeMap, VecDeque};

/// One assignment of one partition to this consumer. A completion that carries an old epoch belongs to somebody else now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// A polled record that has to be settled or released, exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Its partition.
    pub partition: i32,
    /// The assignment under which it was polled.
    pub epoch: Epoch,
    /// Its offset.
    pub offset: i64,
}

/// A breach of the accounting. It means a defect in the caller, never bad input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A record was polled out of order.
    #[error("offset {offset} was polled after {next} was expected; offsets of a partition must rise")]
    OutOfOrder {
        /// The offset polled.
        offset: i64,
        /// The lowest offset that could have come.
        next: i64,
    },
    /// An offset was settled that is not outstanding.
    #[error("offset {0} was settled although it is not outstanding")]
    NotOutstanding(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Somebody works on it.
    Outstanding,
    /// Given back unsettled; the next owner of the partition will read it again.
    Released,
    /// Its effect is durable.
    Settled,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: i64,
    bytes: usize,
    state: State,
}

/// The ledger of one partition under one assignment.
#[derive(Debug)]
pub struct Ledger {
    /// Charged and not yet behind the frontier, by rising offset.
    slots: VecDeque<Slot>,
    /// One past everything polled.
    next: i64,
    outstanding: usize,
    outstanding_bytes: usize,
}

impl Ledger {
    /// A ledger that starts at `start`, the first offset that will be read.
    #[must_use]
    pub fn new(start: i64) -> Self {
        Self { slots: VecDeque::new(), next: start, outstanding: 0, outstanding_bytes: 0 }
    }

    /// Enters a polled record of `bytes`. Every polled record must be entered, or the frontier would pass it.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`].
    pub fn charge(&mut self, offset: i64, bytes: usize) -> Result<(), LedgerError> {
        if offset < self.next {
            return Err(LedgerError::OutOfOrder { offset, next: self.next });
        }
        self.slots.push_back(Slot { offset, bytes, state: State::Outstanding });
        self.next = offset + 1;
        self.outstanding += 1;
        self.outstanding_bytes += bytes;
        Ok(())
    }

    /// Marks a record as settled; returns the bytes it had been charged with.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`] if it was never charged, or settled or released before.
    pub fn settle(&mut self, offset: i64) -> Result<usize, LedgerError> {
        let bytes = self.close(offset, State::Settled)?;
        while self.slots.front().is_some_and(|slot| slot.state == State::Settled) {
            self.slots.pop_front();
        }
        Ok(bytes)
    }

    /// Gives a record back: nobody works on it any more, and the frontier will not pass it.
    ///
    /// # Errors
    /// [`LedgerError::NotOutstanding`].
    pub fn release(&mut self, offset: i64) -> Result<usize, LedgerError> {
        self.close(offset, State::Released)
    }

    fn close(&mut self, offset: i64, state: State) -> Result<usize, LedgerError> {
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

    /// Says that everything before `position` has been polled: what was not charged was no record (transaction
    /// markers, aborted or compacted records), so that an idle ledger's frontier may move there.
    pub fn polled_to(&mut self, position: i64) {
        self.next = self.next.max(position);
    }

    /// One past the last offset of the contiguous settled run: what may be committed.
    #[must_use]
    pub fn frontier(&self) -> i64 {
        self.slots.front().map_or(self.next, |slot| slot.offset)
    }

    /// Records somebody works on.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Their bytes.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }
}

/// What became of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// It counted.
    Counted,
    /// It belongs to an assignment that is gone.
    Stale,
}

#[derive(Debug)]
struct Assigned {
    epoch: Epoch,
    ledger: Ledger,
    committed: i64,
}

/// The ledgers of all partitions of one consumer.
#[derive(Debug, Default)]
pub struct Ledgers {
    partitions: BTreeMap<i32, Assigned>,
    epochs: u64,
}

impl Ledgers {
    /// Begins an assignment that reads from `start`.
    pub fn assign(&mut self, partition: i32, start: i64) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        self.partitions.insert(partition, Assigned { epoch, ledger: Ledger::new(start), committed: start });
        epoch
    }

    /// Ends an assignment; what is still outstanding becomes stale.
    pub fn revoke(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// Enters a polled record; `None` if the partition is not assigned (a late record after a revoke: drop it).
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`].
    pub fn charge(&mut self, partition: i32, offset: i64, bytes: usize) -> Result<Option<Claim>, LedgerError> {
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
        close: fn(&mut Ledger, i64) -> Result<usize, LedgerError>,
    ) -> Result<Completion, LedgerError> {
        match self.partitions.get_mut(&claim.partition).filter(|assigned| assigned.epoch == claim.epoch) {
            None => Ok(Completion::Stale),
            Some(assigned) => close(&mut assigned.ledger, claim.offset).map(|_| Completion::Counted),
        }
    }

    /// See [`Ledger::polled_to`].
    pub fn polled_to(&mut self, partition: i32, position: i64) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.ledger.polled_to(position);
        }
    }

    /// Partitions whose frontier is ahead of what the brokers have acknowledged, with that frontier.
    pub fn to_commit(&self) -> impl Iterator<Item = (i32, i64)> {
        self.partitions
            .iter()
            .map(|(&partition, assigned)| (partition, assigned.ledger.frontier(), assigned.committed))
            .filter(|(_, frontier, committed)| frontier > committed)
            .map(|(partition, frontier, _)| (partition, frontier))
    }

    /// The brokers acknowledged an offset.
    pub fn committed(&mut self, partition: i32, offset: i64) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.committed = assigned.committed.max(offset);
        }
    }

    /// The frontier of a partition.
    #[must_use]
    pub fn frontier(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|assigned| assigned.ledger.frontier())
    }

    /// Records somebody works on in this partition.
    #[must_use]
    pub fn outstanding(&self, partition: i32) -> usize {
        self.partitions.get(&partition).map_or(0, |assigned| assigned.ledger.outstanding())
    }

    /// Bytes of all records somebody works on.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.partitions.values().map(|assigned| assigned.ledger.outstanding_bytes()).sum()
    }

    /// The partitions assigned now.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.partitions.keys().copied()
    }
}

#[cfg(test)]
mod tests;
