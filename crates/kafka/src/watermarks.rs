//! The offset range of a partition.

use std::time::Duration;

use contract::{Offset, Partition, TopicName};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use crate::error::KafkaError;

/// The offset range of a partition, from the oldest retained offset to the offset after the newest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Oldest retained offset; greater than 0 once a record has expired.
    pub low: Offset,
    /// Offset of the next record to be written. A client that reads only committed records gets the last stable offset
    /// instead, which is before the records of open transactions.
    pub high: Offset,
}

/// Queries the offset range of a partition, as this client sees it.
pub(crate) fn watermarks<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &TopicName,
    partition: Partition,
    timeout: Duration,
) -> Result<Watermarks, KafkaError> {
    let (low, high) = client
        .fetch_watermarks(topic.as_str(), partition.0, timeout)
        .map_err(KafkaError::during("asking for a partition's offsets"))?;
    Ok(Watermarks { low: Offset(low), high: Offset(high) })
}
