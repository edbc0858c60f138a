//! A consumer for work that is settled later and in any order: records go out by a channel, settlements come back by
//! another, and offsets are committed only behind the contiguous frontier of settled records ([`crate::ledger`]).
//!
//! One thread polls and never waits for the work. What is outstanding is bounded in bytes by pausing the partitions.
//! When partitions leave, the work on them is drained first, up to a deadline; what is not settled by then will be read
//! again by the next owner.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
use crate::topic::TopicName;

mod committer;
mod fingerprints;
mod output;
mod session;
mod stalls;

pub use output::Output;

/// How a consumer works.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// How to reach Kafka.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// The topic read.
    pub input: TopicName,
    /// Where work leaves something behind; `None` if there is nothing to tell by.
    pub output: Option<Output>,
    /// Accept that a partition without committed offset is read from its beginning although there is output.
    pub from_beginning: bool,
    /// The most bytes of records that may be outstanding; polling pauses there and resumes at three quarters.
    pub budget_bytes: usize,
    /// The most bytes librdkafka may fetch ahead, beside the budget.
    pub fetch_bytes: usize,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// How long leaving partitions wait for the work on them.
    pub drain_timeout: Duration,
    /// A partition whose next record to be committed was started ([`Settler::started`]) and has had no outcome for so long
    /// is stalled: the consumer ends with an error.
    pub stall_after: Duration,
    /// While the work says that it waits for something outside, no partition is stalled.
    pub patience: Patience,
    /// Consumer metrics.
    pub metrics: ConsumerMetrics,
    /// Where it tells how Kafka does.
    pub health: KafkaHealth,
    /// Set once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

/// What the consumer hands out.
#[derive(Debug)]
pub enum Feed {
    /// A record. Its claim must be settled or released, exactly once.
    Record(Claim, PackedRecord),
    /// So many partitions are assigned now.
    Assigned(usize),
    /// These partitions are about to leave, or have left: release what has not been sent, settle what is being sent.
    Revoking(Vec<i32>),
    /// The consumer stops: the same for everything.
    Stopping,
}

/// Tells the consumer that started records wait for something outside, which may take any time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Patience(Arc<AtomicBool>);

impl Patience {
    /// Whether it waits.
    pub fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Relaxed);
    }

    fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What becomes of claims.
#[derive(Debug)]
enum Closing {
    Started(Vec<Claim>),
    Deferred(Vec<Claim>),
    Settled(Vec<Claim>),
    Released(Vec<Claim>),
}

/// Where claims are settled. Cheap to clone.
#[derive(Clone)]
pub struct Settler(mpsc::UnboundedSender<Closing>);

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settler")
    }
}

impl Settler {
    /// The work on these records begins, or its next step does: an outcome is due, and the stall clock of their partitions
    /// runs. Records that only wait (for their turn, for a rate limit) are not started.
    pub fn started(&self, claims: Vec<Claim>) {
        self.send(Closing::Started(claims));
    }

    /// These records were started and wait again, for a later attempt.
    pub fn deferred(&self, claims: Vec<Claim>) {
        self.send(Closing::Deferred(claims));
    }

    /// The effect of these records is durable: their offsets may be committed.
    pub fn settle(&self, claims: Vec<Claim>) {
        self.send(Closing::Settled(claims));
    }

    /// These records were not worked on; whoever owns their partitions next reads them again.
    pub fn release(&self, claims: Vec<Claim>) {
        self.send(Closing::Released(claims));
    }

    fn send(&self, closing: Closing) {
        // Without a consumer there is nothing left to commit; the records will be read again.
        drop(self.0.send(closing));
    }
}

/// A consumer whose thread is still to be started, with [`Consumer::run`].
pub struct Consumer {
    settings: ConsumerSettings,
    feed: mpsc::UnboundedSender<Feed>,
    closings: mpsc::UnboundedReceiver<Closing>,
    /// They outlive a client, or an assignment of the next one could be taken for one of the last.
    ledgers: Ledgers,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Consumer {
    /// The consumer, the records it will hand out, and where they are settled. The channel of records is bounded by the
    /// budget, not by a count.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> (Self, mpsc::UnboundedReceiver<Feed>, Settler) {
        let (feed, records) = mpsc::unbounded_channel();
        let (settler, closings) = mpsc::unbounded_channel();
        (Self { settings, feed, closings, ledgers: Ledgers::default() }, records, Settler(settler))
    }

    /// Consumes on this thread until `stop`, then drains and commits. When the consumer fails for good or the position
    /// falls out of the retained range, it is built anew; what was outstanding is read again.
    ///
    /// # Errors
    /// [`KafkaError`] when new clients would not help.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), KafkaError> {
        let mut replaced = Latest::new();
        loop {
            let known = std::mem::take(&mut replaced);
            let session = session::Session::start(
                &self.settings,
                &self.feed,
                &mut self.closings,
                &mut self.ledgers,
                known,
                stop,
            )?;
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
                // The failure is reported once a minute already; this would be a line for each attempt.
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
