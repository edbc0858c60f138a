//! Queries about offsets: the range of a partition, the first offset of a time, and whether open transactions remain.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::reader::{Isolation, observer};
use crate::topic::{LogContextConsumer, TopicName, Topics};

/// How long the brokers may take for one response.
const CALL: Duration = Duration::from_secs(10);

/// The offsets of a partition: from the oldest retained one to the one after the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Oldest offset retained; more than 0 once a record has expired.
    pub start: i64,
    /// Offset of the next record to be written; records of open transactions are before it.
    pub end: i64,
}

/// Queries offsets. Its calls block.
pub struct Offsets {
    topics: Topics,
    committed: BaseConsumer<LogContextConsumer>,
    uncommitted: BaseConsumer<LogContextConsumer>,
}

impl fmt::Debug for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offsets").finish_non_exhaustive()
    }
}

impl Offsets {
    /// Creates a client for queries; it does not connect yet.
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

    /// Returns the current offsets of each partition of the topic.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic does not exist or its brokers do not respond.
    pub fn extents(&self, topic: &TopicName) -> Result<BTreeMap<i32, Extent>, KafkaError> {
        let count = i32::try_from(self.topics.partitions(topic, CALL)?).unwrap_or(i32::MAX);
        (0..count)
            .map(|partition| {
                let (start, end) = self
                    .uncommitted
                    .fetch_watermarks(topic.as_str(), partition, CALL)
                    .map_err(KafkaError::during("asking for a partition's offsets"))?;
                Ok((partition, Extent { start, end }))
            })
            .collect()
    }

    /// Returns, for each of these partitions, the offset of the first record written at `millis` since 1970 or later;
    /// its end if there is none.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub fn at(
        &self,
        topic: &TopicName,
        extents: &BTreeMap<i32, Extent>,
        millis: i64,
    ) -> Result<BTreeMap<i32, i64>, KafkaError> {
        let during = || KafkaError::during("asking for the offsets of a time");
        let mut list = TopicPartitionList::with_capacity(extents.len());
        for &partition in extents.keys() {
            list.add_partition_offset(topic.as_str(), partition, Offset::Offset(millis.max(0))).map_err(during())?;
        }
        let found = self.uncommitted.offsets_for_times(list, CALL).map_err(during())?;
        let mut offsets = BTreeMap::new();
        for (&partition, extent) in extents {
            let element = found.find_partition(topic.as_str(), partition);
            let offset = match element {
                Some(element) => {
                    element.error().map_err(during())?;
                    match element.offset() {
                        Offset::Offset(offset) => offset,
                        _ => extent.end,
                    }
                }
                None => extent.end,
            };
            offsets.insert(partition, offset.clamp(extent.start, extent.end));
        }
        Ok(offsets)
    }

    /// Waits until no offset before these ends belongs to an open transaction, so that a reader of committed records
    /// sees every record that will ever be there.
    ///
    /// # Errors
    /// [`KafkaError::OpenTransaction`] if one stays open for `patience`.
    pub fn wait_until_settled(
        &self,
        topic: &TopicName,
        extents: &BTreeMap<i32, Extent>,
        patience: Duration,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + patience;
        for (&partition, extent) in extents {
            loop {
                let (_, stable) = self
                    .committed
                    .fetch_watermarks(topic.as_str(), partition, CALL)
                    .map_err(KafkaError::during("asking for a partition's last stable offset"))?;
                if stable >= extent.end {
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

    /// Returns a consumer group's committed offsets of a topic; partitions without one are left out.
    ///
    /// # Errors
    /// As [`Topics::committed`].
    pub fn committed(&self, group: &str, topic: &TopicName) -> Result<BTreeMap<i32, i64>, KafkaError> {
        self.topics.committed(group, topic, CALL)
    }
}
