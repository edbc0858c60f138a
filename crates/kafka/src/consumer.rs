//! A consumer for work that is completed later and in any order. Records go out through one channel, and completions
//! come back through another. Offsets are committed only up to the frontier, before which every record has a durable
//! outcome ([`crate::ledger`]).
//!
//! One thread polls and never waits for the work. Outstanding records are limited in bytes by pausing the partitions.
//! When partitions are revoked, the work on them is drained first, up to a deadline; records that are not settled by
//! then will be read again by the next owner.

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

mod committer;
mod fingerprints;
mod output;
mod session;
mod stalls;
mod starts;

pub use output::Output;

/// The settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// How to reach Kafka.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// The topic read.
    pub input: TopicName,
    /// The topic in which earlier work leaves records; `None` if there is none.
    pub output: Option<Output>,
    /// Whether repeats are accepted.
    pub from_beginning: FromBeginning,
    /// Maximum bytes of outstanding records: nothing is read while they are this many.
    pub budget_bytes: usize,
    /// Maximum bytes that librdkafka may fetch ahead, in addition to the budget.
    pub fetch_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long revoked partitions wait for the work on them.
    pub drain_timeout: Duration,
    /// A partition is stalled if its next record to be committed was started ([`Settler::started`]) and has had no
    /// outcome for this long. The consumer then ends with an error.
    pub stall_after: Duration,
    /// While this says that the work waits for something outside, no partition is stalled.
    pub external_wait: ExternalWait,
    /// Consumer metrics.
    pub metrics: ConsumerMetrics,
    /// The health check to report to.
    pub health: KafkaHealth,
    /// Set once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

/// A message from the consumer.
#[derive(Debug)]
pub enum Feed {
    /// A record. Its claim must be settled or released, exactly once.
    Record(Claim, PackedRecord),
    /// This number of partitions is assigned now.
    Assigned(usize),
    /// These partitions are being revoked, or are lost: release the records that have not been sent, settle those in
    /// flight.
    Revoking(Vec<Partition>),
    /// The consumer stops: the same applies to all partitions.
    Stopping,
}

/// Says that started records wait for something outside, which may take any time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ExternalWait(Arc<AtomicBool>);

impl ExternalWait {
    /// Sets whether the work waits.
    pub fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Relaxed);
    }

    fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The result for some claims.
#[derive(Debug)]
enum Settlement {
    Started(Vec<Claim>),
    Deferred(Vec<Claim>),
    Settled(Vec<Claim>),
    Released(Vec<Claim>),
}

/// Settles claims. Cheap to clone.
#[derive(Clone)]
pub struct Settler(mpsc::UnboundedSender<Settlement>);

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settler")
    }
}

impl Settler {
    /// The work on these records begins, or their next step does: an outcome is due, and the stall clock of their
    /// partitions runs. Records that only wait (for their turn, for a rate limit) are not started.
    pub fn started(&self, claims: Vec<Claim>) {
        self.send(Settlement::Started(claims));
    }

    /// These records were started and wait again, for a later attempt.
    pub fn deferred(&self, claims: Vec<Claim>) {
        self.send(Settlement::Deferred(claims));
    }

    /// The outcome of these records is durable: their offsets may be committed.
    pub fn settle(&self, claims: Vec<Claim>) {
        self.send(Settlement::Settled(claims));
    }

    /// No work was done on these records; the next owner of their partitions reads them again.
    pub fn release(&self, claims: Vec<Claim>) {
        self.send(Settlement::Released(claims));
    }

    fn send(&self, settlement: Settlement) {
        // Without a consumer no offset can be committed; the records will be read again.
        drop(self.0.send(settlement));
    }
}

/// A consumer whose thread is not started yet; [`Consumer::run`] starts it.
pub struct Consumer {
    settings: ConsumerSettings,
    feed: mpsc::UnboundedSender<Feed>,
    settlements: mpsc::UnboundedReceiver<Settlement>,
    /// The ledgers outlive a client. Otherwise an assignment of the next client could be mistaken for one of the
    /// previous.
    ledgers: Ledgers,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Returns the consumer, the channel of its records, and the settler. The budget limits the channel of records, not
    /// a count.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> (Self, mpsc::UnboundedReceiver<Feed>, Settler) {
        let (feed, records) = mpsc::unbounded_channel();
        let (settler, settlements) = mpsc::unbounded_channel();
        (Self { settings, feed, settlements, ledgers: Ledgers::default() }, records, Settler(settler))
    }

    /// Consumes on this thread until `stop`, then drains and commits. If the consumer fails permanently or the position
    /// is outside the retained range, the client is rebuilt; outstanding records are read again.
    ///
    /// # Errors
    /// [`KafkaError`] if new clients would not help.
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
                // The failure is already logged once a minute; this would be a line for each attempt.
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
