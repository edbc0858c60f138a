//! A consumer for work that is completed later and in any order. Records go out through one channel, and completions
//! come back through another. Offsets are committed only up to the frontier, before which every record has a durable
//! outcome ([`crate::ledger`]).
//!
//! One thread polls. It limits the bytes of outstanding records by pausing the partitions. It waits for the work only
//! before a revoke or a stop, and at most until a deadline. Records that are not settled by then are read again by the
//! next owner of their partition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contract::{Partition, TopicName};
use service::Readiness;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::health::KafkaHealth;
use crate::ledger::{Claim, Ledgers};
use crate::log_watch::{Latest, Replaced};
use crate::metrics::ConsumerMetrics;
use crate::record::PackedRecord;
use crate::start::FromBeginning;

mod fingerprints;
mod output;
mod session;
mod stalls;
mod starts;

pub use output::Output;

/// Settings of a [`Consumer`].
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Connection to the brokers.
    pub connection: Connection,
    /// Name of the consumer group.
    pub group: String,
    /// Topic that the consumer reads.
    pub input: TopicName,
    /// Topic to which earlier work of the group has written; `None` if the work writes to no topic.
    pub output: Option<Output>,
    /// Whether the operator accepts repeats if the group has lost its offsets.
    pub from_beginning: FromBeginning,
    /// Maximum bytes of outstanding records. At this limit, the consumer reads nothing.
    pub budget_bytes: usize,
    /// Maximum bytes that librdkafka may fetch ahead, in addition to the budget.
    pub fetch_bytes: usize,
    /// Interval between commits.
    pub commit_interval: Duration,
    /// Maximum time that a revoke waits for the work on the revoked partitions.
    pub drain_timeout: Duration,
    /// A partition is stalled if its next record to be committed was started ([`Settler::started`]) and has had no
    /// outcome for this long. The consumer then ends with an error.
    pub stall_after: Duration,
    /// While this is set, the work waits for an external system, and no partition is stalled.
    pub external_wait: ExternalWait,
    /// Metrics that the consumer updates.
    pub metrics: ConsumerMetrics,
    /// Health check to which the consumer reports successes and failures.
    pub health: KafkaHealth,
    /// Becomes ready once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

/// A message from the consumer.
#[derive(Debug)]
pub enum Feed {
    /// A record. The receiver must settle or release the claim exactly once.
    Record(Claim, PackedRecord),
    /// Number of partitions that are assigned now.
    Assigned(usize),
    /// These partitions are being revoked, or are lost. The receiver releases their records that wait, and settles the
    /// records on which work is in progress.
    Revoking(Vec<Partition>),
    /// The consumer stops. The receiver treats all partitions as for [`Feed::Revoking`].
    Stopping,
}

/// Flag that says that started records wait for an external system, without a time limit. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ExternalWait(Arc<AtomicBool>);

impl ExternalWait {
    /// Sets whether the work waits for an external system.
    pub fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Relaxed);
    }

    fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A report of a [`Settler`] about some claims.
#[derive(Debug)]
enum Settlement {
    Started(Vec<Claim>),
    Deferred(Vec<Claim>),
    Settled(Vec<Claim>),
    Released(Vec<Claim>),
}

/// Reports the progress of claims to the consumer. Cheap to clone.
#[derive(Clone)]
pub struct Settler(mpsc::UnboundedSender<Settlement>);

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settler")
    }
}

impl Settler {
    /// Reports that the work on these records, or its next step, begins. From now on an outcome is due, and the stall
    /// clock of their partitions runs. Records that only wait (for their turn, for a rate limit) are not started.
    pub fn started(&self, claims: Vec<Claim>) {
        self.send(Settlement::Started(claims));
    }

    /// Reports that these started records wait again, for a later attempt.
    pub fn deferred(&self, claims: Vec<Claim>) {
        self.send(Settlement::Deferred(claims));
    }

    /// Reports that the outcome of these records is durable: their offsets may be committed.
    pub fn settle(&self, claims: Vec<Claim>) {
        self.send(Settlement::Settled(claims));
    }

    /// Reports that the work on these records has ended without an outcome. The next owner of their partitions reads
    /// the records again.
    pub fn release(&self, claims: Vec<Claim>) {
        self.send(Settlement::Released(claims));
    }

    fn send(&self, settlement: Settlement) {
        // If the consumer has ended, no offset can be committed, and the records will be read again.
        drop(self.0.send(settlement));
    }
}

/// A consumer that is not running yet; [`Consumer::run`] runs it on the calling thread.
pub struct Consumer {
    settings: ConsumerSettings,
    feed: mpsc::UnboundedSender<Feed>,
    settlements: mpsc::UnboundedReceiver<Settlement>,
    /// The ledgers outlive a client. Otherwise, an assignment of a new client could have the same epoch as an
    /// assignment of the previous client.
    ledgers: Ledgers,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Returns the consumer, the channel of its messages, and the settler. The channel is unbounded, because
    /// [`ConsumerSettings::budget_bytes`] limits the records in it.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> (Self, mpsc::UnboundedReceiver<Feed>, Settler) {
        let (feed, records) = mpsc::unbounded_channel();
        let (settler, settlements) = mpsc::unbounded_channel();
        (Self { settings, feed, settlements, ledgers: Ledgers::default() }, records, Settler(settler))
    }

    /// Consumes on this thread until `stop` is cancelled, then drains and commits. If the client fails, or if the
    /// position is outside the retained range, builds a new client; outstanding records are read again.
    ///
    /// # Errors
    /// [`KafkaError`] if a new client would not fix the failure.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), KafkaError> {
        let mut replaced = Latest::new();
        loop {
            let known = std::mem::take(&mut replaced);
            let channels =
                session::Channels { feed: &self.feed, settlements: &mut self.settlements, ledgers: &mut self.ledgers };
            let session = session::Session::start(&self.settings, channels, known, stop)?;
            let reason = match session.run() {
                session::End::Stopped => return Ok(()),
                session::End::Fatal(error) => return Err(error),
                session::End::Replaced(Replaced { partition, last }) => {
                    replaced.insert(partition, last);
                    format!(
                        "the log of partition {partition} of `{}` is not the one that was read",
                        self.settings.input
                    )
                }
                session::End::Rebuild(reason) => reason,
            };
            if self.settings.health.fails_permanently() {
                // The health check already logs the failure once a minute. A warning here would add a line for each
                // attempt.
                tracing::debug!(reason, "building a new consumer");
            } else {
                tracing::warn!(reason, "building a new consumer");
            }
            let wake = Instant::now() + Duration::from_secs(1);
            while Instant::now() < wake && !stop.is_cancelled() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[cfg(test)]
mod tests;
