//! Commits offsets on a separate thread. librdkafka reports the result of an asynchronous commit only to a callback
//! that rdkafka does not set, so a caller has to wait for the result. Polling must not wait for it, so this thread
//! does.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use contract::{Partition, Position, TopicName};

use crate::error::KafkaError;
use crate::fingerprint::Fingerprint;
use crate::group::GroupClient;
use crate::partition_list;

/// A position to be committed, with the fingerprint of a record before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) position: Position,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// The result of a commit, and the positions in its request.
pub(super) type Committed = (Result<(), KafkaError>, Vec<Due>);

/// Commits these offsets and waits for the result. The call has no timeout, because librdkafka waits for a coordinator.
fn commit(client: &impl GroupClient, topic: &TopicName, due: &[Due]) -> Result<(), KafkaError> {
    let positions: Vec<Position> = due.iter().map(|due| due.position).collect();
    let list = partition_list::with_metadata(topic, &positions, |partition: Partition| {
        let due = due.iter().find(|due| due.position.partition == partition)?;
        due.fingerprint.map(|fingerprint| fingerprint.to_string())
    })?;
    client.commit(&list).map_err(KafkaError::during("committing offsets"))
}

/// The thread that commits, with at most one commit at a time. The module's documentation gives the reason for it.
pub(super) struct Committer {
    orders: mpsc::Sender<Vec<Due>>,
    results: mpsc::Receiver<Committed>,
    in_progress: bool,
    thread: JoinHandle<()>,
}

impl Committer {
    pub(super) fn start(client: Arc<impl GroupClient>, topic: TopicName) -> Self {
        let (orders, todo) = mpsc::channel::<Vec<Due>>();
        let (done, results) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for due in todo {
                let result = commit(&*client, &topic, &due);
                if done.send((result, due)).is_err() {
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

    pub(super) fn order(&mut self, due: Vec<Due>) {
        // The thread runs as long as this value exists.
        self.in_progress = self.orders.send(due).is_ok();
    }

    /// Returns the result of the last commit, once it is known.
    pub(super) fn result(&mut self) -> Option<Committed> {
        let result = self.results.try_recv().ok()?;
        self.in_progress = false;
        Some(result)
    }

    /// Waits for the commit in progress, if there is one: a late commit must not overwrite a newer one, or one of the
    /// partition's next owner. Returns `None` at the deadline; the commit is then still in progress.
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
