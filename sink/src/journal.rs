//! Writes dead letters and receipts to Kafka. The outcome of a record is durable once Kafka has acknowledged these.
//!
//! A broker that refuses a batch because of its size refuses all its records, so a refused record is first sent again
//! in a batch of its own. If it is too large even then, it is made smaller: a dead letter keeps the beginning of its
//! value, and a receipt is split.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::Position;
use contract::dead_letter::{Cut, CutValue, DeadLetter, Entry, Mark, Stage};
use contract::receipt::{RECEIPT_VERSION, Receipt};
use futures_util::future::join_all;
use kafka::producer::{DurableProducer, NewRecord, ProduceError, ProducerSettings};
use kafka::record::header;
use kafka::{Headers, KafkaError, KafkaHealth, Record, TopicName};
use service::Backoff;
use tokio::sync::Mutex;

use crate::config::Settings;
use crate::work::ToDeadLetter;

/// Maximum size of a record that is written whole, in bytes.
const LARGEST_RECORD: usize = 100 * 1024 * 1024;

/// Whether a record may share its batch with other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batching {
    /// The record may be in a batch with other records.
    Shared,
    /// The record is the only one in its batch, so that "too large" refers to this record.
    Alone,
}

/// Writes one record. Tests implement this without Kafka.
pub(crate) trait Write: Send + Sync {
    /// Passes the record to the producer at once; the future resolves once the record is acknowledged or has failed.
    fn write(&self, record: NewRecord<'_>, batching: Batching)
    -> impl Future<Output = Result<(), ProduceError>> + Send;
}

/// Writes to Kafka, and reports success and failure to the health check.
#[derive(Debug)]
pub(crate) struct KafkaWriter {
    producer: DurableProducer<()>,
    health: KafkaHealth,
}

impl Write for KafkaWriter {
    fn write(
        &self,
        record: NewRecord<'_>,
        batching: Batching,
    ) -> impl Future<Output = Result<(), ProduceError>> + Send {
        let record_topic = record.topic.clone();
        let delivery = match batching {
            Batching::Shared => self.producer.send(record, ()),
            Batching::Alone => self.producer.send_alone(record, ()),
        };
        async move {
            let written = match delivery {
                Ok(delivery) => delivery.await.map(drop),
                Err(error) => Err(error),
            };
            self.health.wrote(&record_topic, &written);
            written
        }
    }
}

/// Writes dead letters and receipts.
#[derive(Debug)]
pub(crate) struct Journal<W = KafkaWriter> {
    writer: W,
    topics: JournalTopics,
    /// Number of writes that Kafka refused or did not acknowledge and that are being repeated.
    failing: AtomicUsize,
    /// Number of writes that are being repeated for any reason, including those whose record was too large.
    repeated: AtomicUsize,
    /// Time at which the mark [`Mark::DeliveredFrom`] was last written.
    marked: Mutex<Option<Instant>>,
}

/// The topics that the sink writes to, and the input topic that they refer to.
#[derive(Debug, Clone)]
pub(crate) struct JournalTopics {
    pub(crate) input: TopicName,
    pub(crate) dead_letters: TopicName,
    pub(crate) receipts: Option<TopicName>,
}

impl Journal {
    pub(crate) fn new(settings: &Settings, health: KafkaHealth) -> Result<Self, KafkaError> {
        let producer = DurableProducer::new(
            &settings.connection,
            &ProducerSettings {
                delivery_timeout: Duration::from_secs(30),
                linger: Duration::from_millis(5),
                max_record_bytes: LARGEST_RECORD,
                // The queue must have room for the largest record, which would otherwise never be sent.
                // SINK_BUFFER_BYTES limits the queued records, because they have no durable outcome yet.
                queue_bytes: 2 * LARGEST_RECORD,
            },
        )?;
        let topics = JournalTopics {
            input: settings.input.clone(),
            dead_letters: settings.dead_letters.clone(),
            receipts: settings.receipts.clone(),
        };
        Ok(Self::with(KafkaWriter { producer, health }, topics))
    }
}

impl<W: Write> Journal<W> {
    pub(crate) fn with(writer: W, topics: JournalTopics) -> Self {
        Self { writer, topics, failing: AtomicUsize::new(0), repeated: AtomicUsize::new(0), marked: Mutex::default() }
    }

