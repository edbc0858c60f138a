//! Index of dead letters: every dead letter of the topic without its value, and with its resolution.

use std::collections::BTreeMap;

use contract::dead_letter::{DeadLetter, Entry, Resolution};
use contract::{Offset, Position, RawRecord, TypedRecord};
use kafka::offsets::Offsets;
use kafka::{KafkaError, Record};

use crate::pipeline::{Pipeline, retained, stable_watermarks};
use crate::record::{event_id, position};

/// A dead letter, without its value.
#[derive(Debug, Clone)]
pub struct IndexedDeadLetter {
    /// Position on the dead-letter topic.
    pub position: Position,
    /// Stage, code and reason, from the record's headers.
    pub dead_letter: DeadLetter,
    /// Write time: milliseconds since 1970.
    pub time: i64,
    /// Id of the event; `None` if the record has none.
    pub event_id: Option<String>,
    /// Source of the event.
    pub source: String,
    /// Key of the record.
    pub key: Option<Vec<u8>>,
    /// For a dead letter of a typed record: the offset of the raw record from which the typed record was mapped.
    pub raw_offset: Option<Offset>,
    /// Size of the value in bytes.
    pub size: usize,
    /// Resolution of the dead letter; `None` if it is unresolved.
    pub resolution: Option<Resolution>,
}

impl IndexedDeadLetter {
    pub(super) fn read(record: &Record<'_>, dead_letter: DeadLetter) -> Self {
        Self { event_id: event_id(record), ..Self::without_event(record, dead_letter) }
    }

    /// Like [`Self::read`], but without the event id, which may require parsing the body.
    pub(super) fn without_event(record: &Record<'_>, dead_letter: DeadLetter) -> Self {
        let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
        Self {
            position: position(record),
            time: dead_letter.at.or(record.timestamp()).unwrap_or_default(),
            event_id: None,
            source: raw.source_name().to_owned(),
            key: record.key().map(<[u8]>::to_vec),
            raw_offset: TypedRecord::read(record.headers(), record.timestamp()).raw_offset,
            size: record.value().len(),
            dead_letter,
            resolution: None,
        }
    }

    /// Returns `open` for an unresolved dead letter, otherwise the kind of its resolution.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.resolution.as_ref().map_or("open", |resolution| resolution.kind.as_str())
    }
}

/// Reads all dead letters that the topic contains now, resolved or not, by position.
pub(super) fn read(pipeline: Pipeline<'_>) -> Result<BTreeMap<Position, IndexedDeadLetter>, KafkaError> {
    let topic = &pipeline.topics.dead_letters;
    let watermarks = stable_watermarks(&Offsets::new(pipeline.connection)?, topic)?;
    let (mut index, mut resolutions) = (BTreeMap::new(), Vec::new());
    pipeline.read(topic, &retained(&watermarks), |record| match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            let indexed = IndexedDeadLetter::read(record, dead_letter);
            index.insert(indexed.position, indexed);
        }
        Entry::Resolution(resolution) => resolutions.push((position(record).partition, resolution)),
        Entry::Mark(_) | Entry::Foreign => {}
    })?;
    for (partition, resolution) in resolutions {
        if let Some(dead_letter) = index.get_mut(&Position { partition, offset: resolution.dead_letter }) {
            dead_letter.resolution.get_or_insert(resolution);
        }
    }
    Ok(index)
}

#[cfg(test)]
pub(super) mod tests {
    use contract::dead_letter::{Origin, Stage};

    use super::*;

    pub(in super::super) fn indexed(position: &str, stage: Stage, code: &str) -> IndexedDeadLetter {
        let position: Position = position.parse().unwrap();
        let topic = if stage == Stage::Transformer { "raw" } else { "typed" };
        let original = Position::new(position.partition.0, 100 + position.offset.0);
        let origin = Origin { topic: topic.to_owned(), position: original };
        IndexedDeadLetter {
            position,
            dead_letter: DeadLetter {
                stage,
                code: code.to_owned(),
                message: "why".to_owned(),
                origin: (stage != Stage::Gateway).then_some(origin),
                at: Some(1000),
                cut: None,
                batch: None,
            },
            time: 1000,
            event_id: Some(format!("event-{position}")),
            source: "default".to_owned(),
            key: None,
            raw_offset: (stage == Stage::Sink).then_some(Offset(7)),
            size: 3,
            resolution: None,
        }
    }
}
