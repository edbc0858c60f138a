//! The topics that an operator's commands read, and the options for them.

use std::time::Duration;

use clap::Args;
use kafka::topic::Topics;
use kafka::{Connection, KafkaArgs, KafkaError};
use operator::PipelineTopics;
use settings::{Problems, TopicOptions};

/// The location of the pipeline's records, from the services' variables.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopicArgs {
    #[command(flatten)]
    kafka: KafkaArgs,

    #[command(flatten)]
    topics: TopicOptions,
}

impl TopicArgs {
    /// The connection, which is not open yet.
    pub(crate) fn connection(&self) -> Result<Connection, Problems> {
        self.kafka.connection("customerio-aep")
    }

    /// The names of the topics.
    pub(crate) fn names(&self) -> PipelineTopics {
        PipelineTopics::from(&self.topics)
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
