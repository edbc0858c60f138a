//! What a worker does with its records: the interface to the code that knows what they mean.

use std::time::Duration;

use contract::Partition;

use super::outbox::Outbox;
use super::restore::PartitionState;
use crate::record::Record;

/// Turns records into output, and is notified when that output is committed or aborted.
pub trait Processor {
    /// The state that is restored from a partition's earlier output.
    type State: PartitionState;
    /// Creates an empty state, to be restored on another thread.
    fn new_state(&self) -> Self::State;
    /// The state of a partition is restored, and its records follow. `took` is how long restoring took.
    fn restored(&mut self, partition: Partition, state: Self::State, took: Duration);
    /// A partition was revoked; it may be assigned again with a new state.
    fn release(&mut self, partition: Partition);
    /// Turns one record into output. May be called again for the same record after an abort.
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>);
    /// Reports how many records of a partition are deferred; called about every second while there are any, and once
    /// after.
    fn show_deferred(&mut self, partition: Partition, records: u64);
    /// All records processed since the last call of this or [`Processor::aborted`] are committed.
    fn committed(&mut self, took: Duration);
    /// All records processed since the last call of this or [`Processor::committed`] are aborted and will be read
    /// again.
    fn aborted(&mut self);
}
