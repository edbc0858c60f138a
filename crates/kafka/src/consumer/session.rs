//! One session of the ledger consumer's client.

mod commits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Partition, Position};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError as RdError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::committer::Committer;
use super::fingerprints::Fingerprints;
use super::stalls::Stalls;
use super::{ConsumerSettings, Feed, Settlement, output};
use crate::assignment::{Assignment, Fetching, ReadProgress, Unread};
use crate::error::KafkaError;
use crate::error_table::{PollFailure, may_pass, poll_failure};
use crate::fingerprint::Fingerprint;
use crate::group::{self, GroupConsumer, GroupSettings, Rebalance};
use crate::health::{assignment_lost, trouble};
use crate::ledger::{Claim, Completion, LedgerError, Ledgers};
use crate::log_watch::{Latest, LogWatch, Replaced};
use crate::metrics::RebalanceKind;
use crate::partition_list;
use crate::record::{PackedRecord, Record};
use crate::start::{FoundStart, StartRule, commit_new, starts};
use crate::topic::Topics;

/// Maximum time of a single poll; settlements wait no longer than this.
const POLL: Duration = Duration::from_millis(20);

/// How long the brokers may take to respond to a request.
const CALL: Duration = Duration::from_secs(10);

/// How long a stop waits for the last commit, which is deferred while the group has no coordinator.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// If a partition is fetched and has records, but returns none for this long, librdkafka does not read it any more.
const UNREAD_AFTER: Duration = Duration::from_secs(60);

/// Why a session ended.
pub(super) enum End {
    Stopped,
    Rebuild(String),
    /// The partition's log is not the one that was read before.
    Replaced(Replaced),
    Fatal(KafkaError),
}

impl From<KafkaError> for End {
    fn from(error: KafkaError) -> Self {
        if may_pass(&error) { Self::Rebuild(error.to_string()) } else { Self::Fatal(error) }
    }
}

pub(super) struct Session<'s> {
    settings: &'s ConsumerSettings,
    feed: &'s mpsc::UnboundedSender<Feed>,
    settlements: &'s mut mpsc::UnboundedReceiver<Settlement>,
    stop: &'s CancellationToken,
    consumer: Arc<GroupConsumer>,
    assignment: Assignment,
    committer: Committer,
    ledgers: &'s mut Ledgers,
    /// Since when all partitions are paused because the budget is used up.
    paused: Option<Instant>,
    unread: Unread,
    fingerprints: Fingerprints,
    logs: LogWatch,
    /// Partitions whose log the previous session found to be replaced.
    replaced: Latest,
    committed_at: Instant,
    stalls: Stalls,
}

impl<'s> Session<'s> {
    pub(super) fn start(
        settings: &'s ConsumerSettings,
        feed: &'s mpsc::UnboundedSender<Feed>,
        settlements: &'s mut mpsc::UnboundedReceiver<Settlement>,
        ledgers: &'s mut Ledgers,
        replaced: Latest,
        stop: &'s CancellationToken,
    ) -> Result<Self, KafkaError> {
        let group = GroupSettings { group: &settings.group, client_id: None, fetch_bytes: settings.fetch_bytes };
        let consumer = Arc::new(group::consumer(&settings.connection, &group)?);
        consumer.subscribe(&[settings.input.as_str()]).map_err(KafkaError::during("subscribing"))?;
        Ok(Self {
            settings,
            feed,
            settlements,
            stop,
            committer: Committer::start(Arc::clone(&consumer), settings.input.clone()),
            consumer,
            assignment: Assignment::new(&settings.input),
            ledgers,
            paused: None,
            unread: Unread::new(UNREAD_AFTER),
            fingerprints: Fingerprints::default(),
            logs: LogWatch::start(&settings.connection, &settings.input)?,
            replaced,
            committed_at: Instant::now(),
            stalls: Stalls::default(),
        })
    }

