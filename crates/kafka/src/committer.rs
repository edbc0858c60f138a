//! Commits offsets on a separate thread. librdkafka reports the result of an asynchronous commit only to a callback
//! that rdkafka does not set, so a caller has to wait for the result. The wait can take a minute: librdkafka waits for
//! a coordinator, and repeats a request to a broker that does not respond. The thread that polls must not wait that
//! long, because every rebalance of the group waits for that thread.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use crate::error::KafkaError;
use crate::group::GroupClient;

/// Maximum time for which a rebalance or a stop waits for a commit.
pub(crate) const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// Interval at which a wait for a commit checks whether a stop was requested.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// The result of a commit, and the note that the caller passed to [`Committer::order`].
pub(crate) type Committed<T> = (Result<(), KafkaError>, T);

/// The thread that commits, with at most one commit at a time. The module's documentation says why it exists.
pub(crate) struct Committer<T> {
    orders: mpsc::Sender<(TopicPartitionList, T)>,
    results: mpsc::Receiver<Committed<T>>,
    /// Start of the commit in progress.
    begun: Option<Instant>,
    thread: JoinHandle<()>,
}

impl<T: Send + 'static> Committer<T> {
    pub(crate) fn start(client: Arc<impl GroupClient>) -> Self {
        let (orders, todo) = mpsc::channel::<(TopicPartitionList, T)>();
        let (done, results) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for (offsets, note) in todo {
                let result = client.commit(&offsets).map_err(KafkaError::during("committing offsets"));
                if done.send((result, note)).is_err() {
                    break;
                }
            }
        });
        Self { orders, results, begun: None, thread }
    }

    /// Whether a commit is in progress, so that the next one would have to wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.begun.is_some()
    }

    /// Begins a commit. `note` is returned with its result.
    pub(crate) fn order(&mut self, offsets: TopicPartitionList, note: T) {
        // The thread runs as long as this value exists.
        self.begun = self.orders.send((offsets, note)).is_ok().then(Instant::now);
    }

    /// Returns the result of the last commit, once it is known.
    pub(crate) fn result(&mut self) -> Option<Committed<T>> {
        let result = self.results.try_recv().ok()?;
        self.begun = None;
        Some(result)
    }

    /// Waits for the commit in progress, because a late commit must not overwrite a newer commit, or a commit of the
    /// partition's next owner. Returns `None` if no commit is in progress, or if the deadline passes before its end.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Option<Committed<T>> {
        self.begun?;
        let left = deadline.saturating_duration_since(Instant::now());
        match self.results.recv_timeout(left) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            result => {
                self.begun = None;
                result.ok()
            }
        }
    }

    /// Waits for the last commit of a client after [`GroupClient::close`]: the next client must not start before the
    /// commit has ended. Polls the client meanwhile, because the client answers rebalances only while it is polled.
    /// Returns `None` if no commit is in progress, or if a stop is requested and the commit has lasted for
    /// [`COMMIT_WAIT`].
    pub(crate) fn wait_for_last(
        &mut self,
        client: &impl GroupClient,
        stop: &CancellationToken,
    ) -> Option<Committed<T>> {
        while let Some(begun) = self.begun {
            let now = Instant::now();
            if stop.is_cancelled() && now >= begun + COMMIT_WAIT {
                return None;
            }
            if let Some(committed) = self.wait(now + STOP_CHECK) {
                return Some(committed);
            }
            // Drops records that the client still returns: no offset of them is committed, so they are read again.
            drop(client.poll(Duration::ZERO));
        }
        None
    }

    /// Ends the thread and releases its reference to the client.
    pub(crate) fn end(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("the thread that commits offsets panicked");
        }
    }
}

/// The error of a commit that is still in progress after [`COMMIT_WAIT`].
pub(crate) fn timed_out() -> KafkaError {
    KafkaError::during("committing offsets")(RdError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut))
}

#[cfg(test)]
mod tests {
    use contract::{Partition, Position, TopicName};

    use super::*;
    use crate::fake_client::FakeClient;
    use crate::group::Rebalance;
    use crate::partition_list;

    fn busy(client: &Arc<FakeClient>) -> Committer<()> {
        let mut committer = Committer::start(Arc::clone(client));
        client.hold_commits(true);
        let topic: TopicName = "typed".parse().unwrap();
        committer.order(partition_list::positions(&topic, &[Position::new(0, 1)]).unwrap(), ());
        committer
    }

    #[test]
    fn the_wait_for_the_last_commit_of_a_client_polls_that_client() {
        let client = Arc::new(FakeClient::default());
        let mut committer = busy(&client);
        client.rebalance(Rebalance::Revoke { partitions: vec![Partition(0)], lost: false });
        let (polled, stop) = (Arc::clone(&client), CancellationToken::new());
        let group = std::thread::spawn(move || {
            while polled.next_rebalance().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            polled.hold_commits(false);
        });
        assert!(matches!(committer.wait_for_last(&*client, &stop), Some((Ok(()), ()))));
        group.join().unwrap();
    }

    #[test]
    fn a_stop_limits_the_wait_for_the_last_commit_to_five_seconds() {
        let client = Arc::new(FakeClient::default());
        let mut committer = busy(&client);
        let stop = CancellationToken::new();
        stop.cancel();
        let begun = Instant::now();
        assert!(committer.wait_for_last(&*client, &stop).is_none() && committer.is_busy());
        let waited = begun.elapsed();
        client.hold_commits(false);
        assert!(waited >= COMMIT_WAIT && waited < COMMIT_WAIT * 3, "{waited:?}");
    }
}
