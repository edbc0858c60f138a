//! Commits offsets, and handles the results.

use std::time::Instant;

use contract::{Partition, Position};

use super::super::fingerprints::Due;
use super::{End, Session};
use crate::committer::{COMMIT_WAIT, Committed, timed_out};
use crate::error::KafkaError;
use crate::group::GroupClient;
use crate::health::kafka_trouble;
use crate::partition_list;
use crate::start::{FoundStart, new_offsets, report_losses};

impl<C: GroupClient> Session<'_, C> {
    /// Begins to commit the offsets that are due. No commit may be in progress.
    pub(super) fn order_due(&mut self) -> Result<(), End> {
        let positions: Vec<Position> = self.channels.ledgers.to_commit().collect();
        if positions.is_empty() {
            return Ok(());
        }
        let due = self.fingerprints.with(positions.clone());
        let list = partition_list::with_metadata(&self.settings.input, &positions, |partition: Partition| {
            let due = due.iter().find(|due| due.position.partition == partition)?;
            due.fingerprint.map(|fingerprint| fingerprint.to_string())
        })?;
        self.committer.order(list, due);
        Ok(())
    }

    /// Commits the due offsets and waits for the result, at most for [`COMMIT_WAIT`]. Returns `false` if a commit is
    /// still in progress then.
    pub(super) fn commit_now(&mut self) -> Result<bool, End> {
        let deadline = Instant::now() + COMMIT_WAIT;
        self.wait_for_commit(deadline);
        if self.committer.is_busy() {
            return Ok(false);
        }
        self.order_due()?;
        self.wait_for_commit(deadline);
        Ok(!self.committer.is_busy())
    }

    /// Commits the starting offsets that are new, and waits for the result, at most for [`COMMIT_WAIT`].
    pub(super) fn commit_starts(&mut self, starts: &[FoundStart]) -> Result<(), KafkaError> {
        let Some(list) = new_offsets(&self.settings.input, starts)? else { return Ok(()) };
        let deadline = Instant::now() + COMMIT_WAIT;
        self.wait_for_commit(deadline);
        if self.committer.is_busy() {
            return Err(timed_out());
        }
        self.committer.order(list, Vec::new());
        let committed = self.committer.wait(deadline).map_or_else(|| Err(timed_out()), |(result, _)| result);
        report_losses(committed.as_ref().copied(), &self.settings.input, starts, &self.settings.metrics);
        committed
    }

    fn wait_for_commit(&mut self, deadline: Instant) {
        if let Some(committed) = self.committer.wait(deadline) {
            self.note(committed);
        }
    }

    /// Handles the result of a commit. If the commit failed, the offsets stay due for the next commit interval.
    pub(super) fn note(&mut self, (result, committed): Committed<Vec<Due>>) {
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
