//! The decisions of the transactional worker, as a value: when to begin, send offsets, commit, abort and rewind, and
//! how each outcome changes the state.
//!
//! The machine keeps these rules:
//! - Offsets are sent only for partitions that are owned now and whose progress has changed since the last commit.
//! - After an abort, every record that was polled since the last commit is read again. Each partition continues where
//!   it was at that commit, which is after the committed offset if records were deferred.
//! - Before partitions are released, the open transaction is committed, or aborted if the revoke's deadline passes. If
//!   that call is not resolved in time, the clients are rebuilt.
//! - The group's committed offsets must equal the known ones after an abort, and before a commit for which a revoke, an
//!   assignment or a stop waits. If they differ, another member has committed, and this member's positions are invalid.
//! - The machine never guesses the outcome of a commit: if it is unknown, the clients are rebuilt, and the brokers
//!   decide.
//!
//! The machine does no I/O and has no clock: callers pass in a [`Client`] and the time.

mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position};

use super::cursor::{Accepted, Cursor};
use crate::consumed::Consumed;

pub use super::cursor::Mark;
pub use limits::Limits;

/// The result of a call to the brokers, as far as the machine needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The call succeeded.
    Done,
    /// The call is not completed and may be made again.
    Retry,
    /// The transaction can no longer be committed, but the producer still works.
    Abort(String),
    /// The producer or the consumer is broken and must be rebuilt.
    Broken(String),
    /// The group has continued without this member: another member may have processed its partitions.
    Evicted(String),
}

/// The reason why new clients are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakage {
    /// Reason for the log.
    pub reason: String,
    /// Whether the group has continued without this member. This happens when a member's network was down, and does not
    /// mean that new clients will fail too.
    pub evicted: bool,
}

/// The calls that the machine makes to producer and consumer.
pub trait Client {
    /// Begins a transaction.
    fn begin(&mut self) -> Outcome;
    /// Adds the offsets of the processed records to the transaction.
    fn send_offsets(&mut self, marks: &[Mark]) -> Outcome;
    /// Commits the transaction.
    fn commit(&mut self) -> Outcome;
    /// Aborts the transaction.
    fn abort(&mut self) -> Outcome;
    /// Compares these offsets with the group's stable committed offsets and their metadata: [`Outcome::Done`] if they
    /// are the same, [`Outcome::Evicted`] if another member has committed.
    fn confirm(&mut self, committed: &[Mark]) -> Outcome;
    /// Makes the consumer continue from these offsets.
    fn rewind(&mut self, positions: &[Position]) -> Outcome;
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No transaction is open.
    Idle,
    /// Records are being processed.
    Open,
    /// The transaction contains the offsets. Its commit is not started or not resolved yet.
    OffsetsSent,
    /// The transaction must be aborted.
    Aborting(String),
    /// The transaction was aborted; the consumer must be set back.
    Rewinding,
    /// The clients are broken and must be rebuilt.
    Broken(Breakage),
}

/// The next step of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Poll for records, at most until the transaction is due.
    Poll(Option<Duration>),
    /// Call [`Machine::advance`].
    Advance,
    /// Build new clients.
    Rebuild(Breakage),
}

/// The result of one call of [`Machine::advance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// No transaction was committed or aborted by this call.
    None,
    /// The transaction was committed.
    Committed {
        /// Time for which the transaction was open.
        took: Duration,
    },
    /// The transaction was aborted; all its records will be read again.
    Aborted(String),
}

/// The state of one worker's transactions.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    phase: Phase,
    cursors: BTreeMap<Partition, Cursor>,
    opened: Option<Instant>,
    records: usize,
    accepted: Option<Accepted>,
    revoke_deadline: Option<Instant>,
}

