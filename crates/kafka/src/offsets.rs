//! Queries about offsets: the range of a partition, the first offset at or after a time, committed offsets, and open
//! transactions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use contract::{Offset, Partition, TopicName};
use rdkafka::consumer::Consumer;

use crate::client::{Isolation, PlainConsumer, observer};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::partition_list;
use crate::topic::Topics;
use crate::watermarks::{Watermarks, watermarks};

/// Time limit for one response of the brokers.
const CALL: Duration = Duration::from_secs(10);

/// A client for queries about offsets. Its calls block.
pub struct Offsets {
    topics: Topics,
    committed: PlainConsumer,
    uncommitted: PlainConsumer,
}

impl fmt::Debug for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offsets").finish_non_exhaustive()
    }
}

impl Offsets {
    /// Creates a client for queries, without waiting for a connection.
    ///
    /// # Errors
    /// [`KafkaError::Configuration`] if librdkafka refuses the configuration.
    pub fn new(connection: &Connection) -> Result<Self, KafkaError> {
        Ok(Self {
            topics: Topics::new(connection)?,
            committed: observer(connection, Isolation::ReadCommitted)?,
            uncommitted: observer(connection, Isolation::ReadUncommitted)?,
        })
    }

    /// Returns the current range of each partition of the topic, including the records of open transactions.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic does not exist or its brokers do not respond.
    pub fn watermarks(&self, topic: &TopicName) -> Result<BTreeMap<Partition, Watermarks>, KafkaError> {
        Partition::all(self.topics.partitions(topic, CALL)?)
            .map(|partition| Ok((partition, watermarks(&self.uncommitted, topic, partition, CALL)?)))
            .collect()
    }

    /// Returns, for each of these partitions, the offset of the first record with a timestamp at or after `millis`, in
    /// milliseconds since 1970; the partition's end if there is no such record.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub fn at(
        &self,
        topic: &TopicName,
        watermarks: &BTreeMap<Partition, Watermarks>,
        millis: i64,
    ) -> Result<BTreeMap<Partition, Offset>, KafkaError> {
        let during = || KafkaError::during("asking for the offsets of a time");
        let partitions: Vec<Partition> = watermarks.keys().copied().collect();
        let list = partition_list::times(topic, &partitions, millis.max(0))?;
        let found = self.uncommitted.offsets_for_times(list, CALL).map_err(during())?;
        let mut offsets = BTreeMap::new();
        for (&partition, &Watermarks { low, high }) in watermarks {
            let offset = match partition_list::find(&found, topic, partition) {
                Some(element) => {
                    element.error().map_err(during())?;
                    partition_list::offset(&element).unwrap_or(high)
                }
                None => high,
            };
            offsets.insert(partition, offset.clamp(low, high));
        }
        Ok(offsets)
    }

    /// Waits until no offset before these high watermarks belongs to an open transaction. A reader of committed records
    /// then sees every committed record before the high watermarks.
    ///
    /// # Errors
    /// [`KafkaError::OpenTransaction`] if a transaction stays open for `patience`.
    pub fn wait_until_settled(
        &self,
        topic: &TopicName,
        watermarks: &BTreeMap<Partition, Watermarks>,
        patience: Duration,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + patience;
        for (&partition, &Watermarks { high, .. }) in watermarks {
            loop {
                let (_, stable) = self
                    .committed
                    .fetch_watermarks(topic.as_str(), partition.0, CALL)
                    .map_err(KafkaError::during("asking for a partition's last stable offset"))?;
                let stable = Offset(stable);
                if stable >= high {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(KafkaError::OpenTransaction { topic: topic.to_string(), partition, offset: stable });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Returns the committed offsets of a consumer group for a topic. Partitions without a committed offset are left
    /// out.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic does not exist or the group's coordinator does not respond.
    pub fn committed(&self, group: &str, topic: &TopicName) -> Result<BTreeMap<Partition, Offset>, KafkaError> {
        self.topics.committed(group, topic, CALL)
    }
}
