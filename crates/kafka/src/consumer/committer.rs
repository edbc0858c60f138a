//! Commits offsets on a thread of its own. Only who waits for a commit learns what became of it: librdkafka tells the fate of
//! an asynchronous one to a callback that rdkafka does not set. Polling must not wait, so somebody else does.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use crate::error::KafkaError;
use crate::fingerprint::Fingerprint;
use crate::group::{self, GroupContext};
use crate::topic::TopicName;

/// Offsets by partition, each with the fingerprint of a record before it.
pub(super) type Offsets = Vec<(i32, i64, Option<Fingerprint>)>;

/// What became of a commit, and the offsets that were to be committed.
pub(super) type Committed = (Result<(), KafkaError>, Offsets);

/// Waits until these offsets are committed.
pub(super) fn commit(
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

/// See the module. One commit at a time.
pub(super) struct Committer {
    orders: mpsc::Sender<Offsets>,
    results: mpsc::Receiver<Committed>,
    under_way: bool,
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
        Self { orders, results, under_way: false, thread }
    }

    /// Whether the next order would have to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way
    }

    pub(super) fn order(&mut self, offsets: Offsets) {
        // The thread lives as long as this value.
        self.under_way = self.orders.send(offsets).is_ok();
    }

    /// What became of the last order, once it is known.
    pub(super) fn result(&mut self) -> Option<Committed> {
        let result = self.results.try_recv().ok()?;
        self.under_way = false;
        Some(result)
    }

    /// Waits for what is under way: a late commit must not follow a newer one, or one of the partition's next owner.
    pub(super) fn wait(&mut self) -> Option<Committed> {
        if !std::mem::take(&mut self.under_way) {
            return None;
        }
        self.results.recv().ok()
    }

    /// Ends the thread and gives its hold on the client back.
    pub(super) fn end(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("the thread that commits offsets panicked");
        }
    }
}
