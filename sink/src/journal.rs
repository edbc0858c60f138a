//! What the sink writes to Kafka before a record counts as settled: dead letters and receipts, both acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka::dead_letter::{self, Origin, Reason, Stage};
use kafka::producer::{DurableProducer, NewRecord, ProducerSettings};
use kafka::record::header;
use kafka::{Headers, KafkaError, TopicName};
use serde::Serialize;
use service::Backoff;

use crate::config::Settings;
use crate::work::{Condemned, Item};

/// Version of the receipt's JSON form.
const RECEIPT_VERSION: &str = "1";

/// What a receipt says of a record that Platform has.
pub(crate) const ACCEPTED: &str = "accepted";
/// What it says of one that Platform refuses.
pub(crate) const REFUSED: &str = "refused";

/// A receipt: one for each answered request that settled records. It holds no personal data. `docs/receipts.md` has its schema.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    /// When the request was sent: milliseconds since 1970.
    pub(crate) sent_at: i64,
    /// Its HTTP status.
    pub(crate) status: u16,
    /// Platform's id of the inlet.
    pub(crate) inlet_id: Option<String>,
    /// Platform's id of the batch.
    pub(crate) batch_id: Option<String>,
    /// `[partition, offset, event id, xactionId, verdict]` for each record.
    pub(crate) records: Vec<(i32, i64, String, Option<String>, &'static str)>,
}

impl Receipt {
    /// Adds a record with its verdict.
    pub(crate) fn add(&mut self, item: &Item, xaction_id: Option<String>, verdict: &'static str) {
        self.records.push((item.claim.partition, item.claim.offset, item.event_id().to_owned(), xaction_id, verdict));
    }
}

/// Writes dead letters and receipts.
#[derive(Debug)]
pub(crate) struct Journal {
    producer: DurableProducer<()>,
    input: TopicName,
    dead_letters: TopicName,
    receipts: Option<TopicName>,
    /// Writes that Kafka has refused or not acknowledged, and that are tried again.
    failing: AtomicUsize,
}

impl Journal {
    pub(crate) fn new(settings: &Settings) -> Result<Self, KafkaError> {
        let producer = DurableProducer::new(
            &settings.connection,
            &ProducerSettings {
                delivery_timeout: Duration::from_secs(30),
                linger: Duration::from_millis(5),
                // A dead letter holds a record that the typed topic could hold, and its reason.
                max_record_bytes: 100 * 1024 * 1024,
                queue_bytes: 64 * 1024 * 1024,
            },
        )?;
        Ok(Self {
            producer,
            input: settings.input.clone(),
            dead_letters: settings.dead_letters.clone(),
            receipts: settings.receipts.clone(),
            failing: AtomicUsize::new(0),
        })
    }

    /// Whether something waits for Kafka to take it.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) > 0
    }

    /// Writes one dead letter for each record and returns once all are acknowledged. Kafka's trouble is waited out: the
    /// records stay unsettled meanwhile.
    pub(crate) async fn dead_letters(&self, condemned: &[Condemned]) {
        for letter in condemned {
            self.until_written(|| self.dead_letter(letter)).await;
        }
    }

    fn dead_letter<'a>(&'a self, letter: &'a Condemned) -> NewRecord<'a> {
        let reason = Reason {
            stage: Stage::Sink,
            code: letter.code.as_str(),
            message: &letter.message,
            at: service::unix_millis(),
        };
        let origin = Origin { topic: &self.input, partition: letter.record.partition, offset: letter.record.offset };
        NewRecord {
            topic: &self.dead_letters,
            partition: Some(letter.record.partition),
            key: letter.record.key(),
            value: Some(letter.record.value()),
            headers: dead_letter::headers(letter.record.headers(), reason, Some(origin)),
        }
    }

    /// Writes a receipt and returns once it is acknowledged.
    pub(crate) async fn receipt(&self, receipt: &Receipt) {
        let Some(topic) = &self.receipts else { return };
        let json = serde_json::to_vec(receipt).expect("numbers and texts can always be written as JSON");
        let record = || NewRecord {
            topic,
            partition: None,
            key: None,
            value: Some(&json),
            headers: Headers::with_capacity(1).with(header::VERSION, RECEIPT_VERSION.as_bytes()),
        };
        self.until_written(record).await;
    }

    async fn until_written<'a>(&'a self, record: impl Fn() -> NewRecord<'a>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let written = match self.producer.send(record(), ()) {
                Ok(delivery) => delivery.await,
                Err(error) => Err(error),
            };
            let Err(error) = written else {
                if backoff.failures() > 0 {
                    self.failing.fetch_sub(1, Ordering::Relaxed);
                }
                return;
            };
            if backoff.failures() == 0 {
                self.failing.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, topic = %record().topic, "cannot write to Kafka; trying again until it works");
            }
            tokio::time::sleep(backoff.next_wait(fastrand::f64())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The schema in `docs/receipts.md`.
    fn documented() -> Value {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receipts.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, schema) = page.split_once("```json\n").unwrap();
        serde_json::from_str(schema.split_once("```").unwrap().0).unwrap()
    }

    #[test]
    fn a_receipt_is_what_its_page_says() {
        let schema = documented();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let receipt = Receipt {
            sent_at: 1_700_000_000_000,
            status: 207,
            inlet_id: Some("i".to_owned()),
            batch_id: None,
            records: vec![
                (3, 17, "01E4".to_owned(), Some("1565628583792:1485:153:0".to_owned()), ACCEPTED),
                (0, 0, "01E5".to_owned(), None, REFUSED),
            ],
        };
        let json = serde_json::to_value(&receipt).unwrap();
        let problems: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
        // The page asks for each member, and allows no other: one that is renamed, added or dropped is noticed.
        let mut members: Vec<&String> = json.as_object().unwrap().keys().collect();
        members.sort_unstable();
        let mut required: Vec<_> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        required.sort_unstable();
        assert_eq!(members, required);
        for wrong in [
            r#"{"sentAt":1}"#,
            r#"{"sentAt":1,"status":207,"inletId":null,"batchId":null,"records":[[0,0,"a",null,"lost"]]}"#,
        ] {
            assert!(!validator.is_valid(&serde_json::from_str(wrong).unwrap()), "{wrong}");
        }
        let page_version = schema["title"].as_str().unwrap().rsplit(' ').next().unwrap();
        assert_eq!(page_version, RECEIPT_VERSION);
    }
}
