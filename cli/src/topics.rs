//! The topics that an operator's commands read, and the options for them.

use std::time::Duration;

use clap::Args;
use kafka::topic::Topics;
use kafka::{Connection, KafkaArgs, KafkaError, OptionalTopic, TopicName};

use crate::{CommandError, UsageError};

/// The location of the pipeline's records, from the services' variables.
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
    /// Opens a connection, and checks that a broker responds.
    pub(crate) fn connection(&self) -> Result<Connection, CommandError> {
        let connection = self
            .kafka
            .connection("customerio-aep")
            .map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
        reachable(&connection)?;
        Ok(connection)
    }
}

/// Time limit for the brokers' response to a command's first request.
const FIRST_ANSWER: Duration = Duration::from_secs(8);

/// Returns a client after a broker has responded, so that a command quickly reports that Kafka is unreachable.
pub(crate) fn reachable(connection: &Connection) -> Result<Topics, KafkaError> {
    let topics = Topics::new(connection)?;
    tokio::task::block_in_place(|| topics.brokers(FIRST_ANSWER))?;
    Ok(topics)
}
