//! The partitions that are assigned to a group member, and which of them are paused.
//!
//! librdkafka keeps its pause flag through unassign and assign: a partition that was paused, revoked and assigned again
//! would never be read again. Therefore, [`Assignment`] clears the flag when a partition is assigned or unassigned.
//!
//! librdkafka's broker threads do not notice a resume: a thread whose partitions are all paused sleeps for up to a
//! second. A seek wakes the thread, so [`Assignment::resume`] also seeks (see `rd_kafka_toppar_pause_resume` and
//! `rd_kafka_toppar_set_fetch_state` in librdkafka).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position, TopicName};

use crate::error::KafkaError;
use crate::group::GroupClient;
use crate::partition_list;

/// Whether polling returns the records of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetching {
    /// Polling returns records of the partition.
    Running,
    /// Polling returns no record of the partition until it is resumed.
    Paused,
}

/// The assigned partitions of one topic.
#[derive(Debug)]
pub(crate) struct Assignment {
    topic: TopicName,
    partitions: BTreeMap<Partition, Fetching>,
}

impl Assignment {
    pub(crate) fn new(topic: &TopicName) -> Self {
        Self { topic: topic.clone(), partitions: BTreeMap::new() }
    }

    /// Adds partitions at their starting offsets, either running or paused.
    pub(crate) fn assign(
        &mut self,
        client: &impl GroupClient,
        starts: &[Position],
        fetching: Fetching,
    ) -> Result<(), KafkaError> {
        let list = partition_list::positions(&self.topic, starts)?;
        client.assign(&list).map_err(KafkaError::during("taking assigned partitions"))?;
        let partitions: Vec<Partition> = starts.iter().map(|start| start.partition).collect();
        self.partitions.extend(partitions.iter().map(|&partition| (partition, fetching)));
        match fetching {
            Fetching::Paused => self.pause(client, &partitions),
            Fetching::Running => self.end_pause(client, &partitions),
        }
    }

    /// Removes partitions. Skips those that were never added, because librdkafka does not know them.
    pub(crate) fn unassign(&mut self, client: &impl GroupClient, partitions: &[Partition]) -> Result<(), KafkaError> {
        let added: Vec<Partition> =
            partitions.iter().copied().filter(|partition| self.partitions.contains_key(partition)).collect();
        self.end_pause(client, &added)?;
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        client
            .unassign(&partition_list::partitions(&self.topic, &added))
            .map_err(KafkaError::during("giving partitions back"))
    }

    /// Pauses assigned partitions.
    pub(crate) fn pause(&mut self, client: &impl GroupClient, partitions: &[Partition]) -> Result<(), KafkaError> {
        self.set(partitions, Fetching::Paused);
        let list = partition_list::partitions(&self.topic, partitions);
        client.pause(&list).map_err(KafkaError::during("pausing partitions"))
    }

    /// Resumes assigned partitions at these offsets, without waiting for a result.
    pub(crate) fn resume(&mut self, client: &impl GroupClient, at: &[Position]) -> Result<(), KafkaError> {
        if at.is_empty() {
            return Ok(());
        }
        let partitions: Vec<Partition> = at.iter().map(|position| position.partition).collect();
        self.end_pause(client, &partitions)?;
        let sought = client.seek(partition_list::positions(&self.topic, at)?, Duration::ZERO);
        sought.map(drop).map_err(KafkaError::during("continuing to read partitions"))
    }

    /// Clears the pause flag of partitions. This does not wake sleeping broker threads, so a resume must also seek.
    fn end_pause(&mut self, client: &impl GroupClient, partitions: &[Partition]) -> Result<(), KafkaError> {
        self.set(partitions, Fetching::Running);
        let list = partition_list::partitions(&self.topic, partitions);
        client.resume(&list).map_err(KafkaError::during("resuming partitions"))
    }

    fn set(&mut self, partitions: &[Partition], to: Fetching) {
        for partition in partitions {
            if let Some(fetching) = self.partitions.get_mut(partition) {
                *fetching = to;
            }
        }
    }

    /// Whether a partition is assigned and not paused.
    pub(crate) fn is_fetching(&self, partition: Partition) -> bool {
        self.partitions.get(&partition) == Some(&Fetching::Running)
    }

    /// The assigned partitions, in ascending order.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.partitions.keys().copied().collect()
    }
}

/// The read position of a partition, and whether it should move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadProgress {
    /// Position of the next record to read.
    pub(crate) position: Position,
    /// Whether the partition should return records now.
    pub(crate) is_due: bool,
}

/// How long a partition has returned no record.
#[derive(Debug, Clone, Copy)]
struct Standstill {
    offset: Offset,
    /// Total time for which records were due at this offset.
    due: Duration,
    seen: Instant,
}

/// Detects partitions that have records and are fetched, but return no record.
#[derive(Debug)]
pub(crate) struct Unread {
    after: Duration,
    partitions: BTreeMap<Partition, Standstill>,
}

