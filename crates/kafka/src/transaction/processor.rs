//! The interface between a worker and the code that processes its records.

use std::time::Duration;

use contract::Partition;

use super::outbox::Outbox;
use super::tail::PartitionState;
use crate::record::Record;

/// How a worker continues after a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a record is committed unless its disposition says otherwise"]
pub enum Disposition {
    /// The record is processed: its output is in the outbox, or it has no output. It is committed with the transaction.
    Done,
    /// The record had no effect and is deferred; the records after it are processed. The deferred record is processed
    /// when its partition is assigned again, for example after a restart. If too many records of the partition are
    /// deferred already, the partition stops before this record, and the other partitions continue; the reason is then
    /// logged.
    Defer(String),
    /// The record had no effect, and the worker stops before it. The records before it are committed; then the worker
    /// holds: it stays alive and reads nothing until it is restarted. The reason includes the remedy.
    Hold(String),
    /// The worker ends, because this record can neither be turned into output nor be skipped until a person has changed
    /// something. The reason includes the remedy. Nothing of the open transaction becomes visible.
    Stop(String),
}

/// Turns records into output, and is notified when that output is committed or aborted.
///
/// **Thread.** The worker calls all methods on one thread, one after the other. While a method runs, the worker does
/// not poll, commit or answer a rebalance. Only [`PartitionState`] is used on another thread, until it is passed to
/// [`Processor::restored`].
///
/// **Time.** The time in [`Processor::process`] counts towards the open transaction, which the brokers abort after
/// [`WorkerSettings::transaction_timeout`](super::WorkerSettings::transaction_timeout); the worker then builds new
/// clients. A member that does not poll for `max.poll.interval.ms` (five minutes by default) is removed from the group.
///
/// **Repetition.** After an abort of its transaction, a record is processed again, by this worker or another worker.
/// The abort has discarded its output; [`Processor::aborted`] must undo everything else that the record has changed.
pub trait Processor {
    /// The state that is restored from a partition's earlier output.
    type State: PartitionState;
    /// Creates an empty state, to be restored on another thread.
    fn new_state(&self) -> Self::State;
    /// Receives the restored state of a partition, whose records follow. `took` is the time that restoring took.
    fn restored(&mut self, partition: Partition, state: Self::State, took: Duration);
    /// Drops the state of a revoked partition, which may be assigned again with a new state.
    fn release(&mut self, partition: Partition);
    /// Turns one record into output.
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>) -> Disposition;
    /// Reports the number of deferred records of a partition. Called about once a second for each partition.
    fn show_deferred(&mut self, partition: Partition, records: u64);
    /// Notes that all records processed since the last call of this method or [`Processor::aborted`] are committed.
    /// `took` is the time for which the transaction was open.
    fn committed(&mut self, took: Duration);
    /// Notes that all records processed since the last call of this method or [`Processor::committed`] are aborted and
    /// will be read again.
    fn aborted(&mut self);
}
