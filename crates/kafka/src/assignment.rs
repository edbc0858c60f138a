//! The partitions a group member is assigned, and which of them are paused.
//!
//! librdkafka keeps its pause flag through unassign and assign: a partition that was paused, revoked and assigned again
//! would never be read again. Here, a pause ends with its assignment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use crate::error::KafkaError;
use crate::group;
use crate::topic::TopicName;

/// Whether a partition is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetching {
    /// Its records are returned by polling.
    Running,
    /// No record of it is returned until it is resumed.
    Paused,
}

/// The assigned partitions of one topic.
#[derive(Debug)]
pub(crate) struct Assignment {
    topic: TopicName,
    partitions: BTreeMap<i32, Fetching>,
}

impl Assignment {
    pub(crate) fn new(topic: &TopicName) -> Self {
        Self { topic: topic.clone(), partitions: BTreeMap::new() }
    }

    /// Adds partitions, which are read from these offsets.
    pub(crate) fn assign<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        starts: &[(i32, Offset)],
        fetching: Fetching,
    ) -> Result<(), KafkaError> {
        let mut list = rdkafka::TopicPartitionList::with_capacity(starts.len());
        for &(partition, offset) in starts {
            list.add_partition_offset(self.topic.as_str(), partition, offset)
                .map_err(KafkaError::during("building a list of offsets"))?;
        }
        consumer.incremental_assign(&list).map_err(KafkaError::during("taking assigned partitions"))?;
        let partitions: Vec<i32> = starts.iter().map(|&(partition, _)| partition).collect();
        self.partitions.extend(partitions.iter().map(|&partition| (partition, fetching)));
        match fetching {
            Fetching::Paused => self.pause(consumer, &partitions),
            Fetching::Running => self.resume(consumer, &partitions),
        }
    }

    /// Removes partitions. Those that were not added yet are unknown to librdkafka too.
    pub(crate) fn unassign<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        partitions: &[i32],
    ) -> Result<(), KafkaError> {
        let added: Vec<i32> =
            partitions.iter().copied().filter(|partition| self.partitions.contains_key(partition)).collect();
        self.resume(consumer, &added)?;
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        consumer
            .incremental_unassign(&group::partitions(&self.topic, &added))
            .map_err(KafkaError::during("giving partitions back"))
    }

    /// Pauses assigned partitions.
    pub(crate) fn pause<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        partitions: &[i32],
    ) -> Result<(), KafkaError> {
        self.set(partitions, Fetching::Paused);
        consumer.pause(&group::partitions(&self.topic, partitions)).map_err(KafkaError::during("pausing partitions"))
    }

    /// Resumes assigned partitions.
    pub(crate) fn resume<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        partitions: &[i32],
    ) -> Result<(), KafkaError> {
        self.set(partitions, Fetching::Running);
        consumer.resume(&group::partitions(&self.topic, partitions)).map_err(KafkaError::during("resuming partitions"))
    }

    fn set(&mut self, partitions: &[i32], to: Fetching) {
        for partition in partitions {
            if let Some(fetching) = self.partitions.get_mut(partition) {
                *fetching = to;
            }
        }
    }

    /// Whether a partition is assigned and not paused.
    pub(crate) fn is_fetching(&self, partition: i32) -> bool {
        self.partitions.get(&partition) == Some(&Fetching::Running)
    }

    /// The assigned partitions, in order.
    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.partitions.keys().copied().collect()
    }
}

/// Detects partitions that have records and are fetched, but return no record.
#[derive(Debug)]
pub(crate) struct Unread {
    after: Duration,
    /// The position of each partition, and since when it has not moved although it should.
    since: BTreeMap<i32, (i64, Instant)>,
}