    /// Whether a write is being repeated because Kafka refused or did not acknowledge it.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) > 0
    }

    /// Whether a write is being repeated for any reason. The repetition ends only when Kafka accepts the record.
    pub(crate) fn is_repeating(&self) -> bool {
        self.repeated.load(Ordering::Relaxed) > 0
    }

    /// Produces one dead letter for each record, all together, and returns once all are acknowledged. Each write is
    /// repeated until Kafka accepts it; until then, the records have no durable outcome.
    pub(crate) async fn dead_letters(&self, records: &[ToDeadLetter]) {
        join_all(records.iter().map(|record| self.dead_letter(record))).await;
    }

    async fn dead_letter(&self, record: &ToDeadLetter) {
        let mut attempts = Attempts::new(self);
        let whole = || self.dead_letter_record(record, record.record.value(), None);
        for batching in [Batching::Shared, Batching::Alone] {
            if attempts.write(batching, whole).await.is_ok() {
                return;
            }
        }
        let value = CutValue::of(record.record.value());
        let Position { partition, offset } = record.record.position;
        tracing::warn!(
            topic = %self.topics.dead_letters, partition = partition.0, offset = offset.0, bytes = value.cut.size, kept = value.kept.len(),
            "the dead-letter topic refuses the whole record because of its size: writing its beginning with its size and SHA-256; to keep such records whole, raise max.message.bytes of the topic"
        );
        attempts.write_smallest(|| self.dead_letter_record(record, value.kept, Some(&value.cut))).await;
    }

    fn dead_letter_record<'a>(&'a self, record: &'a ToDeadLetter, value: &'a [u8], cut: Option<&Cut>) -> NewRecord<'a> {
        let original = &record.record;
        let dead_letter = DeadLetter::new(Stage::Sink, record.code.as_str(), &record.message, service::unix_millis())
            .of(self.topics.input.as_str(), original.position);
        let dead_letter = DeadLetter { cut: cut.cloned(), ..dead_letter };
        NewRecord {
            topic: &self.topics.dead_letters,
            partition: Some(original.position.partition),
            key: original.key(),
            value: Some(value),
            headers: Headers::copied(original.headers()).with_all(dead_letter.headers()),
        }
    }

    /// Writes the mark [`Mark::DeliveredFrom`], unless this process has written one within [`MARK_EVERY`]. The mark
    /// shows a later sink that an earlier one has delivered records.
    async fn mark(&self) {
        // Other calls wait for the lock, so no offset is committed before the mark is acknowledged.
        let mut marked = self.marked.lock().await;
        if marked.is_some_and(|marked| marked.elapsed() < MARK_EVERY) {
            return;
        }
        let mark = Mark::DeliveredFrom(self.topics.input.to_string());
        Attempts::new(self).write_smallest(|| mark_record(&self.topics.dead_letters, &mark)).await;
        *marked = Some(Instant::now());
    }

    /// Writes a receipt and returns once it is acknowledged. If the receipt is too large for the topic, its entries are
    /// written in several records. Without a receipts topic, calls [`Self::mark`] instead.
    pub(crate) async fn receipt(&self, receipt: &Receipt<'_>) {
        let Some(topic) = &self.topics.receipts else { return self.mark().await };
        let mut attempts = Attempts::new(self);
        let json = receipt.json();
        if attempts.write(Batching::Shared, || receipt_record(topic, &json)).await.is_ok() {
            return;
        }
        let mut parts = vec![&receipt.records[..]];
        while let Some(part) = parts.pop() {
            let json = Receipt { records: part.to_vec(), ..receipt.clone() }.json();
            let record = || receipt_record(topic, &json);
            if part.len() < 2 {
                attempts.write_smallest(record).await;
            } else if attempts.write(Batching::Alone, record).await.is_err() {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
}

/// Interval at which the mark [`Mark::DeliveredFrom`] is written if there is no receipts topic. A mark expires like a
/// dead letter, so the sink repeats it: a mark must exist whenever the brokers lose the group's offsets.
const MARK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Whether a record of the dead-letter topic was written by a sink that reads this input topic.
pub(crate) fn is_of_a_sink(record: &Record<'_>, input: &TopicName) -> bool {
    match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            dead_letter.stage == Stage::Sink && dead_letter.origin.is_some_and(|origin| origin.topic == input.as_str())
        }
        Entry::Mark(Mark::DeliveredFrom(topic)) => topic == input.as_str(),
        Entry::Mark(Mark::FailedBatchesCheckedTo(_)) | Entry::Resolution(_) | Entry::Foreign => false,
    }
}

