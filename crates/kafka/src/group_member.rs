//! A member of a consumer group, for [`crate::consumer`] and [`crate::transaction`]. It polls, keeps the assignment,
//! and detects that its client must be replaced. The caller decides how a rebalance affects records in progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Partition, Position, TopicName};
use rdkafka::error::KafkaError as RdError;

use crate::assignment::{Assignment, Fetching, ReadProgress, Unread};
use crate::error::KafkaError;
use crate::error_table::{PollFailure, poll_failure};
use crate::group::{GroupClient, Rebalance};
use crate::health::{KafkaHealth, assignment_lost, trouble};
use crate::metrics::{ConsumerMetrics, RebalanceKind};
use crate::partition_list;
use crate::record::Polled;

/// Time after which a partition that is fetched and has records, but returns none, counts as no longer read by
/// librdkafka.
const UNREAD_AFTER: Duration = Duration::from_secs(60);

/// The result of one poll.
#[derive(Debug)]
pub(crate) enum Event<'c> {
    /// A record. If its partition is paused, librdkafka returns the record again after the resume.
    Record(Polled<'c>),
    /// The group assigns these partitions. The rebalance completes only after the caller has called
    /// [`GroupMember::add`], possibly with an empty list.
    Assigned(Vec<Partition>),
    /// The group takes these partitions back. They belong to the member until it calls [`GroupMember::remove`]; if they
    /// are lost, another member may own them already.
    Revoked { partitions: Vec<Partition>, lost: bool },
    /// The client must be replaced, for this reason.
    Gone(String),
    /// Nothing happened, or librdkafka has a temporary problem that it solves by itself.
    Idle,
}

/// A member of a consumer group. Its methods block only where this is documented.
pub(crate) struct GroupMember<C> {
    client: Arc<C>,
    topic: TopicName,
    assignment: Assignment,
    unread: Unread,
    metrics: ConsumerMetrics,
    health: KafkaHealth,
}

impl<C: GroupClient> GroupMember<C> {
    /// Creates a member without partitions. The client must have subscribed to the topic.
    pub(crate) fn new(client: Arc<C>, topic: &TopicName, metrics: &ConsumerMetrics, health: &KafkaHealth) -> Self {
        Self {
            client,
            topic: topic.clone(),
            assignment: Assignment::new(topic),
            unread: Unread::new(UNREAD_AFTER),
            metrics: metrics.clone(),
            health: health.clone(),
        }
    }

    pub(crate) fn client(&self) -> &Arc<C> {
        &self.client
    }

    /// Polls for at most this long. The caller must apply a rebalance before the next poll.
    pub(crate) fn poll(&self, timeout: Duration) -> Event<'_> {
        if let Some(rebalance) = self.client.next_rebalance() {
            return self.rebalanced(rebalance);
        }
        match self.client.poll(timeout) {
            Some(Ok(record)) => {
                self.health.group.succeeded();
                Event::Record(record)
            }
            Some(Err(error)) if !matches!(error, RdError::PartitionEOF(_)) => self.failed(&error),
            // `poll` may have called the rebalance callback, which only notes the rebalance.
            None | Some(Err(_)) => {
                self.client.next_rebalance().map_or(Event::Idle, |rebalance| self.rebalanced(rebalance))
            }
        }
    }

    fn rebalanced(&self, rebalance: Rebalance) -> Event<'_> {
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.metrics.rebalanced(RebalanceKind::Assigned);
                Event::Assigned(partitions)
            }
            Rebalance::Revoke { partitions, lost } => {
                self.metrics.rebalanced(if lost { RebalanceKind::Lost } else { RebalanceKind::Revoked });
                if lost {
                    self.health.group.failed(assignment_lost());
                }
                Event::Revoked { partitions, lost }
            }
        }
    }

    fn failed(&self, error: &RdError) -> Event<'_> {
        match poll_failure(error) {
            Some(PollFailure::Fatal) => Event::Gone(format!("the consumer failed: {error}")),
            Some(PollFailure::OutOfRange) => Event::Gone(format!("the position is out of range: {error}")),
            Some(PollFailure::NoTopic) => Event::Gone(format!("the topic `{}` is gone: {error}", self.topic)),
            None => {
                tracing::debug!(%error, "polling");
                self.health.group.failed(trouble(error));
                Event::Idle
            }
        }
    }

    /// Adds partitions at their starting offsets. This answers an assignment.
    pub(crate) fn add(&mut self, starts: &[Position], fetching: Fetching) -> Result<(), KafkaError> {
        self.assignment.assign(&*self.client, starts, fetching)
    }

    /// Adds partitions only so that the client can be closed: librdkafka does not close before all partitions that the
    /// group has assigned are added. No record of them is read. `why` is for the log.
    pub(crate) fn add_before_the_end(&self, partitions: &[Partition], why: &str) {
        if let Err(error) = self.client.assign(&partition_list::partitions(&self.topic, partitions)) {
            tracing::debug!(%error, "{why}");
        }
    }

    /// Removes partitions. This answers a revoke: the group may assign them to another member from here on.
    pub(crate) fn remove(&mut self, partitions: &[Partition]) -> Result<(), KafkaError> {
        self.assignment.unassign(&*self.client, partitions)
    }

    /// Stops fetching these partitions.
    pub(crate) fn pause(&mut self, partitions: &[Partition]) -> Result<(), KafkaError> {
        self.assignment.pause(&*self.client, partitions)
    }

    /// Fetches partitions again, each from this offset.
    pub(crate) fn resume(&mut self, at: &[Position]) -> Result<(), KafkaError> {
        self.assignment.resume(&*self.client, at)
    }

    /// Stops fetching all partitions.
    pub(crate) fn pause_all(&mut self) -> Result<(), KafkaError> {
        self.pause(&self.assignment.partitions())
    }

    /// Whether the partition is assigned to this member and not paused.
    pub(crate) fn is_fetching(&self, partition: Partition) -> bool {
        self.assignment.is_fetching(partition)
    }

    /// Whether the group has removed this member, and the client has not yet reported the revoke.
    pub(crate) fn is_lost(&self) -> bool {
        self.client.is_assignment_lost()
    }

    /// Detects a partition that librdkafka no longer reads, and returns a description of the problem. `next` returns
    /// the position of a partition, and whether the caller is ready for its records.
    pub(crate) fn look_for_unread(
        &mut self,
        now: Instant,
        next: impl Fn(Partition) -> Option<ReadProgress>,
    ) -> Option<String> {
        let assignment = &self.assignment;
        // During an outage nothing can be read. librdkafka notices the end of the outage by itself.
        let reachable = !self.health.brokers.fails();
        let progress = assignment.partitions().into_iter().filter_map(|partition| {
            let ReadProgress { position, is_due } = next(partition)?;
            let is_behind = self.metrics.readable_end(partition).is_some_and(|end| position.offset < end);
            let is_due = reachable && is_due && is_behind && assignment.is_fetching(partition);
            Some(ReadProgress { position, is_due })
        });
        let partition = self.unread.look(progress, now)?;
        Some(format!(
            "partition {partition} of `{}` has records and is not paused, but none were returned for {UNREAD_AFTER:?}",
            self.topic
        ))
    }

    /// Prepares the client for being dropped: from here on the client answers rebalances by itself.
    pub(crate) fn close(&self) {
        self.client.close(&self.topic);
    }
}
