//! One record of a history, with its value.

use contract::dead_letter::{Entry, Stage};
use contract::{Position, RawRecord, TypedRecord};
use kafka::offsets::Offsets;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::{KafkaError, Record};
use xdm::TenantId;

use super::timeline::StepRecord;
use crate::dead_letters::Body;
use crate::error::OperatorError;
use crate::pipeline::{NEXT_RECORD, Pipeline};
use crate::record::event_id;

/// A record with its value, which may contain personal data.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    /// Id of the event; `None` if the record has no readable id.
    pub event_id: Option<String>,
    /// The time at which the gateway received the webhook, in milliseconds since 1970.
    pub received_at: i64,
    /// Size of the stored value, in bytes.
    pub size: usize,
    /// The value.
    pub value: StoredValue,
}

/// The value of a record.
#[derive(Debug, Clone)]
pub enum StoredValue {
    /// A webhook, from the raw topic or from a dead letter of the gateway or the transformer.
    Webhook(StoredWebhook),
    /// An event, from the typed topic or from a dead letter of the sink or of Platform.
    Event(Body),
}

/// A webhook as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWebhook {
    /// The body, encoded as it was received.
    pub body: Vec<u8>,
    /// The `Content-Encoding` of the body.
    pub content_encoding: Option<Vec<u8>>,
    /// Name of the source, if the record has one.
    pub source: Option<String>,
    /// The size of the complete body in bytes; `None` if `body` is complete.
    pub original_size: Option<u64>,
}

/// Reads one record; `None` if its position has no record, or the record has expired. `tenant` is the key of the
/// organisation's own fields in an event. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn stored(
    pipeline: Pipeline<'_>,
    record: StepRecord,
    tenant: &TenantId,
) -> Result<Option<StoredRecord>, OperatorError> {
    let topics = pipeline.topics;
    let topic = match record {
        StepRecord::Raw(_) => &topics.raw,
        StepRecord::Typed(_) => &topics.typed,
        StepRecord::DeadLetter(_) => &topics.dead_letters,
    };
    let Position { partition, offset } = record.position();
    let watermarks = Offsets::new(pipeline.connection)?.watermarks(topic)?;
    let is_there = watermarks.get(&partition).is_some_and(|range| (range.low..range.high).contains(&offset));
    if !is_there {
        return Ok(None);
    }
    let range = OffsetRange { partition, start: offset, end: offset.next() };
    let mut found = None;
    read_offset_ranges(pipeline.connection, topic, &[range], NEXT_RECORD, |at| {
        found = read(at, record, tenant);
        Ok::<(), KafkaError>(())
    })?;
    Ok(found)
}

fn read(record: &Record<'_>, of: StepRecord, tenant: &TenantId) -> Option<StoredRecord> {
    let (is_webhook, original_size) = match of {
        StepRecord::Raw(_) => (true, None),
        StepRecord::Typed(_) => (false, None),
        StepRecord::DeadLetter(_) => match Entry::read(record.headers()) {
            Entry::DeadLetter(head) => {
                (matches!(head.stage, Stage::Gateway | Stage::Transformer), head.cut.map(|cut| cut.size))
            }
            Entry::Resolution(_) | Entry::Mark(_) | Entry::Foreign => return None,
        },
    };
    let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
    let (received_at, value) = if is_webhook {
        let webhook = StoredWebhook {
            body: raw.body.to_vec(),
            content_encoding: raw.content_encoding.map(<[u8]>::to_vec),
            source: raw.source.map(std::borrow::Cow::into_owned),
            original_size,
        };
        (raw.received_at, StoredValue::Webhook(webhook))
    } else {
        let typed = TypedRecord::read(record.headers(), record.timestamp());
        (typed.received_at, StoredValue::Event(Body::read(record.value(), tenant)))
    };
    Some(StoredRecord { event_id: event_id(record), received_at, size: record.value().len(), value })
}
