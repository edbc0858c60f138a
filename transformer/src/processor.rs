//! One raw record to one typed record or one dead letter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kafka::dead_letter::{self, Origin, Reason, Stage};
use kafka::producer::NewRecord;
use kafka::record::header;
use kafka::transaction::{Outbox, Processor};
use kafka::{Headers, Record, TopicName};
use mapping::{Identity, ReceivedAt, Rejection, RejectionCode, Source};
use xdm::avro::{EncodeError, Encoder, Framing};

use crate::config::Settings;
use crate::metrics::{Labels, Metrics, Outcome, Tally};
use crate::sources::Sources;

/// Maps records and writes the results into the worker's transaction.
pub(crate) struct EventProcessor {
    input: TopicName,
    typed: TopicName,
    dead_letters: TopicName,
    sources: Sources,
    encoder: Encoder,
    /// The Avro bytes of the record at hand; reused.
    value: Vec<u8>,
    tally: Tally,
}

impl EventProcessor {
    pub(crate) fn new(settings: &Settings, framing: Framing, metrics: Metrics) -> Result<Self, EncodeError> {
        Ok(Self {
            input: settings.input.clone(),
            typed: settings.typed.clone(),
            dead_letters: settings.dead_letters.clone(),
            sources: settings.sources.clone(),
            encoder: Encoder::new(framing)?,
            value: Vec::with_capacity(4096),
            tally: Tally::new(metrics),
        })
    }
}

impl Processor for EventProcessor {
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>) {
        let source = record.header(header::SOURCE).map(String::from_utf8_lossy);
        let Some(source) = self.sources.get(source.as_deref()) else {
            // The gateway knew the source: mapping it by guess could merge people, a dead letter would punish the event.
            return outbox.give_up(format!(
                "a record of source `{}` came, which SOURCES_FILE does not name (it names: {}); add it and start again, nothing is lost",
                source.as_deref().unwrap_or("default"),
                self.sources.names()
            ));
        };
        let labels = match map(record, source, &self.encoder, &mut self.value) {
            Ok(mapped) => {
                let headers = typed_headers(record, &mapped.id);
                outbox.send(NewRecord {
                    topic: &self.typed,
                    partition: Some(record.partition()),
                    key: record.key(),
                    value: Some(&self.value),
                    headers,
                });
                mapped.labels
            }
            Err(rejection) => {
                let reason = Reason {
                    stage: Stage::Transformer,
                    code: rejection.code.as_str(),
                    message: &rejection.message,
                    at: service::unix_millis(),
                };
                let origin = Origin { topic: &self.input, partition: record.partition(), offset: record.offset() };
                outbox.send(NewRecord {
                    topic: &self.dead_letters,
                    partition: Some(record.partition()),
                    key: record.key(),
                    value: Some(record.value()),
                    headers: dead_letter::headers(record.headers(), reason, Some(origin)),
                });
                let outcome = Outcome::DeadLetter(rejection.code.as_str());
                Labels { outcome, object_type: "none", metric: "none" }
            }
        };
        self.tally.count(labels);
    }

    fn committed(&mut self, took: Duration) {
        self.tally.committed(took);
    }

    fn aborted(&mut self) {
        self.tally.aborted();
    }
}

/// What is left to say of a mapped record once its bytes stand in the buffer.
struct Typed {
    id: String,
    labels: Labels,
}

/// Maps the record and leaves its Avro form in `value`. A panic costs this record only.
fn map(record: &Record<'_>, source: &Source, encoder: &Encoder, value: &mut Vec<u8>) -> Result<Typed, Rejection> {
    let encoding = record.header(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(Rejection::new(
            RejectionCode::UnsupportedEncoding,
            "the request had a content-encoding that is not supported; send the body as it is",
        ));
    }
    let received_at = received_at(record);
    guarded(|| {
        let mapped = mapping::map(record.value(), received_at, source)?;
        value.clear();
        encoder.encode(&mapped.event, value).map_err(|error| {
            Rejection::new(RejectionCode::InvalidXdm, format!("the event does not fit the Avro schema: {error}"))
        })?;
        let (object_type, metric) = mapped.labels();
        let outcome = match mapped.identity {
            Identity::Present => Outcome::Mapped,
            Identity::Missing => Outcome::MappedWithoutIdentity,
        };
        Ok(Typed { id: mapped.event.id.into_owned(), labels: Labels { outcome, object_type, metric } })
    })
}

/// Runs the mapping of one record; a panic becomes that record's rejection.
fn guarded(map: impl FnOnce() -> Result<Typed, Rejection>) -> Result<Typed, Rejection> {
    // Nothing that outlives a panic is left half-changed: the buffer is cleared before each use.
    catch_unwind(AssertUnwindSafe(map)).unwrap_or_else(|_| {
        Err(Rejection::new(
            RejectionCode::MappingPanic,
            "the mapping panicked on this record; please report it with the record",
        ))
    })
}

/// When the gateway received the request; the record's own time for a record that somebody else wrote.
fn received_at(record: &Record<'_>) -> ReceivedAt {
    let written = record.header(header::RECEIVED_AT).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    ReceivedAt::from_millis(written.or(record.timestamp()).unwrap_or_default())
}

fn typed_headers(record: &Record<'_>, id: &str) -> Headers {
    Headers::with_capacity(6)
        .with(header::EVENT_ID, id.as_bytes())
        .with(header::RAW_OFFSET, record.offset().to_string().as_bytes())
        .with_some(header::RECEIVED_AT, record.header(header::RECEIVED_AT))
        .with_some(header::SOURCE, record.header(header::SOURCE))
        .with_some(header::TRACEPARENT, record.header(header::TRACEPARENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_record() {
        let rejected = |result: Result<Typed, Rejection>| result.err().map(|rejection| rejection.code);
        assert_eq!(rejected(guarded(|| panic!("a defect"))), Some(RejectionCode::MappingPanic));
        let labels = Labels { outcome: Outcome::Mapped, object_type: "email", metric: "sent" };
        assert_eq!(rejected(guarded(|| Ok(Typed { id: "01X".to_owned(), labels }))), None);
    }
}
