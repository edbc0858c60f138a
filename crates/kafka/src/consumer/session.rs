//! One session of the consumer's client, from joining the group until a stop or until the client must be rebuilt.

mod commits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Partition, Position};
use rdkafka::consumer::Consumer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::fingerprints::{Due, Fingerprints};
use super::stalls::Stalls;
use super::starts::{FindStarts, GroupStarts};
use super::{ConsumerSettings, Feed, Settlement};
use crate::assignment::{Fetching, ReadProgress};
use crate::committer::{COMMIT_WAIT, Committer};
use crate::error::KafkaError;
use crate::error_table::may_pass;
use crate::fingerprint::Fingerprint;
use crate::group::{self, GroupClient, GroupConsumer, GroupSettings};
use crate::group_member::{Event, GroupMember};
use crate::ledger::{Claim, Completion, LedgerError, Ledgers};
use crate::log_watch::{Latest, LogWatch, Replaced};
use crate::partition_list;
use crate::record::PackedRecord;

/// Maximum time of a single poll. Settlements are applied between polls, so they wait no longer than this.
const POLL: Duration = Duration::from_millis(20);

/// How long the budget may be used up before all partitions are paused. While a backlog is processed, a record is
/// usually settled within this time. A pause would then cost more than it saves: librdkafka discards fetched records.
const PAUSE_AFTER: Duration = Duration::from_millis(100);

/// How long to wait for a settlement if the budget is used up and nothing is paused yet.
const SETTLEMENT: Duration = Duration::from_millis(1);

/// The reason for the end of a session.
pub(super) enum End {
    Stopped,
    Rebuild(String),
    /// The log of a partition is not the one that was read before.
    Replaced(Replaced),
    Fatal(KafkaError),
}

impl From<KafkaError> for End {
    fn from(error: KafkaError) -> Self {
        if may_pass(&error) { Self::Rebuild(error.to_string()) } else { Self::Fatal(error) }
    }
}

/// The channels and ledgers of a [`super::Consumer`].
pub(super) struct Channels<'s> {
    pub(super) feed: &'s mpsc::UnboundedSender<Feed>,
    pub(super) settlements: &'s mut mpsc::UnboundedReceiver<Settlement>,
    pub(super) ledgers: &'s mut Ledgers,
}

/// Whether records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    /// The budget has room.
    Open,
    /// The budget has been used up since this time. The client is not polled, so rebalances wait as well.
    Full(Instant),
    /// The budget has been used up since this time, and all partitions are paused, so polling returns no record.
    Paused(Instant),
}

pub(super) struct Session<'s, C> {
    settings: &'s ConsumerSettings,
    channels: Channels<'s>,
    stop: &'s CancellationToken,
    member: GroupMember<C>,
    starts: Box<dyn FindStarts + 's>,
    committer: Committer<Vec<Due>>,
    intake: Intake,
    fingerprints: Fingerprints,
    logs: LogWatch,
    committed_at: Instant,
    stalls: Stalls,
}

impl<'s> Session<'s, GroupConsumer> {
    /// Joins the group. `replaced` contains the partitions whose log the previous session found to be replaced.
    pub(super) fn start(
        settings: &'s ConsumerSettings,
        channels: Channels<'s>,
        replaced: Latest,
        stop: &'s CancellationToken,
    ) -> Result<Self, KafkaError> {
        let group = GroupSettings { group: &settings.group, client_id: None, fetch_bytes: settings.fetch_bytes };
        let consumer = Arc::new(group::consumer(&settings.connection, &group)?);
        consumer.subscribe(&[settings.input.as_str()]).map_err(KafkaError::during("subscribing"))?;
        let starts = Box::new(GroupStarts { settings, consumer: Arc::clone(&consumer), replaced });
        let logs = LogWatch::start(&settings.connection, &settings.input)?;
        Ok(Self::with(settings, channels, consumer, starts, logs, stop))
    }
}

