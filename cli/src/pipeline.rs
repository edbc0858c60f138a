//! Builds the operator library's connection and topics from the options.

use clap::Args;
use kafka::Connection;
use operator::{Groups, Pipeline, PipelineTopics};

use crate::topics::TopicArgs;
use crate::{CommandError, output};

/// A connection to brokers that have responded, and the topics.
#[derive(Debug)]
pub(crate) struct Reached {
    connection: Connection,
    pub(crate) topics: PipelineTopics,
}

impl Reached {
    pub(crate) fn by(args: &TopicArgs) -> Result<Self, CommandError> {
        let topics = PipelineTopics {
            raw: args.raw_topic.clone(),
            typed: args.typed_topic.clone(),
            dead_letters: args.dead_letter_topic.clone(),
            receipts: args.receipts_topic.0.clone(),
        };
        Ok(Self { connection: args.connection()?, topics })
    }

    /// The pipeline for operations that show their progress on the terminal.
    pub(crate) fn pipeline(&self) -> Pipeline<'_> {
        Pipeline { connection: &self.connection, topics: &self.topics, progress: &output::show_progress }
    }
}

/// The services' consumer groups.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct GroupArgs {
    /// The transformer's consumer group
    #[arg(long, env = "TRANSFORMER_GROUP_ID", default_value = "customerio-transformer", value_name = "NAME")]
    transformer_group: String,

    /// The sink's consumer group
    #[arg(long, env = "SINK_GROUP_ID", default_value = "customerio-sink", value_name = "NAME")]
    sink_group: String,
}

impl GroupArgs {
    pub(crate) fn groups(&self) -> Groups {
        Groups { transformer: self.transformer_group.clone(), sink: self.sink_group.clone() }
    }
}
