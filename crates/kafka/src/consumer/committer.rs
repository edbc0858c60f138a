//! Commits offsets on a thread of its own. librdkafka reports the result of an asynchronous commit only to a callback
//! that rdkafka does not set, so a caller has to wait for the result. Polling must not wait for it, so this thread
//! does.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use crate::error::KafkaError;
use crate::fingerprint::Fingerprint;
use crate::group::{self, GroupContext};
use crate::topic::TopicName;

/// Offsets by partition, each with the fingerprint of a record before it.
pub(super) type Offsets = Vec<(i32, i64, Option<Fingerprint>)>;

/// The result of a commit, and the offsets that were to be committed.
pub(super) type Committed = (Result<(), KafkaError>, Offsets);

/// Commits these offsets and waits for the result, for which librdkafka has no time-out: it waits for a coordinator.
fn commit(
    consumer: &BaseConsumer<GroupContext>,
    topic: &TopicName,
    offsets: &[(i32, i64, Option<Fingerprint>)],
) -> Result<(), KafkaError> {
    let positions: Vec<_> = offsets.iter().map(|&(partition, offset, _)| (partition, offset)).collect();
    let list = group::offsets_with_metadata(topic, &positions, |partition| {
        let (.., fingerprint) = offsets.iter().find(|(known, ..)| *known == partition)?;
        fingerprint.map(|fingerprint| fingerprint.to_string())
    })?;
    consumer.commit(&list, CommitMode::Sync).map_err(KafkaError::during("committing offsets"))
}

/// The thread that commits, with at most one commit at a time. See the module.
pub(super) struct Committer {
    orders: mpsc::Sender<Offsets>,
    results: mpsc::Receiver<Committed>,
    in_progress: bool,
    thread: JoinHandle<()>,
}

impl Committer {
    pub(super) fn start(consumer: Arc<BaseConsumer<GroupContext>>, topic: TopicName) -> Self {
        let (orders, todo) = mpsc::channel::<Offsets>();
        let (done, results) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for offsets in todo {
                let result = commit(&consumer, &topic, &offsets);
                if done.send((result, offsets)).is_err() {
                    break;
                }
            }
        });
        Self { orders, results, in_progress: false, thread }
    }

    /// Whether a commit is in progress, so that the next one would have to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.in_progress
    }

    pub(super) fn order(&mut self, offsets: Offsets) {
        // The thread lives as long as this value.
        self.in_progress = self.orders.send(offsets).is_ok();
    }

    /// Returns the result of the last commit, once it is known.
    pub(super) fn result(&mut self) -> Option<Committed> {
        let result = self.results.try_recv().ok()?;
        self.in_progress = false;
        Some(result)
    }

    /// Waits for the commit in progress, if there is one: a late commit must not overwrite a newer one, or one of the
    /// partition's next owner. After the deadline, the commit is still in progress.
    pub(super) fn wait(&mut self, deadline: Instant) -> Option<Committed> {
        if !self.in_progress {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match self.results.recv_timeout(left) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            result => {
                self.in_progress = false;
                result.ok()
            }
        }
    }

    /// Ends the thread and releases its reference to the client.
    pub(super) fn end(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("the thread that commits offsets panicked");
        }
    }
}
