//! Processes one record, and builds the machine's view of the clients.

use contract::Position;

use super::clients::Clients;
use super::outbox::Outbox;
use super::oversized::Oversized;
use super::processor::{Disposition, Processor};
use super::producer::TransactionalProducer;
use super::settings::WorkerSettings;
use crate::fingerprint::Fingerprint;
use crate::log_watch::Latest;
use crate::record::Record;

/// The result of processing one record.
#[derive(Debug)]
pub(super) struct Processed {
    /// The reason why output could not be queued or was not delivered. If set, the transaction must be aborted.
    pub(super) failure: Option<String>,
    pub(super) disposition: Disposition,
}

/// Turns an accepted record into output. If a topic has refused a batch with output of this record because of its size,
/// this function writes the output in batches without other records and waits for the delivery. A further refusal then
/// certainly refers to this record.
pub(super) fn process(
    producer: &TransactionalProducer,
    processor: &mut impl Processor,
    oversized: &Oversized,
    inputs: &mut Vec<Position>,
    record: &Record<'_>,
) -> Processed {
    let position = record.position();
    let alone = oversized.is_suspected(position);
    if alone && let Err(reason) = producer.drain() {
        return Processed { failure: Some(reason), disposition: Disposition::Done };
    }
    let input = inputs.len();
    inputs.push(position);
    let mut outbox = Outbox::new(producer, oversized, position, input);
    let disposition = processor.process(record, &mut outbox);
    let mut failure = outbox.failure;
    if alone && failure.is_none() && !matches!(disposition, Disposition::Hold(_) | Disposition::Defer(_)) {
        failure = producer.drain().err().or_else(|| producer.failure());
    }
    Processed { failure, disposition }
}

/// Stores the fingerprint by which a partition's log is recognised: the fingerprint of the record with the highest
/// offset. This may not be the record that was processed last, because records are processed again after an abort.
pub(super) fn note_latest(latest: &mut Latest, record: &Record<'_>) {
    let fingerprint = Fingerprint::of(record);
    let last = latest.entry(record.partition()).or_insert(fingerprint);
    if last.offset < fingerprint.offset {
        *last = fingerprint;
    }
}

/// Returns the clients of a session as its machine sees them.
pub(super) fn clients<'s, C>(
    producer: &'s TransactionalProducer,
    consumer: &'s C,
    latest: &'s Latest,
    settings: &'s WorkerSettings,
) -> Clients<'s, C> {
    let keeps_transactional_offsets = settings.connection.keeps_transactional_offsets();
    Clients {
        producer,
        consumer,
        topic: &settings.input,
        latest,
        health: &settings.health,
        keeps_transactional_offsets,
    }
}
