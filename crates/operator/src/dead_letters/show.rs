//! Reads one dead letter with its value.

use contract::dead_letter::{Entry, Resolution};
use contract::{Position, header};
use kafka::KafkaError;
use kafka::offsets::Offsets;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::OwnedRecord;
use xdm::TenantId;

use super::body::Body;
use super::index::{self, IndexedDeadLetter};
use crate::error::OperatorError;
use crate::pipeline::{NEXT_RECORD, Pipeline, stable_watermarks};

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

impl Shown {
    /// Returns the decoded value, decompressed to at most `max_body` bytes. `tenant` is the key of the organisation's
    /// own fields.
    #[must_use]
    pub fn body(&self, tenant: &TenantId, max_body: usize) -> Body {
        let (value, mut buffer) = (self.record.value.as_slice(), Vec::new());
        let encoding = self.record.header(header::CONTENT_ENCODING);
        Body::read(mapping::decoded(encoding, value, max_body, &mut buffer).unwrap_or(value), tenant)
    }
}

/// Reads one dead letter without its resolution, and no other record of the topic. The call blocks.
///
/// # Errors
/// [`OperatorError::NoDeadLetter`], [`OperatorError::Kafka`].
pub fn show_unresolved(pipeline: Pipeline<'_>, position: Position) -> Result<Shown, OperatorError> {
    let none = || OperatorError::NoDeadLetter(position);
    let Position { partition, offset } = position;
    let topic = &pipeline.topics.dead_letters;
    let watermarks = stable_watermarks(&Offsets::new(pipeline.connection)?, topic)?;
    watermarks.get(&partition).filter(|at| at.low <= offset && offset < at.high).ok_or_else(none)?;
    let range = OffsetRange { partition, start: offset, end: offset.next() };
    let mut found = None;
    pipeline.read(topic, &[range], |record| {
        if let Entry::DeadLetter(dead_letter) = Entry::read(record.headers()) {
            let dead_letter = IndexedDeadLetter::read(record, dead_letter);
            found = Some(Shown { dead_letter, record: OwnedRecord::from(record) });
        }
    })?;
    found.ok_or_else(none)
}

/// Reads the resolution of a dead letter, if it has one, from the records after it in its partition. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn resolution_of(pipeline: Pipeline<'_>, position: Position) -> Result<Option<Resolution>, OperatorError> {
    let topic = &pipeline.topics.dead_letters;
    let watermarks = stable_watermarks(&Offsets::new(pipeline.connection)?, topic)?;
    let Some(at) = watermarks.get(&position.partition) else { return Ok(None) };
    let start = position.offset.next().max(at.low);
    let range = OffsetRange { partition: position.partition, start, end: at.high };
    let (mut found, mut records) = (None, 0);
    let read = read_offset_ranges(pipeline.connection, topic, &[range], NEXT_RECORD, |record| {
        records += 1;
        pipeline.has_read(records)?;
        match Entry::read(record.headers()) {
            Entry::Resolution(resolution) if resolution.dead_letter == position.offset => {
                found = Some(resolution);
                Err(KafkaError::GivenUp("the resolution was found".to_owned()))
            }
            _ => Ok(()),
        }
    });
    match read {
        Err(error) if found.is_none() => Err(error.into()),
        _ => Ok(found),
    }
}
