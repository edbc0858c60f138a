//! A reader that follows several topics from given offsets on, for as long as it is asked.

use std::fmt;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as RdError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::reader::{Isolation, observer};
use crate::record::Record;
use crate::topic::{LogContextConsumer, TopicName};

/// Follows topics: committed records only, in the order of each partition. Its calls block.
pub struct Follower {
    consumer: BaseConsumer<LogContextConsumer>,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    /// Starts at these offsets: topic, partition, offset.
    ///
    /// # Errors
    /// [`KafkaError`] if librdkafka refuses the configuration or the offsets.
    pub fn new<'t>(
        connection: &Connection,
        starts: impl IntoIterator<Item = (&'t TopicName, i32, i64)>,
    ) -> Result<Self, KafkaError> {
        let consumer = observer(connection, Isolation::ReadCommitted)?;
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in starts {
            list.add_partition_offset(topic.as_str(), partition, Offset::Offset(offset))
                .map_err(KafkaError::during("building a list of offsets"))?;
        }
        consumer.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        Ok(Self { consumer })
    }

    /// Waits at most this long for a record, and passes it on with its topic. A broker that does not respond is only
    /// waited for.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] if reading fails permanently.
    pub fn next(&self, wait: Duration, visit: impl FnOnce(&str, &Record<'_>)) -> Result<(), KafkaError> {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                visit(message.topic(), &Record::new(&message));
                Ok(())
            }
            Some(Err(error @ RdError::MessageConsumptionFatal(_))) => Err(KafkaError::during("reading a topic")(error)),
            None | Some(Err(_)) => Ok(()),
        }
    }
}
