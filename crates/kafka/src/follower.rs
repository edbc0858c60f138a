//! A reader that follows several topics from given offsets.

use std::fmt;
use std::time::Duration;

use contract::{Position, TopicName};
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as RdError;

use crate::client::{Isolation, PlainConsumer, create, observing, set_default};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::stops_reading;
use crate::partition_list;
use crate::record::Record;

/// The result of [`Follower::next`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A record arrived and was passed to `visit`.
    Record,
    /// No record arrived in time.
    Nothing,
    /// An error that may be temporary: librdkafka tries again.
    Trouble(String),
}

/// A consumer that follows several topics. It returns only committed records, in the order of each partition. Its calls
/// block.
pub struct Follower {
    consumer: PlainConsumer,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    /// Creates a follower that starts at these positions of topics.
    ///
    /// # Errors
    /// [`KafkaError`] if librdkafka refuses the configuration or the offsets.
    pub fn new<'t>(
        connection: &Connection,
        starts: impl IntoIterator<Item = (&'t TopicName, Position)>,
    ) -> Result<Self, KafkaError> {
        let mut config = observing(connection, Isolation::ReadCommitted);
        // If an offset no longer exists, starting at another one would show old events as new ones, or silently skip
        // events.
        config.set("auto.offset.reset", "error");
        set_default(&mut config, "queued.max.messages.kbytes", "8192");
        let consumer = create(&config)?;
        let list = partition_list::positions_of_topics(starts)?;
        consumer.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        Ok(Self { consumer })
    }

    /// Waits at most this long for a record, and passes it with its topic to `visit`. A broker that does not respond is
    /// not an error.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] if reading fails permanently.
    pub fn next(&self, wait: Duration, visit: impl FnOnce(&str, &Record<'_>)) -> Result<Next, KafkaError> {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                visit(message.topic(), &Record::new(&message));
                Ok(Next::Record)
            }
            Some(Err(error)) => failed(error),
            None => Ok(Next::Nothing),
        }
    }
}

fn failed(error: RdError) -> Result<Next, KafkaError> {
    match &error {
        RdError::PartitionEOF(_) => Ok(Next::Nothing),
        RdError::MessageConsumption(code) if !stops_reading(*code) => Ok(Next::Trouble(error.to_string())),
        _ => Err(KafkaError::during("reading a topic")(error)),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn only_a_permanent_error_ends_reading() {
        let permanent = [
            Code::TopicAuthorizationFailed,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
            Code::AutoOffsetReset,
        ];
        for code in permanent {
            let error = failed(RdError::MessageConsumption(code)).unwrap_err().to_string();
            assert!(error.starts_with("reading a topic failed: "), "{error}");
        }
        assert!(failed(RdError::MessageConsumptionFatal(Code::Fatal)).is_err());
        for code in [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::Resolve] {
            let reported = failed(RdError::MessageConsumption(code)).unwrap();
            assert!(matches!(reported, Next::Trouble(_)), "{reported:?}");
        }
        assert_eq!(failed(RdError::PartitionEOF(0)).unwrap(), Next::Nothing);
    }
}
