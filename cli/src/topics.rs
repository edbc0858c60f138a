//! The topics an operator's command looks at, and how it reads them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use kafka::offsets::{Extent, Offsets};
use kafka::topic::Topics;
use kafka::{Connection, KafkaArgs, KafkaError, OptionalTopic, TopicName};

use crate::{CommandError, UsageError};

/// How long a transaction that is open while a command looks at a topic may take to end.
const SETTLE: Duration = Duration::from_secs(60);

/// How long a reader waits for the next record.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the pipeline's records lie: the services' variables.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopicArgs {
    #[command(flatten)]
    kafka: KafkaArgs,

    /// Topic with the raw webhooks
    #[arg(
        long,
        env = "RAW_TOPIC",
        default_value = "customerio.webhooks",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub(crate) raw_topic: TopicName,

    /// Topic with the typed records
    #[arg(
        long,
        env = "TYPED_TOPIC",
        default_value = "customerio.experience-events",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub(crate) typed_topic: TopicName,

    /// Topic with the dead letters
    #[arg(
        long,
        env = "DEAD_LETTER_TOPIC",
        default_value = "customerio.dead-letters",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub(crate) dead_letter_topic: TopicName,

    /// Topic with the receipts; empty for none
    #[arg(
        long,
        env = "RECEIPTS_TOPIC",
        default_value = "customerio.receipts",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub(crate) receipts_topic: OptionalTopic,
}

impl TopicArgs {
    /// A connection on which a broker has answered.
    pub(crate) fn connection(&self) -> Result<Connection, CommandError> {
        let connection = self
            .kafka
            .connection("customerio-aep")
            .map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
        reachable(&connection)?;
        Ok(connection)
    }
}

/// How long the brokers have to answer a command's first question.
const FIRST_ANSWER: Duration = Duration::from_secs(8);

/// A client for questions, once a broker has answered: a command says soon that Kafka is away.
pub(crate) fn reachable(connection: &Connection) -> Result<Topics, KafkaError> {
    let topics = Topics::new(connection)?;
    tokio::task::block_in_place(|| topics.brokers(FIRST_ANSWER))?;
    Ok(topics)
}

/// What a topic's partitions hold now, once nothing in them belongs to an open transaction any more.
pub(crate) fn settled(offsets: &Offsets, topic: &TopicName) -> Result<BTreeMap<i32, Extent>, KafkaError> {
    let extents = offsets.extents(topic)?;
    offsets.wait_until_settled(topic, &extents, SETTLE)?;
    Ok(extents)
}

/// A record's place in its topic, written `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PlaceArg {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl FromStr for PlaceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(partition, offset)| {
            let (partition, offset) = (partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self { partition, offset })
        });
        parsed.ok_or_else(|| "invalid position: expected PARTITION:OFFSET, for example 3:1042".to_owned())
    }
}

impl fmt::Display for PlaceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!("3:1042".parse(), Ok(PlaceArg { partition: 3, offset: 1042 }));
        for wrong in ["", "3", "3:", "3:x", "-1:5", "3:-5", "3:1:2"] {
            assert!(wrong.parse::<PlaceArg>().is_err(), "{wrong}");
        }
    }
}
