//! Builds the connection and the topics for the `operator` library from the options.

use clap::Args;
use contract::defaults;
use kafka::{Connection, KafkaError};
use operator::{Groups, Pipeline, PipelineTopics};

use crate::topics::{TopicArgs, reachable};
use crate::{CommandError, UsageError, output};

/// A connection to brokers that have responded, and the topics.
#[derive(Debug)]
pub(crate) struct Reached {
    connection: Connection,
    pub(crate) topics: PipelineTopics,
}

impl Reached {
    pub(crate) fn by(args: &TopicArgs) -> Result<Self, CommandError> {
        Ok(Self::with(args.connection().map_err(UsageError::from)?, args.names())?)
    }

    /// Opens this connection, and checks that a broker responds.
    pub(crate) fn with(connection: Connection, topics: PipelineTopics) -> Result<Self, KafkaError> {
        reachable(&connection)?;
        Ok(Self { connection, topics })
    }

    /// The pipeline for the functions of the `operator` library. They show their progress on the terminal.
    pub(crate) fn pipeline(&self) -> Pipeline<'_> {
        Pipeline { connection: &self.connection, topics: &self.topics, progress: &output::show_progress }
    }
}

/// The services' consumer groups.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct GroupArgs {
    /// The transformer's consumer group
    #[arg(long, env = "TRANSFORMER_GROUP_ID", default_value = defaults::TRANSFORMER_GROUP, value_name = "NAME")]
    transformer_group: String,

    /// The sink's consumer group
    #[arg(long, env = "SINK_GROUP_ID", default_value = defaults::SINK_GROUP, value_name = "NAME")]
    sink_group: String,
}

impl GroupArgs {
    pub(crate) fn groups(&self) -> Groups {
        Groups { transformer: self.transformer_group.clone(), sink: self.sink_group.clone() }
    }
}