impl<'s, C: GroupClient> Session<'s, C> {
    fn with(
        settings: &'s ConsumerSettings,
        channels: Channels<'s>,
        client: Arc<C>,
        starts: Box<dyn FindStarts + 's>,
        logs: LogWatch,
        stop: &'s CancellationToken,
    ) -> Self {
        Self {
            settings,
            channels,
            stop,
            committer: Committer::start(Arc::clone(&client)),
            member: GroupMember::new(client, &settings.input, &settings.metrics, &settings.health),
            starts,
            intake: Intake::Open,
            fingerprints: Fingerprints::default(),
            logs,
            committed_at: Instant::now(),
            stalls: Stalls::default(),
        }
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
        // Records that are still in progress no longer belong to an assignment.
        let partitions: Vec<Partition> = self.channels.ledgers.partitions().collect();
        for &partition in &partitions {
            self.channels.ledgers.revoke(partition);
            self.settings.metrics.forget(partition);
        }
        if !matches!(end, End::Stopped) {
            drop(self.channels.feed.send(Feed::Revoking(partitions)));
        }
        self.member.close();
        let committed = match end {
            // `finish` has already waited for the commit.
            End::Stopped => None,
            End::Fatal(_) => self.committer.wait(Instant::now() + COMMIT_WAIT),
            End::Rebuild(_) | End::Replaced(_) => self.committer.wait_for_last(&**self.member.client(), self.stop),
        };
        if let Some(committed) = committed {
            self.note(committed);
        }
        if self.committer.is_busy() {
            // The committer's thread ends with the process.
            tracing::warn!(
                "the brokers did not acknowledge the last commit within {COMMIT_WAIT:?}; the records since the commit before it will be read again"
            );
            return end;
        }
        // The committer ends first, so that this thread drops the last reference to the client and so closes it.
        self.committer.end();
        end
    }

