//! What a worker does with its records: the interface to the code that knows what they mean.

use std::time::Duration;

use contract::Partition;

use super::outbox::Outbox;
use super::tail::PartitionState;
use crate::record::Record;

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a record is committed unless its disposition says otherwise"]
pub enum Disposition {
    /// It is processed: its output is in the outbox, or it has none. It is committed with the transaction.
    Done,
    /// It is deferred, and the records after it continue; it must have had no effect. It is processed when its partition
    /// is assigned again, for example after a restart. If too many records of the partition are deferred already, the
    /// partition stops before this one, and the others continue; the reason then says why.
    Defer(String),
    /// Stop before this record, which must have had no effect. The records before it are committed; then the worker
    /// holds: it stays alive and reads nothing until it is restarted. The reason says what to do.
    Hold(String),
    /// End the worker: this record can neither be turned into output nor be skipped until a person has changed
    /// something; the reason says what. Nothing of the open transaction becomes visible.
    Stop(String),
}

/// Turns records into output, and is notified when that output is committed or aborted.
///
/// **Thread.** The worker calls all methods on its own thread, one after the other. While a method runs, the worker does
/// not poll, commit or answer a rebalance. Only [`PartitionState`] is used on another thread, until
/// [`Processor::restored`] gets it.
///
/// **Time.** The time in [`Processor::process`] is part of the open transaction, which the brokers abort after
/// [`WorkerSettings::transaction_timeout`](super::WorkerSettings::transaction_timeout); the worker then builds new clients.
/// A member that does not poll for `max.poll.interval.ms` (five minutes by default) is removed from the group.
///
/// **Repetition.** A record is processed again after its transaction was aborted, by this worker or by another one.
/// Output in the outbox is then gone; everything else that a record has changed must be undone in
/// [`Processor::aborted`].
pub trait Processor {
    /// The state that is restored from a partition's earlier output.
    type State: PartitionState;
    /// Creates an empty state, to be restored on another thread.
    fn new_state(&self) -> Self::State;
    /// The state of a partition is restored, and its records follow. `took` is how long restoring took.
    fn restored(&mut self, partition: Partition, state: Self::State, took: Duration);
    /// A partition was revoked; it may be assigned again with a new state.
    fn release(&mut self, partition: Partition);
    /// Turns one record into output.
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>) -> Disposition;
    /// Reports how many records of a partition are deferred; called about every second while there are any, and once
    /// after.
    fn show_deferred(&mut self, partition: Partition, records: u64);
    /// All records processed since the last call of this or [`Processor::aborted`] are committed.
    fn committed(&mut self, took: Duration);
    /// All records processed since the last call of this or [`Processor::committed`] are aborted and will be read
    /// again.
    fn aborted(&mut self);
}
