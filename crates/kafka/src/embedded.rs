//! A broker inside this process, for a trial without Kafka: librdkafka's own mock cluster.
//!
//! The mock cluster responds to requests, but it is not a transactional broker: records of aborted transactions stay
//! visible, offsets sent with a transaction are lost, zombies are not fenced, and a partition keeps at most 5 MiB. It
//! proves nothing about exactly-once, and is not a place for data that anyone needs.

use std::fmt;

use contract::TopicName;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::connection::Connection;
use crate::error::KafkaError;

/// The maximum number of bytes that one partition of the embedded broker keeps before it drops its oldest records,
/// minus a margin.
pub const PARTITION_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A running embedded broker. It stops when this value is dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker").field("bootstrap", &self.bootstrap()).finish()
    }
}

impl EmbeddedBroker {
    /// Starts a broker on free ports of the loopback interface.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub fn start() -> Result<Self, KafkaError> {
        MockCluster::new(1).map(|cluster| Self { cluster }).map_err(KafkaError::during("starting the embedded broker"))
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub fn create_topic(&self, topic: &TopicName, partitions: i32) -> Result<(), KafkaError> {
        self.cluster
            .create_topic(topic.as_str(), partitions, 1)
            .map_err(KafkaError::during("creating a topic on the embedded broker"))
    }

    /// Address of the broker, in the form of `KAFKA_BOOTSTRAP_SERVERS`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a connection to the broker.
    #[must_use]
    pub fn connection(&self, client_id: &str) -> Connection {
        Connection::embedded(&self.bootstrap(), client_id)
    }
}