    /// Runs one round: polls, handles a rebalance, settles, pauses or resumes, and commits if due.
    fn turn(&mut self) -> Result<(), End> {
        match self.intake {
            Intake::Full(_) => std::thread::sleep(SETTLEMENT),
            Intake::Open | Intake::Paused(_) => self.poll()?,
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
                // If the group is empty, the brokers accept a commit of a member that has lost its partitions. Such a
                // commit could set the group's offsets back.
                if !self.member.is_lost() {
                    self.order_due()?;
                }
            }
            self.settings.health.buffer_full(match self.intake {
                Intake::Open | Intake::Full(_) => None,
                Intake::Paused(since) => Some(since),
            });
            self.look_for_stalls()?;
            self.look_for_unread()?;
            self.fingerprints.keep();
            self.logs.processed(self.fingerprints.latest());
            if let Some(replaced) = self.logs.replaced() {
                return Err(End::Replaced(replaced));
            }
            for frontier in self.channels.ledgers.frontiers() {
                self.settings.metrics.processed_to(frontier);
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), End> {
        match self.member.poll(POLL) {
            Event::Record(polled) => {
                let record = polled.record();
                self.fingerprints.polled(record.partition(), Fingerprint::of(&record));
                let record = PackedRecord::from(&record);
                self.hand_on(record)
            }
            Event::Assigned(partitions) => self.assign(&partitions),
            Event::Revoked { partitions, lost } => self.revoke(&partitions, lost),
            Event::Gone(reason) => Err(End::Rebuild(reason)),
            Event::Idle => Ok(()),
        }
    }

    /// Adds a record to the ledger, and passes it on if its partition is assigned.
    fn hand_on(&mut self, record: PackedRecord) -> Result<(), End> {
        let claim = self.channels.ledgers.charge(record.position, record.size()).map_err(defect)?;
        if let Some(claim) = claim
            && self.channels.feed.send(Feed::Record(claim, record)).is_err()
        {
            return Err(End::Stopped);
        }
        Ok(())
    }

    /// Moves the frontiers of partitions without outstanding records to librdkafka's positions. A position is also past
    /// transaction markers, which are not records, so the lag of an idle group is 0.
    fn follow_positions(&mut self) {
        let Ok(positions) = self.member.client().position() else { return };
        // The client reads no other topic.
        for position in partition_list::positions_of(&positions) {
            self.channels.ledgers.polled_to(position);
        }
    }

    /// Ends the session if a record was started and never completed. This is a defect, and continuing would hide it.
    fn look_for_stalls(&mut self) -> Result<(), End> {
        let frontiers = self.channels.ledgers.frontiers();
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

    /// Requests a new client if librdkafka has stopped reading a partition: the partition has records and is not
    /// paused, but polling returns none of them.
    fn look_for_unread(&mut self) -> Result<(), End> {
        let ledgers = &*self.channels.ledgers;
        let unread = self.member.look_for_unread(Instant::now(), |partition| {
            let position = Position::of(partition, ledgers.frontier(partition)?);
            Some(ReadProgress { position, is_due: ledgers.outstanding(partition) == 0 })
        });
        unread.map_or(Ok(()), |reason| Err(End::Rebuild(reason)))
    }

    fn take_settlements(&mut self) -> Result<(), End> {
        while let Ok(settlement) = self.channels.settlements.try_recv() {
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
            if apply(self.channels.ledgers, claim).map_err(defect)? == Completion::Stale {
                stale += 1;
            }
        }
        if stale > 0 {
            self.settings.metrics.stale_completions(stale);
        }
        Ok(())
    }

    /// Reads nothing while the budget is used up. After [`PAUSE_AFTER`], pauses all partitions until a quarter of the
    /// budget is free. During the pause, polling continues, so that rebalances are handled.
    fn keep_budget(&mut self) -> Result<(), End> {
        let outstanding = self.channels.ledgers.outstanding_bytes();
        let budget = self.settings.budget_bytes;
        self.intake = match self.intake {
            Intake::Open | Intake::Full(_) if outstanding < budget => Intake::Open,
            Intake::Open => Intake::Full(Instant::now()),
            Intake::Full(since) if since.elapsed() >= PAUSE_AFTER => {
                self.member.pause_all()?;
                Intake::Paused(since)
            }
            Intake::Paused(_) if outstanding <= budget / 4 * 3 => {
                let next: Vec<Position> = self.channels.ledgers.next_to_read().collect();
                self.member.resume(&next)?;
                Intake::Open
            }
            same @ (Intake::Full(_) | Intake::Paused(_)) => same,
        };
        Ok(())
    }

    fn assign(&mut self, partitions: &[Partition]) -> Result<(), End> {
        let found = self.starts.find(partitions).and_then(|starts| {
            self.commit_starts(&starts)?;
            Ok(starts)
        });
        // After an error, nothing is read. The rebalance is answered so that librdkafka can close.
        let starts = found.inspect_err(|_| {
            self.member.add_before_the_end(partitions, "answering a rebalance before giving up");
        })?;
        let positions: Vec<Position> = starts.iter().map(|start| start.position).collect();
        // During a pause, new partitions are paused as well: their records would exceed the budget.
        let fetching = match self.intake {
            Intake::Open | Intake::Full(_) => Fetching::Running,
            Intake::Paused(_) => Fetching::Paused,
        };
        self.member.add(&positions, fetching)?;
        for &start in &positions {
            self.stalls.assigned(start.partition, self.channels.ledgers.assign(start));
        }
        self.settings.readiness.set_ready();
        self.settings.health.group.succeeded();
        drop(self.channels.feed.send(Feed::Assigned(self.channels.ledgers.partitions().count())));
        tracing::info!(topic = %self.settings.input, ?partitions, "partitions assigned");
        Ok(())
    }

    /// Drains the work on revoked partitions, commits their frontiers unless they are lost, and gives them back.
    fn revoke(&mut self, partitions: &[Partition], lost: bool) -> Result<(), End> {
        drop(self.channels.feed.send(Feed::Revoking(partitions.to_vec())));
        // Another member may already be reading lost partitions, so none of their offsets can be committed.
        let is_committed = if lost {
            true
        } else {
            self.drain(partitions)?;
            self.commit_now()?
        };
        for &partition in partitions {
            self.channels.ledgers.revoke(partition);
            self.settings.metrics.forget(partition);
            self.fingerprints.forget(partition);
        }
        self.member.remove(partitions)?;
        drop(self.channels.feed.send(Feed::Assigned(self.channels.ledgers.partitions().count())));
        tracing::info!(topic = %self.settings.input, ?partitions, lost, "partitions revoked");
        if !is_committed {
            // This client could still send the commit after the partitions' next owner has committed newer offsets.
            return Err(End::Rebuild(format!(
                "the brokers did not acknowledge the last commit before a revoke within {COMMIT_WAIT:?}"
            )));
        }
        Ok(())
    }

    /// Waits until no work on these partitions is in progress, at most for the drain timeout.
    fn drain(&mut self, partitions: &[Partition]) -> Result<(), End> {
        let deadline = Instant::now() + self.settings.drain_timeout;
        while partitions.iter().any(|&partition| self.channels.ledgers.outstanding(partition) > 0) {
            if Instant::now() >= deadline {
                tracing::warn!("work was still in progress at the drain timeout; those records will be read again");
                break;
            }
            match self.channels.settlements.try_recv() {
                Ok(settlement) => self.settle(settlement)?,
                Err(mpsc::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), End> {
        let partitions: Vec<Partition> = self.channels.ledgers.partitions().collect();
        drop(self.channels.feed.send(Feed::Stopping));
        self.take_settlements()?;
        self.drain(&partitions)?;
        self.follow_positions();
        self.commit_now().map(drop)
    }
}

/// Returns how a breach of the ledger's rules ends the session. The breach is a defect; continuing could commit past an
/// unsettled record.
fn defect(error: LedgerError) -> End {
    End::Rebuild(format!("the offset ledger found a defect, please report it: {error}"))
}

#[cfg(test)]
mod tests;
