//! Reads one dead letter with its value.

use contract::Position;
use contract::dead_letter::Entry;
use kafka::KafkaError;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::OwnedRecord;

use super::index::{self, IndexedDeadLetter};
use crate::error::OperatorError;
use crate::pipeline::{NEXT_RECORD, Pipeline};

/// One dead letter with its value, which may contain personal data.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Entry of the dead letter in the index.
    pub dead_letter: IndexedDeadLetter,
    /// Complete record, including headers and value.
    pub record: OwnedRecord,
}

/// Reads one dead letter. The call blocks.
///
/// # Errors
/// Returns [`OperatorError::NoDeadLetter`] or [`OperatorError::Kafka`].
pub fn show(pipeline: Pipeline<'_>, position: Position) -> Result<Shown, OperatorError> {
    let none = || OperatorError::NoDeadLetter(position);
    let dead_letter = index::read(pipeline)?.remove(&position).ok_or_else(none)?;
    let Position { partition, offset } = position;
    let range = OffsetRange { partition, start: offset, end: offset.next() };
    let mut found = None;
    read_offset_ranges(pipeline.connection, &pipeline.topics.dead_letters, &[range], NEXT_RECORD, |record| {
        if matches!(Entry::read(record.headers()), Entry::DeadLetter(_)) {
            found = Some(OwnedRecord::from(record));
        }
        Ok::<(), KafkaError>(())
    })?;
    Ok(Shown { dead_letter, record: found.ok_or_else(none)? })
}