impl Unread {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, since: BTreeMap::new() }
    }

    /// Takes each partition's position, and whether it should return records now. Returns a partition that has returned
    /// none for too long.
    pub(crate) fn look(&mut self, partitions: impl Iterator<Item = (i32, i64, bool)>, now: Instant) -> Option<i32> {
        let mut seen = BTreeMap::new();
        let mut found = None;
        for (partition, position, is_read) in partitions {
            let since = match self.since.get(&partition) {
                Some(&(before, since)) if before == position && is_read => since,
                _ => now,
            };
            if now.saturating_duration_since(since) >= self.after {
                found = Some(partition);
            }
            seen.insert(partition, (position, since));
        }
        self.since = seen;
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rdkafka::message::Message;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use super::*;
    use crate::connection::Connection;
    use crate::group::GroupSettings;

    const PARTITIONS: i32 = 3;

    /// librdkafka with a mock broker, and what a reader must get from it.
    struct Model {
        consumer: BaseConsumer<group::GroupContext>,
        producer: BaseProducer,
        assignment: Assignment,
        /// Records written to each partition.
        written: BTreeMap<i32, i64>,
        /// The next offset that each partition's reader must get.
        next: BTreeMap<i32, i64>,
    }

    impl Model {
        fn apply(&mut self, operation: u8, partition: i32) {
            let assigned = self.assignment.partitions().contains(&partition);
            let consumer = &self.consumer;
            match operation {
                0 if !assigned => {
                    let start = Offset::Offset(self.next[&partition]);
                    self.assignment.assign(consumer, &[(partition, start)], Fetching::Running).unwrap();
                }
                1 if !assigned => {
                    let start = Offset::Offset(self.next[&partition]);
                    self.assignment.assign(consumer, &[(partition, start)], Fetching::Paused).unwrap();
                }
                2 if assigned => self.assignment.unassign(consumer, &[partition]).unwrap(),
                3 if assigned => self.assignment.pause(consumer, &[partition]).unwrap(),
                4 if assigned => self.assignment.resume(consumer, &[partition]).unwrap(),
                _ => {}
            }
        }

        fn write(&mut self, partition: i32) {
            self.producer.send(BaseRecord::<(), [u8]>::to("t").partition(partition).payload(b"x")).unwrap();
            self.producer.flush(Duration::from_secs(10)).unwrap();
            *self.written.get_mut(&partition).unwrap() += 1;
        }

        /// Checks that every fetched partition is read to its end, and no other one is.
        fn check(&mut self, history: &[(u8, i32)]) {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let behind: BTreeSet<i32> = (0..PARTITIONS)
                    .filter(|&partition| self.assignment.is_fetching(partition))
                    .filter(|partition| self.next[partition] < self.written[partition])
                    .collect();
                if behind.is_empty() {
                    return;
                }
                assert!(Instant::now() < deadline, "partitions {behind:?} are not read after {history:?}");
                if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) {
                    let partition = message.partition();
                    // Records that librdkafka had returned before a pause or an unassign are read again later.
                    if self.assignment.is_fetching(partition) && message.offset() >= self.next[&partition] {
                        assert_eq!(message.offset(), self.next[&partition], "a gap after {history:?}");
                        self.next.insert(partition, message.offset() + 1);
                    }
                }
            }
        }
    }

    #[test]
    fn every_assigned_partition_that_is_not_paused_is_read_after_any_history() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", PARTITIONS, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let topic: TopicName = "t".parse().unwrap();
        let consumer =
            group::consumer(&connection, &GroupSettings { group: "g", client_id: None, fetch_bytes: 0 }).unwrap();
        let zero = || (0..PARTITIONS).map(|partition| (partition, 0)).collect::<BTreeMap<_, _>>();
        let mut model = Model {
            consumer,
            producer: connection.config().create().unwrap(),
            assignment: Assignment::new(&topic),
            written: zero(),
            next: zero(),
        };
        let seed = fastrand::u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        for round in 0..25 {
            let operations: Vec<(u8, i32)> =
                (0..dice.usize(1..6)).map(|_| (dice.u8(0..5), dice.i32(0..PARTITIONS))).collect();
            for &(operation, partition) in &operations {
                model.apply(operation, partition);
            }
            for partition in 0..PARTITIONS {
                model.write(partition);
            }
            // cargo prints this only if the test fails.
            eprintln!("seed {seed}, round {round}");
            model.check(&operations);
        }
    }

    #[test]
    fn a_partition_without_progress_is_reported_after_the_time_limit() {
        let start = Instant::now();
        let mut unread = Unread::new(Duration::from_secs(60));
        let mut at = |seconds, partitions: &[(i32, i64, bool)]| {
            unread.look(partitions.iter().copied(), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &[(0, 5, true), (1, 5, true)]), None);
        assert_eq!(at(59, &[(0, 5, true), (1, 6, true)]), None);
        assert_eq!(at(60, &[(0, 5, true), (1, 6, true)]), Some(0), "only partition 1 has moved");
        assert_eq!(at(61, &[(0, 5, false)]), None, "it is at its end, or paused");
        assert_eq!(at(120, &[(0, 5, true)]), None, "the time begins again");
        assert_eq!(at(122, &[(0, 5, true)]), Some(0));
    }
}