impl Unread {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, partitions: BTreeMap::new() }
    }

    /// Takes the progress of each partition. Returns a partition without progress, if its records were due for the time
    /// limit in total. Time during which no record is due does not count. Only progress resets the total, because a
    /// partition may be paused and resumed many times.
    pub(crate) fn look(&mut self, progress: impl Iterator<Item = ReadProgress>, now: Instant) -> Option<Partition> {
        let mut partitions = BTreeMap::new();
        let mut found = None;
        for ReadProgress { position: Position { partition, offset }, is_due } in progress {
            let before = self.partitions.get(&partition).filter(|before| before.offset == offset);
            let due = before.map_or(Duration::ZERO, |before| match is_due {
                true => before.due + now.saturating_duration_since(before.seen),
                false => before.due,
            });
            if due >= self.after {
                found = Some(partition);
            }
            partitions.insert(partition, Standstill { offset, due, seen: now });
        }
        self.partitions = partitions;
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
    use crate::group::{self, GroupSettings};

    const PARTITIONS: usize = 3;

    /// A consumer on a mock broker, with the offsets that it must return.
    struct Model {
        consumer: group::GroupConsumer,
        producer: BaseProducer,
        assignment: Assignment,
        /// End offset of each partition.
        written: BTreeMap<Partition, Offset>,
        /// Next offset that the consumer must return for each partition.
        next: BTreeMap<Partition, Offset>,
    }

    impl Model {
        fn apply(&mut self, operation: u8, partition: Partition) {
            let assigned = self.assignment.partitions().contains(&partition);
            let consumer = &self.consumer;
            match operation {
                0 | 1 if !assigned => {
                    let start = Position::of(partition, self.next[&partition]);
                    let fetching = if operation == 0 { Fetching::Running } else { Fetching::Paused };
                    self.assignment.assign(consumer, &[start], fetching).unwrap();
                }
                2 if assigned => self.assignment.unassign(consumer, &[partition]).unwrap(),
                3 if assigned => self.assignment.pause(consumer, &[partition]).unwrap(),
                4 if assigned => {
                    self.assignment.resume(consumer, &[Position::of(partition, self.next[&partition])]).unwrap();
                }
                _ => {}
            }
        }

        fn write(&mut self, partition: Partition) {
            self.producer.send(BaseRecord::<(), [u8]>::to("t").partition(partition.0).payload(b"x")).unwrap();
            self.producer.flush(Duration::from_secs(10)).unwrap();
            let end = self.written.get_mut(&partition).unwrap();
            *end = end.next();
        }

        /// Polls until every fetched partition is read to its end, and checks that no record is skipped.
        fn check(&mut self, history: &[(u8, Partition)]) {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let behind: BTreeSet<Partition> = Partition::all(PARTITIONS)
                    .filter(|&partition| self.assignment.is_fetching(partition))
                    .filter(|partition| self.next[partition] < self.written[partition])
                    .collect();
                if behind.is_empty() {
                    return;
                }
                assert!(Instant::now() < deadline, "partitions {behind:?} are not read after {history:?}");
                if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) {
                    let (partition, offset) = (Partition(message.partition()), Offset(message.offset()));
                    // Ignores records that librdkafka fetched before a pause or an unassign: they are returned again
                    // later.
                    if self.assignment.is_fetching(partition) && offset >= self.next[&partition] {
                        assert_eq!(offset, self.next[&partition], "a gap after {history:?}");
                        self.next.insert(partition, offset.next());
                    }
                }
            }
        }
    }

    #[test]
    fn an_unpaused_partition_is_read_after_any_sequence_of_assigns_and_pauses() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 3, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let topic: TopicName = "t".parse().unwrap();
        let consumer =
            group::consumer(&connection, &GroupSettings { group: "g", client_id: None, fetch_bytes: 0 }).unwrap();
        let zero = || Partition::all(PARTITIONS).map(|partition| (partition, Offset(0))).collect::<BTreeMap<_, _>>();
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
            let operations: Vec<(u8, Partition)> =
                (0..dice.usize(1..6)).map(|_| (dice.u8(0..5), Partition(dice.i32(0..3)))).collect();
            for &(operation, partition) in &operations {
                model.apply(operation, partition);
            }
            for partition in Partition::all(PARTITIONS) {
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
        let due = |partition, offset| ReadProgress { position: Position::new(partition, offset), is_due: true };
        let mut at = |seconds, progress: &[ReadProgress]| {
            unread.look(progress.iter().copied(), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &[due(0, 5), due(1, 5)]), None);
        assert_eq!(at(59, &[due(0, 5), due(1, 6)]), None);
        assert_eq!(at(60, &[due(0, 5), due(1, 6)]), Some(Partition(0)), "only partition 1 has moved");
        assert_eq!(at(61, &[due(0, 6)]), None, "progress");
        assert_eq!(at(91, &[due(0, 6)]), None);
        let idle = ReadProgress { is_due: false, ..due(0, 6) };
        assert_eq!(at(500, &[idle]), None, "the partition is at its end, or paused");
        assert_eq!(at(529, &[due(0, 6)]), None, "due for 59 s in total");
        assert_eq!(at(530, &[idle]), None);
        assert_eq!(at(531, &[due(0, 6)]), Some(Partition(0)), "a short pause does not reset the total");
    }
}
