//! The queries to the brokers for restoring a partition's state.

use std::time::Duration;

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;

use super::tail::{OutputLog, TailReader};
use crate::client::{Isolation, PlainConsumer, frugal_observer, outsider};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::log_watch::Latest;
use crate::partition_list;
use crate::record::Polled;
use crate::start::{FoundStart, FromBeginning, StartRule, starts};
use crate::topic::Topics;
use crate::watermarks::Watermarks;

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(10);

/// The parameters that all restores of a session share.
#[derive(Clone)]
pub(super) struct RestoreContext {
    pub(super) connection: Connection,
    pub(super) group: String,
    pub(super) input: TopicName,
    pub(super) output: TopicName,
    pub(super) from_beginning: FromBeginning,
    /// Last processed record of each partition whose log was found to be replaced.
    pub(super) replaced: Latest,
    /// Maximum time until the brokers end the transaction of a member that died.
    pub(super) pending: Duration,
}

/// Implements [`OutputLog`] with queries to the brokers.
pub(super) struct BrokerLog {
    context: RestoreContext,
    topics: Topics,
}

impl BrokerLog {
    pub(super) fn new(context: RestoreContext) -> Result<Self, KafkaError> {
        Ok(Self { topics: Topics::new(&context.connection)?, context })
    }
}

impl OutputLog for BrokerLog {
    type Reader = PlainConsumer;

    fn starts(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        let RestoreContext { connection, group, input, output, from_beginning, replaced, pending } = &self.context;
        let has_output = |partition| {
            let Watermarks { high, .. } = self.topics.watermarks(output, partition, CALL)?;
            Ok((high > Offset(0)).then(|| format!("{output}[{partition}]")))
        };
        let rule = StartRule {
            group,
            topic: input,
            connection,
            from_beginning: *from_beginning,
            replaced,
            output: &has_output,
        };
        let client = outsider(connection, group)?;
        starts(&client, &rule, partitions, CALL, *pending)
    }

    fn input_end(&self, partition: Partition) -> Result<Offset, KafkaError> {
        Ok(self.topics.watermarks(&self.context.input, partition, CALL)?.high)
    }

    fn output(&self, partition: Partition) -> Result<Watermarks, KafkaError> {
        self.topics.watermarks(&self.context.output, partition, CALL)
    }

    fn output_since(&self, partition: Partition, millis: i64) -> Result<Option<Offset>, KafkaError> {
        let output = &self.context.output;
        let list = partition_list::times(output, &[partition], millis)?;
        let found = self.topics.client().offsets_for_times(list, CALL);
        let found = found.map_err(KafkaError::during("asking for the offset at a time"))?;
        Ok(partition_list::find(&found, output, partition).and_then(|element| partition_list::offset(&element)))
    }

    fn reader(&self) -> Result<PlainConsumer, KafkaError> {
        frugal_observer(&self.context.connection, Isolation::ReadCommitted)
    }

    fn assign(&self, reader: &PlainConsumer, starts: &[Position]) -> Result<(), KafkaError> {
        let list = partition_list::positions(&self.context.output, starts)?;
        reader.assign(&list).map_err(KafkaError::during("assigning a reader"))
    }
}

impl TailReader for PlainConsumer {
    fn poll(&self, timeout: Duration) -> Option<KafkaResult<Polled<'_>>> {
        PlainConsumer::poll(self, timeout).map(|polled| polled.map(Polled::from))
    }

    fn positions(&self) -> Result<Vec<Position>, KafkaError> {
        let positions = self.position().map_err(KafkaError::during("asking for the position"))?;
        Ok(partition_list::positions_of(&positions))
    }
}
