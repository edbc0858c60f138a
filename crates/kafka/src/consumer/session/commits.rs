//! Waits for commits of offsets, and handles their results.

use std::time::{Duration, Instant};

use super::super::committer::Committed;
use super::{LAST_COMMIT, Session};
use crate::group::GroupClient;
use crate::health::kafka_trouble;

/// Interval at which a wait for a commit checks whether a stop was requested.
const STOP_CHECK: Duration = Duration::from_millis(100);

impl<C: GroupClient> Session<'_, C> {
    /// Commits the due offsets and waits for the result, at most until the deadline if there is one. After the
    /// deadline, the commit is still in progress.
    pub(super) fn commit_now(&mut self, deadline: Option<Instant>) {
        self.wait_for_commit(deadline);
        if self.committer.is_busy() {
            return;
        }
        let due: Vec<_> = self.channels.ledgers.to_commit().collect();
        if !due.is_empty() {
            self.committer.order(self.fingerprints.with(due));
            self.wait_for_commit(deadline);
        }
    }

    /// Waits for the commit in progress: until the deadline if there is one, and at most [`LAST_COMMIT`] once a stop
    /// was requested.
    pub(super) fn wait_for_commit(&mut self, mut deadline: Option<Instant>) {
        while self.committer.is_busy() {
            let now = Instant::now();
            if deadline.is_none() && self.stop.is_cancelled() {
                deadline = Some(now + LAST_COMMIT);
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            let slice = now + STOP_CHECK;
            if let Some(committed) = self.committer.wait(deadline.map_or(slice, |deadline| deadline.min(slice))) {
                self.note(committed);
            }
        }
    }

    /// Handles the result of a commit. If it failed, the offsets stay due and are committed with the next interval.
    pub(super) fn note(&mut self, (result, committed): Committed) {
        match result {
            Ok(()) => {
                self.settings.health.group.succeeded();
                for due in committed {
                    self.channels.ledgers.committed(due.position);
                }
            }
            Err(error) => {
                self.settings.metrics.commit_failed();
                self.settings.health.group.failed(kafka_trouble(&error));
            }
        }
    }
}
