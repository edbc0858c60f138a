//! The transactional worker's decisions, as a value: when to begin, send offsets, commit, abort and rewind, and what each
//! outcome leads to.
//!
//! The rules it keeps:
//! - offsets are sent only for partitions owned now, and only behind records processed in this transaction;
//! - after an abort everything polled is read again: the position returns to the committed offset;
//! - a partition leaves only when no transaction is open (commit within the revoke's deadline, else abort);
//! - after an abort, and before the commit of a revoke, the group's committed offsets must be the ones known here: if
//!   another member has committed, this one was evicted meanwhile, and its positions are worth nothing;
//! - a commit whose outcome is unknown is never guessed at: the clients are built anew, and the brokers decide.
//!
//! It knows no Kafka client and no clock: times come in as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::cursor::{Accepted, Cursor};
use crate::consumed::Consumed;

pub use super::cursor::Mark;

/// What a call to the brokers led to, as far as the machine cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Not done; the same call may be made again.
    Retry,
    /// The transaction cannot be committed any more, but the producer lives.
    Abort(String),
    /// The producer or consumer is of no more use.
    Broken(String),
    /// The group has gone on without this member: another one may have processed its partitions.
    Evicted(String),
}

/// Why new clients are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakage {
    /// What happened.
    pub reason: String,
    /// The group has gone on without this member. That happens to a member whose network was away and is no sign that new
    /// clients will not do better.
    pub evicted: bool,
}

/// The calls the machine asks for.
pub trait Client {
    /// Begins a transaction.
    fn begin(&mut self) -> Outcome;
    /// Adds what is processed to the transaction.
    fn send_offsets(&mut self, marks: &[Mark]) -> Outcome;
    /// Commits.
    fn commit(&mut self) -> Outcome;
    /// Aborts.
    fn abort(&mut self) -> Outcome;
    /// Compares these with the group's stable committed offsets and their metadata: [`Outcome::Done`] if they are the same,
    /// [`Outcome::Evicted`] if another member has committed.
    fn confirm(&mut self, committed: &[Mark]) -> Outcome;
    /// Makes the consumer read on from these offsets.
    fn rewind(&mut self, positions: &[(i32, i64)]) -> Outcome;
}

/// When a transaction is due.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commit when the transaction is this old.
    pub interval: Duration,
    /// Commit when it holds this many records.
    pub records: usize,
    /// Give the clients up when a transaction has been open for this long.
    pub timeout: Duration,
    /// On a revoke, how long a commit may take before it is an abort.
    pub revoke: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No transaction.
    Idle,
    /// Records are being processed.
    Open,
    /// The offsets are in; the commit is to come or under way.
    OffsetsSent,
    /// The transaction is to be aborted.
    Aborting(String),
    /// Aborted; the consumer is to be set back.
    Rewinding,
    /// The clients are of no more use.
    Broken(Breakage),
}

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Poll for records, at most until the transaction is due.
    Poll(Option<Duration>),
    /// Call [`Machine::advance`].
    Advance,
    /// Build new clients.
    Rebuild(Breakage),
}

/// What came of one [`Machine::advance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing final yet.
    None,
    /// The transaction's records are final.
    Committed {
        /// How long the transaction was open.
        took: Duration,
    },
    /// The transaction left no trace; all its records will be read again.
    Aborted(String),
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    phase: Phase,
    cursors: BTreeMap<i32, Cursor>,
    opened: Option<Instant>,
    records: usize,
    accepted: Option<Accepted>,
    revoke_deadline: Option<Instant>,
}

impl Machine {
    /// A machine without partitions and without a transaction.
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

    /// A partition was assigned and will be read from the first record that is not processed.
    pub fn assign(&mut self, partition: i32, consumed: Consumed) {
        self.cursors.insert(partition, Cursor::at(consumed));
    }

