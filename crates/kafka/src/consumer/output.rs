//! Finds out whether earlier work of a group has left output. This matters when the group has no offsets at all: either
//! it has never processed a record, or the brokers have lost its offsets, and starting again would repeat everything.

use std::time::Duration;

use contract::{Offset, Partition, TopicName};
use rdkafka::consumer::Consumer;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::group::GroupConsumer;
use crate::partition_list;
use crate::reader::{Isolation, TopicReader};
use crate::record::Record;
use crate::topic::Topics;

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(10);

/// Maximum time for reading a topic to find earlier output.
const READ: Duration = Duration::from_secs(240);

/// The topic to which the work of a group writes records.
#[derive(Debug, Clone)]
pub enum Output {
    /// A topic that contains records only if the group has processed some.
    Topic(TopicName),
    /// A topic that also contains records from other sources.
    Records {
        /// The topic to search.
        topic: TopicName,
        /// Returns whether work on the given input topic has written the record.
        is_of: fn(&Record<'_>, &TopicName) -> bool,
    },
}

/// Whether the group has no committed offset for any partition of the topic. If the group has one, its offsets are not
/// lost, and a partition without an offset is new.
pub(super) fn has_no_offsets(consumer: &GroupConsumer, topics: &Topics, input: &TopicName) -> Result<bool, KafkaError> {
    let all: Vec<Partition> = Partition::all(topics.partitions(input, CALL)?).collect();
    let committed = consumer
        .committed_offsets(partition_list::partitions(input, &all), CALL)
        .map_err(KafkaError::during("reading the group's committed offsets"))?;
    Ok(partition_list::positions_of(&committed).is_empty())
}

impl Output {
    /// Returns the location of output, as a text for messages; `None` if there is no output. Blocks. For
    /// [`Output::Records`], this reads the whole topic. A consumer calls this at most once per assignment, and only
    /// while the group has no committed offset.
    pub(super) fn find(
        &self,
        connection: &Connection,
        topics: &Topics,
        input: &TopicName,
    ) -> Result<Option<String>, KafkaError> {
        match self {
            Self::Topic(topic) => {
                for partition in Partition::all(topics.partitions(topic, CALL)?) {
                    if topics.watermarks(topic, partition, CALL)?.high > Offset(0) {
                        return Ok(Some(topic.to_string()));
                    }
                }
                Ok(None)
            }
            Self::Records { topic, is_of } => {
                let mut found = None;
                let reader = TopicReader::new(connection, topic, Isolation::ReadCommitted)?;
                reader.read_to_end(READ, |record| {
                    if found.is_none() && is_of(record, input) {
                        found = Some(format!("{topic}[{}]@{}", record.partition(), record.offset()));
                    }
                })?;
                Ok(found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::producer::{DurableProducer, NewRecord, ProducerSettings};
    use crate::record::Headers;

    #[test]
    fn only_records_written_for_the_same_input_topic_count_as_output() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("dead-letters", 2, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let topics = Topics::new(&connection).unwrap();
        let (topic, input): (TopicName, TopicName) = ("dead-letters".parse().unwrap(), "typed".parse().unwrap());
        let is_of = |record: &Record<'_>, input: &TopicName| record.header("of") == Some(input.as_str().as_bytes());
        let records = Output::Records { topic: topic.clone(), is_of };
        let find = |output: &Output| output.find(&connection, &topics, &input).unwrap();
        assert_eq!((find(&records), find(&Output::Topic(topic.clone()))), (None, None));
        let settings = ProducerSettings {
            delivery_timeout: CALL,
            linger: Duration::from_millis(1),
            max_record_bytes: 1000,
            queue_bytes: 100_000,
        };
        let producer = DurableProducer::new(&connection, &settings).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let write = |of: &str| {
            let headers = Headers::with_capacity(1).with("of", of.as_bytes());
            let record =
                NewRecord { topic: &topic, partition: Some(Partition(1)), key: None, value: Some(b""), headers };
            runtime.block_on(producer.send(record, ()).unwrap()).unwrap();
        };
        write("another topic");
        assert_eq!((find(&records), find(&Output::Topic(topic.clone()))), (None, Some("dead-letters".to_owned())));
        write("typed");
        assert_eq!(find(&records), Some("dead-letters[1]@1".to_owned()));
    }
}
