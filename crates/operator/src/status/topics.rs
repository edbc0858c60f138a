//! What Kafka says: unresolved dead letters, and the last webhook of each source.

use std::collections::BTreeMap;

use contract::RawRecord;
use kafka::offsets::Offsets;
use kafka::reader::OffsetRange;

use crate::dead_letters::{Group, groups, list_unresolved};
use crate::error::OperatorError;
use crate::pipeline::{Pipeline, stable_extents};

/// How many of the newest records of each partition are read to find the last webhook of each source.
pub const TAIL: i64 = 200;

/// What Kafka says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Unresolved dead letters.
    pub dead_letters: Vec<Group>,
    /// The last webhook of each source that is among the newest.
    pub last_webhooks: Vec<LastWebhook>,
}

/// The last webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWebhook {
    /// The source.
    pub source: String,
    /// When it was received: milliseconds since 1970. `None` if none is among the newest records.
    pub received_at: Option<i64>,
}

/// Reads the dead-letter topic and the tail of the raw topic. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn topics(pipeline: Pipeline<'_>) -> Result<TopicState, OperatorError> {
    let dead_letters = groups(&list_unresolved(pipeline)?);
    let raw = &pipeline.topics.raw;
    let extents = stable_extents(&Offsets::new(pipeline.connection)?, raw)?;
    let tails: Vec<OffsetRange> = extents
        .iter()
        .map(|(&partition, extent)| OffsetRange {
            partition,
            start: extent.start.max(extent.end - TAIL),
            end: extent.end,
        })
        .collect();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    pipeline.read(raw, &tails, |record| {
        let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
        let latest = last.entry(raw.source_name().to_owned()).or_insert(raw.received_at);
        *latest = raw.received_at.max(*latest);
    })?;
    let last = last.into_iter().map(|(source, at)| LastWebhook { source, received_at: Some(at) });
    Ok(TopicState { dead_letters, last_webhooks: last.collect() })
}