impl Machine {
    /// Creates a machine without partitions and without a transaction.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::Idle,
            cursors: BTreeMap::new(),
            opened: None,
            records: 0,
            accepted: None,
            revoke_deadline: None,
        }
    }

    /// Adds an assigned partition. It will be read from its first record that is not processed.
    pub fn assign(&mut self, partition: Partition, consumed: Consumed) {
        self.cursors.insert(partition, Cursor::at(consumed));
    }

    /// The partitions that are owned now.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.cursors.keys().copied()
    }

    /// Offset of the first record that is not processed, according to the brokers.
    #[must_use]
    pub fn committed(&self, partition: Partition) -> Option<Offset> {
        self.cursors.get(&partition).map(|cursor| cursor.committed.consumed.frontier())
    }

    /// Next offset to read, as of the last commit. It is after the records that were deferred since the assignment.
    #[must_use]
    pub fn read(&self, partition: Partition) -> Option<Offset> {
        self.cursors.get(&partition).map(|cursor| cursor.committed.read)
    }

    /// Number of deferred records of the partition, according to the brokers.
    #[must_use]
    pub fn deferred(&self, partition: Partition) -> u64 {
        self.cursors.get(&partition).map_or(0, |cursor| cursor.committed.consumed.deferred())
    }

    /// Returns what to do next.
    #[must_use]
    pub fn step(&self, now: Instant) -> Step {
        match &self.phase {
            Phase::Idle => Step::Poll(None),
            Phase::Open => match self.due_in(now) {
                Some(left) => Step::Poll(Some(left)),
                None => Step::Advance,
            },
            Phase::OffsetsSent | Phase::Aborting(_) | Phase::Rewinding => Step::Advance,
            Phase::Broken(breakage) => Step::Rebuild(breakage.clone()),
        }
    }

    /// Time until the open transaction is due; `None` if it is due now.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.records >= self.limits.records || self.revoke_deadline.is_some() {
            return None;
        }
        let age = self.opened.map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened));
        self.limits.interval.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Whether to process a polled record now. Begins a transaction if none is open. `false` means that the caller must
    /// drop the record: its partition is not owned, or the record will be read again, or it was read before.
    pub fn accept(&mut self, record: Position, now: Instant, client: &mut impl Client) -> bool {
        if !matches!(self.phase, Phase::Idle | Phase::Open) {
            return false;
        }
        let Position { partition, offset } = record;
        let Some(cursor) = self.cursors.get_mut(&partition).filter(|cursor| offset >= cursor.open.read) else {
            return false;
        };
        if !cursor.open.consumed.lacks(offset) {
            // The record was processed while an earlier record was deferred.
            cursor.open.read = offset.next();
            return false;
        }
        if self.phase == Phase::Idle {
            match client.begin() {
                Outcome::Done => {
                    self.phase = Phase::Open;
                    self.opened = Some(now);
                    self.records = 0;
                }
                Outcome::Retry => {
                    self.break_with("beginning a transaction was refused for now".to_owned());
                    return false;
                }
                Outcome::Abort(reason) | Outcome::Broken(reason) => {
                    self.break_with(reason);
                    return false;
                }
                Outcome::Evicted(reason) => {
                    self.evicted(reason);
                    return false;
                }
            }
        }
        self.accepted = self.cursors.get_mut(&partition).map(|cursor| cursor.accept(record));
        self.records += 1;
        true
    }

    /// Undoes the last [`Machine::accept`]: the record had no effect and must be read again, by the owner of its
    /// partition at that time.
    pub fn put_back(&mut self) {
        if let Some(accepted) = self.accepted.take()
            && let Some(cursor) = self.cursors.get_mut(&accepted.position.partition)
        {
            cursor.put_back(&accepted);
            self.records -= 1;
        }
    }

    /// Defers the last accepted record, which had no effect: it is read again when its partition is assigned again.
    /// Returns `false` if no more records of the partition can be deferred; the record then still counts as accepted.
    pub fn defer(&mut self) -> bool {
        let Some(accepted) = &self.accepted else { return false };
        self.cursors.get_mut(&accepted.position.partition).is_some_and(|cursor| cursor.defer(accepted))
    }

    /// Notes that the output of the accepted record could not be queued, so that the transaction must be aborted.
    pub fn output_failed(&mut self, reason: String) {
        if self.phase == Phase::Open {
            self.phase = Phase::Aborting(reason);
        }
    }

    /// Notes that the clients must be rebuilt, for a reason found outside the machine.
    pub fn break_with(&mut self, reason: String) {
        self.phase = Phase::Broken(Breakage { reason, evicted: false });
    }

    fn evicted(&mut self, reason: String) {
        self.phase = Phase::Broken(Breakage { reason, evicted: true });
    }

    /// Makes the next call to the client and applies its outcome.
    pub fn advance(&mut self, now: Instant, client: &mut impl Client) -> Progress {
        match self.phase.clone() {
            Phase::Idle | Phase::Broken(_) => Progress::None,
            Phase::Open => {
                self.send_offsets(now, client);
                Progress::None
            }
            Phase::OffsetsSent => self.commit(now, client),
            Phase::Aborting(reason) => self.abort(reason, now, client),
            Phase::Rewinding => {
                self.rewind(now, client);
                Progress::None
            }
        }
    }

    fn send_offsets(&mut self, now: Instant, client: &mut impl Client) {
        let due = || self.cursors.iter().filter(|(_, cursor)| cursor.open.consumed != cursor.committed.consumed);
        // While a revoke, an assignment or a stop waits, another member may already have owned a partition. The offset
        // that the other member has committed is then the valid one.
        let outcome = if self.revoke_deadline.is_some() {
            let marks = due().map(|(&partition, cursor)| Mark::new(partition, &cursor.committed.consumed));
            client.confirm(&marks.collect::<Vec<_>>())
        } else {
            Outcome::Done
        };
        let outcome = match outcome {
            Outcome::Done => {
                let marks = due().map(|(&partition, cursor)| Mark::new(partition, &cursor.open.consumed));
                client.send_offsets(&marks.collect::<Vec<_>>())
            }
            other => other,
        };
        match outcome {
            Outcome::Done => self.phase = Phase::OffsetsSent,
            Outcome::Retry if self.revoke_deadline.is_some_and(|deadline| now >= deadline) => {
                self.phase = Phase::Aborting("a revoke or a stop could not wait for the commit".to_owned());
            }
            Outcome::Retry => self.check_timeout(now, "sending offsets"),
            Outcome::Abort(reason) => self.phase = Phase::Aborting(reason),
            Outcome::Broken(reason) => self.break_with(reason),
            Outcome::Evicted(reason) => self.evicted(reason),
        }
    }

    fn commit(&mut self, now: Instant, client: &mut impl Client) -> Progress {
        match client.commit() {
            Outcome::Done => {
                for cursor in self.cursors.values_mut() {
                    cursor.committed.clone_from(&cursor.open);
                }
                Progress::Committed { took: self.close(now) }
            }
            Outcome::Retry => {
                // From here on the outcome is unknown: the commit may have reached the broker. Only a repeated commit
                // or new clients can resolve it.
                if self.revoke_deadline.is_some_and(|deadline| now >= deadline) {
                    self.break_with(
                        "a commit was still unresolved when a revoke or a stop could no longer wait".to_owned(),
                    );
                } else {
                    self.check_timeout(now, "the commit");
                }
                Progress::None
            }
            Outcome::Abort(reason) => {
                self.phase = Phase::Aborting(reason);
                Progress::None
            }
            Outcome::Broken(reason) => {
                self.break_with(reason);
                Progress::None
            }
            Outcome::Evicted(reason) => {
                self.evicted(reason);
                Progress::None
            }
        }
    }

    fn abort(&mut self, reason: String, now: Instant, client: &mut impl Client) -> Progress {
        match client.abort() {
            Outcome::Done => {
                for cursor in self.cursors.values_mut() {
                    cursor.open.clone_from(&cursor.committed);
                }
                self.close(now);
                self.phase = Phase::Rewinding;
                Progress::Aborted(reason)
            }
            Outcome::Retry => {
                if self.revoke_deadline.is_some_and(|deadline| now >= deadline + self.limits.revoke) {
                    self.break_with(
                        "an abort was still unresolved when a revoke or a stop could no longer wait".to_owned(),
                    );
                } else {
                    self.check_timeout(now, "the abort");
                }
                Progress::None
            }
            Outcome::Abort(reason) | Outcome::Broken(reason) => {
                self.break_with(reason);
                Progress::None
            }
            Outcome::Evicted(reason) => {
                self.evicted(reason);
                Progress::None
            }
        }
    }

    fn rewind(&mut self, now: Instant, client: &mut impl Client) {
        let committed = || self.cursors.iter().map(|(&partition, cursor)| (partition, &cursor.committed));
        let marks: Vec<_> = committed().map(|(partition, progress)| Mark::new(partition, &progress.consumed)).collect();
        let outcome = match client.confirm(&marks) {
            Outcome::Done => {
                let positions = committed().map(|(partition, progress)| Position::of(partition, progress.read));
                client.rewind(&positions.collect::<Vec<_>>())
            }
            other => other,
        };
        match outcome {
            Outcome::Done => self.phase = Phase::Idle,
            Outcome::Retry => self.check_timeout(now, "setting the consumer back"),
            Outcome::Abort(reason) | Outcome::Broken(reason) => self.break_with(reason),
            Outcome::Evicted(reason) => self.evicted(reason),
        }
    }

    fn close(&mut self, now: Instant) -> Duration {
        self.phase = Phase::Idle;
        self.records = 0;
        self.accepted = None;
        self.opened.take().map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened))
    }

    fn check_timeout(&mut self, now: Instant, what: &str) {
        // No transaction is open while the consumer is set back, so the first unresolved call starts the clock.
        let since = *self.opened.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.limits.timeout {
            self.break_with(format!("{what} was not resolved within {:?}", self.limits.timeout));
        }
    }

    /// Starts a revoke of partitions. The driver then advances until [`Machine::is_open`] is false, and calls
    /// [`Machine::remove`]. With `lost`, this worker may no longer commit offsets of the partitions, so the transaction
    /// is aborted.
    pub fn begin_revoke(&mut self, lost: bool, now: Instant) {
        self.revoke_deadline = Some(now + self.limits.revoke);
        if lost && matches!(self.phase, Phase::Open | Phase::OffsetsSent) {
            self.phase = Phase::Aborting("the partitions were lost".to_owned());
        }
    }

    /// Whether a transaction is open. Partitions may be removed only while none is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::OffsetsSent | Phase::Aborting(_))
    }

    /// Removes revoked partitions.
    pub fn remove(&mut self, partitions: &BTreeSet<Partition>) {
        debug_assert!(!self.is_open(), "a partition is removed only when no transaction is open");
        self.cursors.retain(|partition, _| !partitions.contains(partition));
        self.revoke_deadline = None;
    }

    /// Makes the open transaction due before an assignment, because handling one may take long. The driver then
    /// advances until [`Machine::is_open`] is false, and calls [`Machine::remove`] with no partitions.
    pub fn begin_assign(&mut self, now: Instant) {
        self.begin_revoke(false, now);
    }

    /// Makes the open transaction due now, because a stop was requested. The first call sets the deadline.
    pub fn finish(&mut self, now: Instant) {
        self.revoke_deadline.get_or_insert(now + self.limits.revoke);
    }
}

#[cfg(test)]
mod tests;
