//! A transactional writer for commands, which write a few transactions and then end.
//!
//! A later writer with the same id aborts the open transaction of this one and fences it. Therefore, a command that
//! reads the topics *after* it has opened its writer sees everything that earlier writers have written.

use std::fmt;
use std::time::{Duration, Instant};

use super::machine::Outcome;
use super::producer::{TooLarge, TransactionalProducer};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::producer::NewRecord;

/// Time after which the brokers abort the transaction of a writer that died, unless a new writer with the same id
/// aborts it earlier.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Consequences of brokers that do not respond, for messages: before the first record, and during a commit.
const NOTHING_WRITTEN: &str = "nothing was written";
const COMMIT_UNKNOWN: &str = "it is not known whether the transaction was committed";

/// Writes records in transactions: either all records of a transaction become visible, or none. The calls block.
pub struct TransactionalWriter {
    id: String,
    producer: TransactionalProducer,
}

impl fmt::Debug for TransactionalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalWriter").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TransactionalWriter {
    /// Registers the transactional id, which aborts the open transaction of an earlier writer and fences that writer.
    ///
    /// # Errors
    /// [`KafkaError::Write`] if the brokers do not respond for `patience`.
    pub fn open(connection: &Connection, id: &str, patience: Duration) -> Result<Self, KafkaError> {
        let producer = TransactionalProducer::new(connection, id, TRANSACTION_TIMEOUT, None)?;
        let writer = Self { id: id.to_owned(), producer };
        writer.until_done(patience, NOTHING_WRITTEN, || writer.producer.init(Duration::from_secs(1)))?;
        Ok(writer)
    }

    /// Writes these records in one transaction.
    ///
    /// # Errors
    /// [`KafkaError::RecordTooLarge`] if a topic refuses a batch: none of the records was written. Fewer records in one
    /// transaction may be accepted, since a broker refuses a whole batch because of its size. [`KafkaError::Write`] for
    /// every other failure: none of the records was written; or it is unknown whether all or none were written, and the
    /// message says so.
    pub fn write<'a>(&self, records: impl IntoIterator<Item = NewRecord<'a>>) -> Result<(), KafkaError> {
        self.until_done(TRANSACTION_TIMEOUT, NOTHING_WRITTEN, || self.producer.begin())?;
        for record in records {
            if let Err(reason) = self.producer.send(record, 0) {
                return Err(self.roll_back(reason));
            }
        }
        let committed = self.until_done(TRANSACTION_TIMEOUT, COMMIT_UNKNOWN, || {
            if !self.producer.drained() {
                return Outcome::Retry;
            }
            match self.producer.failure() {
                Some(reason) => Outcome::Abort(reason),
                None => self.producer.commit(),
            }
        });
        // The delivery reports contain the cause of an abort; librdkafka's error does not.
        committed.map_err(|error| {
            let failures = self.producer.take_failures();
            match (failures.too_large.into_iter().max_by_key(|record| record.bytes), failures.first) {
                (Some(TooLarge { topic, bytes, .. }), _) => KafkaError::RecordTooLarge { topic, bytes },
                (None, Some(reason)) => self.failed(reason),
                (None, None) => error,
            }
        })
    }

    /// Repeats a call until it is done. If the brokers do not respond for `patience`, the error contains `consequence`:
    /// what this means for the records.
    fn until_done(
        &self,
        patience: Duration,
        consequence: &str,
        mut call: impl FnMut() -> Outcome,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + patience;
        loop {
            match call() {
                Outcome::Done => return Ok(()),
                Outcome::Retry if Instant::now() < deadline => {}
                Outcome::Retry => {
                    let seconds = patience.as_secs();
                    return Err(self.failed(format!("the brokers did not respond for {seconds} s, and {consequence}")));
                }
                Outcome::Abort(reason) => return Err(self.roll_back(reason)),
                Outcome::Broken(_) if self.producer.is_fenced() => {
                    return Err(self.failed("another run of the same command has fenced this one".to_owned()));
                }
                Outcome::Broken(reason) | Outcome::Evicted(reason) => return Err(self.failed(reason)),
            }
        }
    }

    /// Aborts if possible; otherwise the next writer or the brokers abort the transaction.
    fn roll_back(&self, reason: String) -> KafkaError {
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.producer.abort(), Outcome::Retry) && Instant::now() < deadline {}
        self.failed(reason)
    }

    fn failed(&self, reason: String) -> KafkaError {
        KafkaError::Write { id: self.id.clone(), reason }
    }
}