    pub(super) fn run(mut self) -> End {
        let end = loop {
            if self.stop.is_cancelled() {
                break self.finish().map_or_else(|end| end, |()| End::Stopped);
            }
            if let Err(end) = self.turn() {
                break end;
            }
        };
        // The records that are still in progress belong to no assignment from here on.
        let partitions: Vec<Partition> = self.ledgers.partitions().collect();
        for &partition in &partitions {
            self.ledgers.revoke(partition);
            self.settings.metrics.forget(partition);
        }
        if !matches!(end, End::Stopped) {
            drop(self.feed.send(Feed::Revoking(partitions)));
        }
        group::stop_following(&self.consumer, &self.settings.input);
        match end {
            // It has been waited for.
            End::Stopped => {}
            End::Fatal(_) => self.wait_for_commit(Some(Instant::now() + LAST_COMMIT)),
            // The next client must not begin before the commit has ended.
            End::Rebuild(_) | End::Replaced(_) => self.wait_for_commit(None),
        }
        if self.committer.is_busy() {
            // Its thread ends with the process.
            tracing::warn!(
                "the brokers did not acknowledge the last commit within {LAST_COMMIT:?}; the records since the commit before it will be read again"
            );
            return end;
        }
        // Dropping the last reference closes the client: here, and not on a thread that no one waits for.
        self.committer.end();
        end
    }

