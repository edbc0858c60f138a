//! Finds the starting offsets of newly assigned partitions.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use contract::Partition;

use super::ConsumerSettings;
use super::output::has_no_offsets;
use crate::error::KafkaError;
use crate::group::GroupConsumer;
use crate::log_watch::Latest;
use crate::start::{FoundStart, StartRule, starts};
use crate::topic::Topics;

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(10);

/// Finds the starting offsets of newly assigned partitions. Blocks while it queries the brokers.
pub(super) trait FindStarts {
    fn find(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError>;
}

/// Finds the starting offsets from the group's committed offsets.
pub(super) struct GroupStarts<'s> {
    pub(super) settings: &'s ConsumerSettings,
    pub(super) consumer: Arc<GroupConsumer>,
    /// Last processed record of each partition whose log was found to be replaced in the previous session.
    pub(super) replaced: Latest,
}

impl FindStarts for GroupStarts<'_> {
    fn find(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        let Self { settings, consumer, replaced } = self;
        let topics = Topics::new(&settings.connection)?;
        // Whether output exists is the same for all partitions, and finding out can mean reading a whole topic.
        let found = OnceCell::new();
        let output = |_| {
            if let Some(found) = found.get() {
                return Ok(Option::clone(found));
            }
            let output = match &settings.output {
                Some(output) if has_no_offsets(consumer, &topics, &settings.input)? => {
                    output.find(&settings.connection, &topics, &settings.input)?
                }
                _ => None,
            };
            Ok(found.get_or_init(|| output).clone())
        };
        let rule = StartRule {
            group: &settings.group,
            topic: &settings.input,
            connection: &settings.connection,
            from_beginning: settings.from_beginning,
            replaced,
            output: &output,
        };
        starts(&**consumer, &rule, partitions, CALL, Duration::ZERO)
    }
}