/// Returns the record of a mark.
pub(crate) fn mark_record<'a>(dead_letters: &'a TopicName, mark: &Mark) -> NewRecord<'a> {
    let headers = Headers::with_capacity(1).with_all(mark.headers());
    NewRecord { topic: dead_letters, partition: Some(Mark::PARTITION), key: None, value: Some(b""), headers }
}

fn receipt_record<'a>(topic: &'a TopicName, json: &'a [u8]) -> NewRecord<'a> {
    let headers = Headers::with_capacity(1).with(header::VERSION, RECEIPT_VERSION.as_bytes());
    NewRecord { topic, partition: None, key: None, value: Some(json), headers }
}

/// Error: the record is too large for the topic.
#[derive(Debug)]
struct TooLarge;

/// The attempts to write one dead letter or one receipt. The journal counts the writes that are being repeated.
struct Attempts<'j, W> {
    journal: &'j Journal<W>,
    backoff: Backoff,
    failing: bool,
    repeated: bool,
}

impl<'j, W: Write> Attempts<'j, W> {
    fn new(journal: &'j Journal<W>) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        Self { journal, backoff, failing: false, repeated: false }
    }

    /// Repeats the write until Kafka accepts the record or refuses it as too large.
    async fn write<'a>(&mut self, batching: Batching, record: impl Fn() -> NewRecord<'a>) -> Result<(), TooLarge> {
        loop {
            let Err(error) = self.journal.writer.write(record(), batching).await else {
                self.backoff.reset();
                return Ok(());
            };
            if !std::mem::replace(&mut self.repeated, true) {
                self.journal.repeated.fetch_add(1, Ordering::Relaxed);
            }
            if error == ProduceError::TooLarge {
                return Err(TooLarge);
            }
            if self.is_first_failure() {
                // The writer reports this failure to the health check, which logs it.
                tracing::debug!(%error, topic = %record().topic, "writing to Kafka failed; trying again until it works");
            }
            self.wait().await;
        }
    }

    /// Repeats the write until Kafka accepts the record, which cannot be made any smaller.
    async fn write_smallest<'a>(&mut self, record: impl Fn() -> NewRecord<'a>) {
        let mut logged = false;
        while self.write(Batching::Alone, &record).await.is_err() {
            self.is_first_failure();
            if !std::mem::replace(&mut logged, true) {
                let refused = record();
                let bytes = size(&refused);
                tracing::error!(
                    topic = %refused.topic, bytes, needed = needed(bytes),
                    "the topic refuses even the smallest form of a record: set max.message.bytes of the topic to at least `needed`; trying again until it works, no offset of this partition is committed meanwhile"
                );
            }
            self.wait().await;
        }
    }

    fn is_first_failure(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.failing, true);
        if first {
            self.journal.failing.fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.backoff.next_wait(fastrand::f64())).await;
    }
}

impl<W> Drop for Attempts<'_, W> {
    fn drop(&mut self) {
        self.journal.failing.fetch_sub(usize::from(self.failing), Ordering::Relaxed);
        self.journal.repeated.fetch_sub(usize::from(self.repeated), Ordering::Relaxed);
    }
}

/// Estimates how many bytes a record takes in its batch.
fn size(record: &NewRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(|header| 8 + header.name.len() + length(header.value)).sum();
    length(record.key) + length(record.value) + headers
}

/// Returns the `max.message.bytes` that a record of this size needs, including the header of its batch.
fn needed(bytes: usize) -> usize {
    (bytes + 1024).next_multiple_of(1024)
}

#[cfg(test)]
mod tests;