    /// One round: poll, rebalance, settle, pause or resume, commit if due.
    fn turn(&mut self) -> Result<(), End> {
        self.poll(POLL)?;
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(partitions) => self.assign(&partitions)?,
                Rebalance::Revoke { partitions, lost } => self.revoke(&partitions, lost)?,
            }
        }
        self.take_settlements()?;
        self.keep_budget()?;
        if let Some(committed) = self.committer.result() {
            self.note(committed);
        }
        if self.committed_at.elapsed() >= self.settings.commit_interval {
            self.committed_at = Instant::now();
            self.follow_positions();
            if !self.committer.is_busy() {
                let due: Vec<_> = self.ledgers.to_commit().collect();
                if !due.is_empty() {
                    self.committer.order(self.fingerprints.with(due));
                }
            }
            self.settings.health.buffer_full(self.paused);
            self.look_for_stalls()?;
            self.look_for_unread()?;
            self.fingerprints.keep();
            self.logs.processed(self.fingerprints.latest());
            if let Some(replaced) = self.logs.replaced() {
                return Err(End::Replaced(replaced));
            }
            for frontier in self.ledgers.frontiers() {
                self.settings.metrics.processed_to(frontier);
            }
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), End> {
        match self.consumer.poll(timeout) {
            None | Some(Err(RdError::PartitionEOF(_))) => Ok(()),
            Some(Ok(message)) => {
                self.settings.health.group.succeeded();
                let record = Record::new(&message);
                self.fingerprints.polled(record.partition(), Fingerprint::of(&record));
                let record = PackedRecord::from(&record);
                let claim = self.ledgers.charge(record.position, record.size()).map_err(defect)?;
                if let Some(claim) = claim
                    && self.feed.send(Feed::Record(claim, record)).is_err()
                {
                    return Err(End::Stopped);
                }
                Ok(())
            }
            Some(Err(error)) => match poll_failure(&error) {
                Some(PollFailure::Fatal) => Err(End::Rebuild(format!("the consumer failed: {error}"))),
                Some(PollFailure::OutOfRange) => Err(End::Rebuild(format!("the position is out of range: {error}"))),
                Some(PollFailure::NoTopic) => {
                    Err(End::Rebuild(format!("the topic `{}` is gone: {error}", self.settings.input)))
                }
                None => {
                    tracing::debug!(%error, "polling");
                    self.settings.health.group.failed(trouble(&error));
                    Ok(())
                }
            },
        }
    }

    /// librdkafka's position counts transaction markers, which are not records. If nothing is outstanding, the frontier
    /// moves past them, so that the lag of an idle group is 0.
    fn follow_positions(&mut self) {
        let Ok(positions) = self.consumer.position() else { return };
        // The client reads no other topic.
        for position in partition_list::positions_of(&positions) {
            self.ledgers.polled_to(position);
        }
    }

    /// A record that was started and never completed is a defect, and continuing would hide it.
    fn look_for_stalls(&mut self) -> Result<(), End> {
        let frontiers = self.ledgers.frontiers();
        let (excused, limit) = (self.settings.external_wait.is_asked_for(), self.settings.stall_after);
        match self.stalls.look(frontiers, excused, limit, Instant::now()) {
            None => Ok(()),
            Some(stall) => Err(End::Fatal(KafkaError::Stalled {
                topic: self.settings.input.to_string(),
                partition: stall.position.partition,
                offset: stall.position.offset,
                after: stall.after,
            })),
        }
    }

    /// If a partition has records and is fetched, but returns none, librdkafka has lost it.
    fn look_for_unread(&mut self) -> Result<(), End> {
        let progress = self.assignment.partitions().into_iter().filter_map(|partition| {
            let frontier = self.ledgers.frontier(partition)?;
            let is_behind = self.consumer.context().end(partition).is_some_and(|end| frontier < end);
            let is_idle = self.ledgers.outstanding(partition) == 0;
            let is_due = self.assignment.is_fetching(partition) && is_behind && is_idle;
            Some(ReadProgress { position: Position::of(partition, frontier), is_due })
        });
        match self.unread.look(progress, Instant::now()) {
            None => Ok(()),
            Some(partition) => Err(End::Rebuild(format!(
                "partition {partition} of `{}` has records and is not paused, but none were returned for {UNREAD_AFTER:?}",
                self.settings.input
            ))),
        }
    }

    fn take_settlements(&mut self) -> Result<(), End> {
        while let Ok(settlement) = self.settlements.try_recv() {
            self.settle(settlement)?;
        }
        Ok(())
    }

    fn settle(&mut self, settlement: Settlement) -> Result<(), End> {
        type Apply = fn(&mut Ledgers, Claim) -> Result<Completion, LedgerError>;
        let (claims, apply): (_, Apply) = match settlement {
            Settlement::Started(claims) => {
                self.stalls.started(&claims);
                return Ok(());
            }
            Settlement::Deferred(claims) => {
                self.stalls.deferred(&claims);
                return Ok(());
            }
            Settlement::Settled(claims) => (claims, Ledgers::settle),
            Settlement::Released(claims) => (claims, Ledgers::release),
        };
        let mut stale = 0;
        for claim in claims {
            if apply(self.ledgers, claim).map_err(defect)? == Completion::Stale {
                stale += 1;
            }
        }
        if stale > 0 {
            self.settings.metrics.stale_completions(stale);
        }
        Ok(())
    }

    /// Pauses at the budget, resumes at three quarters of it. Polling itself never stops.
    fn keep_budget(&mut self) -> Result<(), End> {
        let outstanding = self.ledgers.outstanding_bytes();
        let budget = self.settings.budget_bytes;
        let all = self.assignment.partitions();
        if self.paused.is_none() && outstanding >= budget {
            self.assignment.pause(&self.consumer, &all)?;
            self.paused = Some(Instant::now());
        } else if self.paused.is_some() && outstanding <= budget / 4 * 3 {
            self.assignment.resume(&self.consumer, &all)?;
            self.paused = None;
        }
        Ok(())
    }

    fn assign(&mut self, partitions: &[Partition]) -> Result<(), End> {
        self.settings.metrics.rebalanced(RebalanceKind::Assigned);
        let found = self.starts(partitions).and_then(|starts| {
            commit_new(&self.consumer, &self.settings.input, &starts, &self.settings.metrics)?;
            Ok(starts)
        });
        let starts = found.inspect_err(|_| {
            // librdkafka cannot close while a rebalance waits for its answer. Nothing is read after this one.
            let list = partition_list::partitions(&self.settings.input, partitions);
            if let Err(error) = self.consumer.incremental_assign(&list) {
                tracing::debug!(%error, "answering a rebalance before giving up");
            }
        })?;
        let positions: Vec<Position> = starts.iter().map(|start| start.position).collect();
        // Otherwise the new partitions would be read at once although the budget is used up.
        let fetching = if self.paused.is_some() { Fetching::Paused } else { Fetching::Running };
        self.assignment.assign(&self.consumer, &positions, fetching)?;
        for &start in &positions {
            self.stalls.assigned(start.partition, self.ledgers.assign(start));
        }
        self.settings.readiness.set_ready();
        self.settings.health.group.succeeded();
        drop(self.feed.send(Feed::Assigned(self.ledgers.partitions().count())));
        tracing::info!(topic = %self.settings.input, ?partitions, "partitions assigned");
        Ok(())
    }

    fn starts(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        let topics = Topics::new(&self.settings.connection)?;
        let Self { settings, consumer, .. } = self;
        let output = |_| match &settings.output {
            Some(output) if output::has_no_offsets(consumer, &topics, &settings.input)? => {
                output.find(&settings.connection, &topics, &settings.input)
            }
            _ => Ok(None),
        };
        let rule = StartRule {
            group: &self.settings.group,
            topic: &self.settings.input,
            connection: &self.settings.connection,
            from_beginning: self.settings.from_beginning,
            replaced: &self.replaced,
            output: &output,
        };
        starts(&self.consumer, &rule, partitions, CALL, Duration::ZERO)
    }

    /// Drains the work on revoked partitions, commits the offsets of their settled records, and releases them.
    fn revoke(&mut self, partitions: &[Partition], lost: bool) -> Result<(), End> {
        self.settings.metrics.rebalanced(if lost { RebalanceKind::Lost } else { RebalanceKind::Revoked });
        drop(self.feed.send(Feed::Revoking(partitions.to_vec())));
        // Another member may already be reading lost partitions, so none of their offsets can be committed.
        if lost {
            self.settings.health.group.failed(assignment_lost());
        } else {
            self.drain(partitions)?;
            self.commit_now(None);
        }
        for &partition in partitions {
            self.ledgers.revoke(partition);
            self.settings.metrics.forget(partition);
            self.fingerprints.forget(partition);
        }
        self.assignment.unassign(&self.consumer, partitions)?;
        drop(self.feed.send(Feed::Assigned(self.ledgers.partitions().count())));
        tracing::info!(topic = %self.settings.input, ?partitions, lost, "partitions revoked");
        Ok(())
    }

    /// Waits until no work on these partitions is in progress, at most for the drain timeout.
    fn drain(&mut self, partitions: &[Partition]) -> Result<(), End> {
        let deadline = Instant::now() + self.settings.drain_timeout;
        while partitions.iter().any(|&partition| self.ledgers.outstanding(partition) > 0) {
            if Instant::now() >= deadline {
                tracing::warn!("work was still in progress at the drain timeout; those records will be read again");
                break;
            }
            match self.settlements.try_recv() {
                Ok(settlement) => self.settle(settlement)?,
                Err(mpsc::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), End> {
        let partitions: Vec<Partition> = self.ledgers.partitions().collect();
        drop(self.feed.send(Feed::Stopping));
        self.take_settlements()?;
        self.drain(&partitions)?;
        self.follow_positions();
        self.commit_now(Some(Instant::now() + LAST_COMMIT));
        Ok(())
    }
}

/// A breach of the ledger's rules is a defect; continuing could commit past an unsettled record.
fn defect(error: LedgerError) -> End {
    End::Rebuild(format!("the offset ledger found a defect, please report it: {error}"))
}
