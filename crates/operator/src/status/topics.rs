//! State of the topics: unresolved dead letters, and the last webhook of each source.

use std::collections::BTreeMap;

use contract::{Offset, RawRecord};
use kafka::KafkaError;
use kafka::offsets::Offsets;
use kafka::reader::OffsetRange;

use crate::dead_letters::{Group, unresolved_groups};
use crate::error::OperatorError;
use crate::pipeline::{Pipeline, stable_watermarks};

/// Number of newest records per partition that are read to find the last webhook of each source.
pub const TAIL: i64 = 200;

/// State of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Unresolved dead letters, by stage and code.
    pub dead_letters: Vec<Group>,
    /// Last webhook of each source that has one among the newest records.
    pub last_webhooks: Vec<LastWebhook>,
    /// Names of the topics that do not exist.
    pub missing: Vec<String>,
}

/// The last webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWebhook {
    /// Name of the source.
    pub source: String,
    /// Receive time in milliseconds since 1970; `None` if the newest records contain no webhook of the source.
    pub received_at: Option<i64>,
}

/// Reads the dead-letter topic and the tail of the raw topic. The call blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn topics(pipeline: Pipeline<'_>) -> Result<TopicState, OperatorError> {
    let mut missing = Vec::new();
    let dead_letters = existing(unresolved_groups(pipeline), &mut missing)?;
    let last_webhooks = existing(last_webhooks(pipeline), &mut missing)?;
    Ok(TopicState { dead_letters, last_webhooks, missing })
}

/// Returns the values read from a topic. For a topic that does not exist, adds its name to `missing` and returns no
/// values.
fn existing<T>(read: Result<Vec<T>, OperatorError>, missing: &mut Vec<String>) -> Result<Vec<T>, OperatorError> {
    match read {
        Err(OperatorError::Kafka(KafkaError::NoTopic(topic))) => {
            missing.push(topic);
            Ok(Vec::new())
        }
        read => read,
    }
}

fn last_webhooks(pipeline: Pipeline<'_>) -> Result<Vec<LastWebhook>, OperatorError> {
    let raw = &pipeline.topics.raw;
    let watermarks = stable_watermarks(&Offsets::new(pipeline.connection)?, raw)?;
    let tails: Vec<OffsetRange> = watermarks
        .iter()
        .map(|(&partition, watermarks)| OffsetRange {
            partition,
            start: watermarks.low.max(Offset(watermarks.high.0.saturating_sub(TAIL))),
            end: watermarks.high,
        })
        .collect();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    pipeline.read(raw, &tails, |record| {
        let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
        let latest = last.entry(raw.source_name().to_owned()).or_insert(raw.received_at);
        *latest = raw.received_at.max(*latest);
    })?;
    let last = last.into_iter().map(|(source, at)| LastWebhook { source, received_at: Some(at) });
    Ok(last.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonexistent_topic_is_listed_as_missing_and_is_not_an_error() {
        let mut missing = Vec::new();
        let absent = || Err(OperatorError::Kafka(KafkaError::NoTopic("raw".to_owned())));
        assert!(existing::<u8>(absent(), &mut missing).unwrap().is_empty());
        assert_eq!(existing(Ok(vec![1_u8]), &mut missing).unwrap().len(), 1);
        assert_eq!(missing, ["raw"]);
        assert!(existing::<u8>(Err(OperatorError::ReaderFailed), &mut missing).is_err());
    }
}