    /// The partitions owned now.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.cursors.keys().copied()
    }

    /// The first offset that is not processed, as the brokers know it.
    #[must_use]
    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.cursors.get(&partition).map(|cursor| cursor.committed.consumed.frontier())
    }

    /// How far the partition is read with what is committed.
    #[must_use]
    pub fn read(&self, partition: i32) -> Option<i64> {
        self.cursors.get(&partition).map(|cursor| cursor.committed.read)
    }

    /// How many records of the partition are deferred, as the brokers know it.
    #[must_use]
    pub fn deferred(&self, partition: i32) -> u64 {
        self.cursors.get(&partition).map_or(0, |cursor| cursor.committed.consumed.deferred())
    }

    /// What to do next.
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

    /// Time until the open transaction is due; `None` when it is.
    fn due_in(&self, now: Instant) -> Option<Duration> {
        if self.records >= self.limits.records || self.revoke_deadline.is_some() {
            return None;
        }
        let age = self.opened.map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened));
        self.limits.interval.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Whether a polled record is to be processed now: begins a transaction if none is open. `false` means: drop it, it
    /// belongs to somebody else, will be read again, or was read before.
    pub fn accept(&mut self, partition: i32, offset: i64, now: Instant, client: &mut impl Client) -> bool {
        if !matches!(self.phase, Phase::Idle | Phase::Open) {
            return false;
        }
        let Some(cursor) = self.cursors.get_mut(&partition).filter(|cursor| offset >= cursor.open.read) else {
            return false;
        };
        if !cursor.open.consumed.lacks(offset) {
            // Processed while one before it was deferred.
            cursor.open.read = offset + 1;
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
        self.accepted = self.cursors.get_mut(&partition).map(|cursor| cursor.accept(partition, offset));
        self.records += 1;
        true
    }

    /// The record accepted last had no effect and is to be read again, by whoever owns its partition then.
    pub fn put_back(&mut self) {
        if let Some(accepted) = self.accepted.take()
            && let Some(cursor) = self.cursors.get_mut(&accepted.partition)
        {
            cursor.put_back(&accepted);
            self.records -= 1;
        }
    }

    /// The record accepted last had no effect and is left for later: it is read again when its partition is assigned anew.
    /// Returns `false` if no more can be deferred in its partition; it is then as if the record had just been accepted.
    pub fn defer(&mut self) -> bool {
        let Some(accepted) = &self.accepted else { return false };
        self.cursors.get_mut(&accepted.partition).is_some_and(|cursor| cursor.defer(accepted))
    }

    /// The accepted record's output could not be handed over: the transaction is lost.
    pub fn output_failed(&mut self, reason: String) {
        if self.phase == Phase::Open {
            self.phase = Phase::Aborting(reason);
        }
    }

    /// The clients are of no more use, for a reason found outside the machine.
    pub fn break_with(&mut self, reason: String) {
        self.phase = Phase::Broken(Breakage { reason, evicted: false });
    }

    fn evicted(&mut self, reason: String) {
        self.phase = Phase::Broken(Breakage { reason, evicted: true });
    }

    /// Makes the next call and takes its outcome in.
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
        // A partition that is about to leave may have been another member's for a while: what it has committed counts.
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
                self.phase = Phase::Aborting("the revoke could not wait for the commit".to_owned());
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
                // From here on the outcome is open: the commit may have reached the broker. Only the same call again,
                // or new clients, can settle it.
                if self.revoke_deadline.is_some_and(|deadline| now >= deadline) {
                    self.break_with("a revoke came while a commit was unresolved".to_owned());
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
                self.check_timeout(now, "the abort");
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
        let marks: Vec<_> = committed().map(|(partition, position)| Mark::new(partition, &position.consumed)).collect();
        let outcome = match client.confirm(&marks) {
            Outcome::Done => {
                client.rewind(&committed().map(|(partition, position)| (partition, position.read)).collect::<Vec<_>>())
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
        // While rewinding no transaction is open; the first failure starts the clock.
        let since = *self.opened.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.limits.timeout {
            self.break_with(format!("{what} was not resolved within {:?}", self.limits.timeout));
        }
    }

    /// Partitions are to leave. Afterwards the driver advances until [`Machine::is_open`] is false, then calls
    /// [`Machine::remove`]. If they are lost already, committing is no longer ours to do: the transaction is aborted.
    pub fn begin_revoke(&mut self, lost: bool, now: Instant) {
        self.revoke_deadline = Some(now + self.limits.revoke);
        if lost && matches!(self.phase, Phase::Open | Phase::OffsetsSent) {
            self.phase = Phase::Aborting("the partitions were lost".to_owned());
        }
    }

    /// Whether a transaction is open; a partition may only leave when it is not.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::OffsetsSent | Phase::Aborting(_))
    }

    /// The partitions are gone.
    pub fn remove(&mut self, partitions: &BTreeSet<i32>) {
        debug_assert!(!self.is_open(), "a partition leaves only when no transaction is open");
        self.cursors.retain(|partition, _| !partitions.contains(partition));
        self.revoke_deadline = None;
    }

    /// An assignment is to be worked out, which may take long: what is open is due now, before that. Afterwards the driver
    /// advances until [`Machine::is_open`] is false, then calls [`Machine::remove`] with nothing.
    pub fn begin_assign(&mut self, now: Instant) {
        self.begin_revoke(false, now);
    }

    /// The stop was asked for: what is open is due now.
    pub fn finish(&mut self, now: Instant) {
        self.revoke_deadline = Some(now + self.limits.timeout);
    }
}

#[cfg(test)]
mod tests;
