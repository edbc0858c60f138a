//! A group client without brokers, for the tests of the sessions. Like librdkafka, it keeps the pause of a partition
//! through a revoke. It panics if a session polls again before it has taken the rebalance that the last poll noted.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as RdError, KafkaResult, RDKafkaErrorCode};

use crate::group::{GroupClient, Rebalance};
use crate::partition_list;
use crate::record::{FakeRecord, Polled};

/// A recorded call that changes the state of the client or of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Assign(Vec<Partition>),
    Unassign(Vec<Partition>),
    Commit(Vec<Position>),
    Close,
}

#[derive(Debug, Default)]
struct State {
    /// Offsets and sizes of the records of each partition.
    log: BTreeMap<Partition, Vec<(i64, usize)>>,
    /// Rebalances that the next polls note.
    coming: VecDeque<Rebalance>,
    noted: VecDeque<Rebalance>,
    poll_errors: VecDeque<RdError>,
    commit_errors: VecDeque<RDKafkaErrorCode>,
    /// Next offset to read of each assigned partition; `None` if the partition was assigned without a starting offset.
    assigned: BTreeMap<Partition, Option<Offset>>,
    paused: BTreeSet<Partition>,
    committed: BTreeMap<Partition, Offset>,
    is_lost: bool,
    holds_commits: bool,
    calls: Vec<Call>,
    sought: Vec<Position>,
}

/// A [`GroupClient`] without brokers.
#[derive(Debug, Default)]
pub(crate) struct FakeClient(Mutex<State>);

impl FakeClient {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Writes records of this size to a partition.
    pub(crate) fn write(&self, partition: Partition, offsets: std::ops::Range<i64>, bytes: usize) {
        self.state().log.entry(partition).or_default().extend(offsets.map(|offset| (offset, bytes)));
    }

    /// Makes the next poll note this rebalance.
    pub(crate) fn rebalance(&self, rebalance: Rebalance) {
        self.state().coming.push_back(rebalance);
    }

    /// Makes the next poll return this error.
    pub(crate) fn fail_poll(&self, error: RdError) {
        self.state().poll_errors.push_back(error);
    }

    /// Makes the next commit fail with this code.
    pub(crate) fn fail_commit(&self, code: RDKafkaErrorCode) {
        self.state().commit_errors.push_back(code);
    }

    /// With `true`, makes commits wait, as if there were no coordinator, until a call with `false`.
    pub(crate) fn hold_commits(&self, hold: bool) {
        self.state().holds_commits = hold;
    }

    pub(crate) fn lose_assignment(&self) {
        self.state().is_lost = true;
    }

    /// Sets the pause flag of a partition, as an earlier assignment can leave it.
    pub(crate) fn leave_paused(&self, partition: Partition) {
        self.state().paused.insert(partition);
    }

    pub(crate) fn is_paused(&self, partition: Partition) -> bool {
        self.state().paused.contains(&partition)
    }

    pub(crate) fn assigned(&self) -> Vec<Partition> {
        self.state().assigned.keys().copied().collect()
    }

    pub(crate) fn committed_offset(&self, partition: Partition) -> Option<Offset> {
        self.state().committed.get(&partition).copied()
    }

    /// Returns the offsets that were sought since the last call of this method.
    pub(crate) fn sought(&self) -> Vec<Position> {
        std::mem::take(&mut self.state().sought)
    }

    /// Returns the calls since the last call of this method.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }
}

impl GroupClient for FakeClient {
    fn poll(&self, _: Duration) -> Option<KafkaResult<Polled<'_>>> {
        let mut state = self.state();
        if let Some(error) = state.poll_errors.pop_front() {
            return Some(Err(error));
        }
        if let Some(rebalance) = state.coming.pop_front() {
            state.noted.push_back(rebalance);
            return None;
        }
        assert!(state.noted.is_empty(), "polled before the rebalance was carried out");
        let State { log, assigned, paused, .. } = &mut *state;
        for (partition, next) in assigned.iter_mut().filter(|(partition, _)| !paused.contains(partition)) {
            let Some(start) = *next else { continue };
            let records = log.get(partition).into_iter().flatten();
            let Some(&(offset, bytes)) = records.clone().find(|(offset, _)| *offset >= start.0) else { continue };
            *next = Some(Offset(offset).next());
            let position = Position::of(*partition, Offset(offset));
            return Some(Ok(Polled::Fake(FakeRecord { position, timestamp: offset, value: vec![7; bytes] })));
        }
        None
    }

    fn next_rebalance(&self) -> Option<Rebalance> {
        self.state().noted.pop_front()
    }

    fn assign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        let mut state = self.state();
        let partitions = partition_list::partitions_of(list);
        state.assigned.extend(partitions.iter().map(|partition| (*partition, None)));
        let starts = partition_list::positions_of(list).into_iter();
        state.assigned.extend(starts.map(|start| (start.partition, Some(start.offset))));
        state.calls.push(Call::Assign(partitions));
        Ok(())
    }

    fn unassign(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        let mut state = self.state();
        let partitions = partition_list::partitions_of(list);
        for partition in &partitions {
            assert!(state.assigned.remove(partition).is_some(), "partition {partition} is not assigned");
        }
        state.is_lost = false;
        state.calls.push(Call::Unassign(partitions));
        Ok(())
    }

    fn pause(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        self.state().paused.extend(partition_list::partitions_of(list));
        Ok(())
    }

    fn resume(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = partition_list::partitions_of(list);
        self.state().paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn seek(&self, list: TopicPartitionList, _: Duration) -> KafkaResult<TopicPartitionList> {
        let mut state = self.state();
        for position in partition_list::positions_of(&list) {
            state.assigned.insert(position.partition, Some(position.offset));
            state.sought.push(position);
        }
        drop(state);
        Ok(list)
    }

    fn commit(&self, list: &TopicPartitionList) -> KafkaResult<()> {
        while self.state().holds_commits {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut state = self.state();
        if let Some(code) = state.commit_errors.pop_front() {
            return Err(RdError::ConsumerCommit(code));
        }
        let positions = partition_list::positions_of(list);
        state.committed.extend(positions.iter().map(|position| (position.partition, position.offset)));
        state.calls.push(Call::Commit(positions));
        Ok(())
    }

    fn committed(&self, list: TopicPartitionList, _: Duration) -> KafkaResult<TopicPartitionList> {
        let state = self.state();
        let mut found = TopicPartitionList::new();
        for element in list.elements() {
            let offset = state.committed.get(&Partition(element.partition()));
            let offset = offset.map_or(rdkafka::Offset::Invalid, |offset| rdkafka::Offset::Offset(offset.0));
            found.add_partition_offset(element.topic(), element.partition(), offset)?;
        }
        Ok(found)
    }

    fn position(&self) -> KafkaResult<TopicPartitionList> {
        let state = self.state();
        let mut positions = TopicPartitionList::new();
        for (partition, next) in &state.assigned {
            let offset = next.map_or(rdkafka::Offset::Invalid, |next| rdkafka::Offset::Offset(next.0));
            positions.add_partition_offset("typed", partition.0, offset)?;
        }
        Ok(positions)
    }

    fn is_assignment_lost(&self) -> bool {
        self.state().is_lost
    }

    fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        None
    }

    fn close(&self, _: &TopicName) {
        self.state().calls.push(Call::Close);
    }
}
