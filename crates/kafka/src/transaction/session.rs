//! One session of a worker's consumer and producer: from joining the group until a stop, or until they must be rebuilt.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Partition, Position};
use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;

use super::end::{End, rebuild};
use super::machine::{Breakage, Limits, Machine, Outcome, Progress, Step};
use super::output_log::RestoreContext;
use super::oversized::Oversized;
use super::process::{Processed, clients, note_latest, process};
use super::processor::{Disposition, Processor};
use super::producer::{TooLarge, TransactionalProducer};
use super::restore::Restores;
use super::settings::WorkerSettings;
use crate::assignment::ReadProgress;
use crate::committer::{COMMIT_WAIT, Committed, Committer, timed_out};
use crate::error::KafkaError;
use crate::group::{self, GroupClient, GroupConsumer, GroupSettings};
use crate::group_member::{Event, GroupMember};
use crate::log_watch::{Latest, LogWatch};
use crate::start::{FoundStart, report_losses};

/// Maximum time of a single poll. The session checks for a stop between polls.
const POLL: Duration = Duration::from_millis(100);

/// Interval at which the brokers check for transactions that have timed out
/// (`transaction.abort.timed.out.transaction.cleanup.interval.ms`, by default), plus a margin.
const CLEAN_UP: Duration = Duration::from_secs(15);

/// Number of aborts in a row, without a commit between them, after which new clients are built.
const ABORTS_IN_A_ROW: u32 = 10;

/// From the second abort in a row on, the worker pauses for this time multiplied by the number of aborts in a row.
const ABORT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Session<'s, P: Processor, C> {
    pub(super) settings: &'s WorkerSettings,
    pub(super) processor: &'s mut P,
    stop: &'s CancellationToken,
    pub(super) producer: TransactionalProducer,
    pub(super) member: GroupMember<C>,
    pub(super) machine: Machine,
    pub(super) restore_context: RestoreContext,
    pub(super) restores: Restores<P::State>,
    /// Partitions that the group has assigned, but that are not added to the consumer yet. The session answers the
    /// rebalance without them: until the answer, librdkafka would return no records of the other partitions either.
    pub(super) awaited: BTreeSet<Partition>,
    /// Starts of awaited partitions that are known but not committed yet.
    pub(super) found: Vec<FoundStart>,
    /// Commits the starts in `found`.
    pub(super) committer: Committer<Vec<FoundStart>>,
    /// The result of a commit of starts for which a revoke has waited.
    pub(super) committed_starts: Option<Committed<Vec<FoundStart>>>,
    /// Earliest time of the next attempt to commit the starts in `found`.
    pub(super) next_commit: Instant,
    /// Whether this session has committed a transaction.
    committed: bool,
    /// Fingerprint of the last accepted record of each partition.
    latest: Latest,
    logs: LogWatch,
    /// Whether the processor has requested to hold before a record, so that nothing is read any more.
    pub(super) held: bool,
    aborts: u32,
    /// Positions of the records processed in the open transaction; the index is the record's number.
    inputs: Vec<Position>,
    oversized: Oversized,
    lag_shown: Instant,
}

impl<'s, P: Processor> Session<'s, P, GroupConsumer> {
    /// Registers the transactional id, which aborts the open transaction of a dead predecessor, and joins the group.
    pub(super) fn start(
        settings: &'s WorkerSettings,
        processor: &'s mut P,
        replaced: Latest,
        stop: &'s CancellationToken,
    ) -> Result<Self, End> {
        let producer = TransactionalProducer::new(
            &settings.connection,
            &settings.transactional_id,
            settings.transaction_timeout,
            Some(&settings.health),
        )
        .map_err(End::Fatal)?;
        loop {
            match producer.init(Duration::from_secs(5)) {
                Outcome::Done => break,
                _ if stop.is_cancelled() => return Err(End::Stopped),
                // The producer has already reported this to the health check.
                Outcome::Retry => {}
                Outcome::Abort(reason) | Outcome::Broken(reason) | Outcome::Evicted(reason) => {
                    return Err(End::Rebuild(reason));
                }
            }
        }
        let client_id = settings.member_client_id();
        let group = GroupSettings {
            group: &settings.group,
            client_id: client_id.as_deref(),
            fetch_bytes: settings.fetch_bytes,
        };
        let consumer = group::consumer(&settings.connection, &group).map_err(End::Fatal)?;
        consumer
            .subscribe(&[settings.input.as_str()])
            .map_err(|error| End::Fatal(KafkaError::during("subscribing")(error)))?;
        let logs = LogWatch::start(&settings.connection, &settings.input).map_err(End::Fatal)?;
        Ok(Self::with(settings, processor, replaced, producer, consumer, logs, stop))
    }
}

impl<'s, P: Processor, C: GroupClient> Session<'s, P, C> {
    fn with(
        settings: &'s WorkerSettings,
        processor: &'s mut P,
        replaced: Latest,
        producer: TransactionalProducer,
        client: C,
        logs: LogWatch,
        stop: &'s CancellationToken,
    ) -> Self {
        let client = Arc::new(client);
        let limits = Limits {
            interval: settings.commit_interval,
            records: settings.max_records,
            timeout: settings.transaction_timeout,
            revoke: COMMIT_WAIT,
        };
        let restore_context = RestoreContext {
            connection: settings.connection.clone(),
            group: settings.group.clone(),
            input: settings.input.clone(),
            output: settings.output.clone(),
            from_beginning: settings.from_beginning,
            replaced,
            pending: settings.transaction_timeout + CLEAN_UP,
        };
        Self {
            settings,
            processor,
            stop,
            producer,
            committer: Committer::start(Arc::clone(&client)),
            committed_starts: None,
            member: GroupMember::new(client, &settings.input, &settings.metrics, &settings.health),
            machine: Machine::new(limits),
            restore_context,
            restores: Restores::new(settings.lookback),
            awaited: BTreeSet::new(),
            found: Vec::new(),
            next_commit: Instant::now(),
            committed: false,
            latest: Latest::new(),
            logs,
            held: false,
            aborts: 0,
            inputs: Vec::new(),
            oversized: Oversized::default(),
            lag_shown: Instant::now(),
        }
    }

    /// Runs until the session ends. Returns why it ended, and whether it has committed a transaction.
    pub(super) fn run(mut self) -> (End, bool) {
        let end = loop {
            if self.stop.is_cancelled() {
                self.machine.finish(Instant::now());
            }
            let step = self.machine.step(Instant::now());
            // A broken machine does not know how its last transaction ended.
            if self.stop.is_cancelled() && !self.machine.is_open() && !matches!(step, Step::Rebuild(_)) {
                break End::Stopped;
            }
            if let Some(replaced) = self.logs.replaced() {
                break End::Replaced(replaced);
            }
            match step {
                Step::Poll(due) => {
                    if let Err(end) = self.poll(due.map_or(POLL, |due| due.min(POLL))) {
                        break end;
                    }
                }
                Step::Advance => self.advance(),
                Step::Rebuild(Breakage { reason, evicted: true }) => break End::Evicted(reason),
                Step::Rebuild(Breakage { reason, .. }) if self.producer.is_fenced() => break End::Fenced(reason),
                Step::Rebuild(Breakage { reason, .. }) => break End::Rebuild(reason),
            }
            self.show_lag();
        };
        // With broken clients, the machine does not show that a transaction was open. So the records count as aborted
        // unless the session was stopped.
        if !matches!(end, End::Stopped) {
            self.processor.aborted();
        }
        for partition in self.machine.partitions() {
            self.settings.metrics.forget(partition);
            self.processor.release(partition);
        }
        self.add_awaited();
        self.member.close();
        self.report_last_starts();
        if self.committer.is_busy() {
            // The committer's thread closes the client, or ends with the process.
            tracing::warn!("the brokers did not acknowledge the commit of first offsets within {COMMIT_WAIT:?}");
        } else {
            // The committer ends first, so that this thread drops the last reference to the client and so closes it.
            self.committer.end();
        }
        (end, self.committed)
    }

    /// Waits for the commit of starting offsets, if one is in progress, and reports the records that were lost before
    /// them: the commit may be stored, and then no other member would find the loss again.
    fn report_last_starts(&mut self) {
        let last = self.committed_starts.take().or_else(|| self.committer.result());
        let last = last.or_else(|| self.committer.wait_for_last(&**self.member.client(), self.stop));
        let (input, metrics) = (&self.settings.input, &self.settings.metrics);
        match last {
            Some((committed, starts)) => report_losses(committed.as_ref().copied(), input, &starts, metrics),
            None if self.committer.is_busy() => report_losses(Err(&timed_out()), input, &self.found, metrics),
            None => {}
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), End> {
        match self.member.poll(timeout) {
            Event::Record(polled) => {
                let record = polled.record();
                let position = record.position();
                if !self.machine.is_open() {
                    self.inputs.clear();
                }
                let mut clients = clients(&self.producer, &**self.member.client(), &self.latest, self.settings);
                // If the partition is paused, the record is dropped: librdkafka returns it again after the resume.
                if self.member.is_fetching(position.partition)
                    && self.machine.accept(position, Instant::now(), &mut clients)
                {
                    note_latest(&mut self.latest, &record);
                    let processed = process(&self.producer, self.processor, &self.oversized, &mut self.inputs, &record);
                    self.apply(processed, position.partition)?;
                }
            }
            Event::Assigned(partitions) => self.assign(partitions)?,
            Event::Revoked { partitions, lost } => self.revoke(&partitions, lost),
            Event::Gone(reason) => self.machine.break_with(reason),
            Event::Idle => {}
        }
        self.restored()
    }

    /// Applies the processor's decision about the record that was accepted last.
    fn apply(&mut self, processed: Processed, partition: Partition) -> Result<(), End> {
        let Processed { failure, disposition } = processed;
        if let Some(reason) = failure {
            self.machine.output_failed(reason);
        }
        match disposition {
            Disposition::Done => Ok(()),
            Disposition::Stop(reason) => Err(End::Fatal(KafkaError::GivenUp(reason))),
            Disposition::Hold(reason) => {
                self.machine.put_back();
                self.hold(&reason)
            }
            Disposition::Defer(_) if self.machine.defer() => Ok(()),
            Disposition::Defer(reason) => {
                self.machine.put_back();
                self.hold_partition(partition, &reason)
            }
        }
    }

    /// Notes the records whose outputs were refused because of their size. Returns whether this was progress.
    fn note_refusals(&mut self) -> bool {
        let mut news = false;
        for TooLarge { topic, input, bytes } in self.producer.take_failures().too_large {
            let Some(&position) = self.inputs.get(input) else { continue };
            let alone = self.oversized.is_suspected(position);
            if alone {
                let (partition, offset) = (position.partition.0, position.offset.0);
                tracing::warn!(
                    input = %self.settings.input, partition, offset, topic, bytes,
                    "the topic refuses the output of this record because of its size; raise its max.message.bytes"
                );
            }
            news |= self.oversized.refused(position, &topic, alone);
        }
        news
    }

    /// Stops reading until a restart, because a person must decide how to continue.
    fn hold(&mut self, reason: &str) -> Result<(), End> {
        tracing::error!(reason, "holding: no more records are read, no record is lost");
        self.held = true;
        self.member.pause_all().map_err(rebuild)
    }

    /// Stops reading one partition, while the others continue.
    fn hold_partition(&mut self, partition: Partition, reason: &str) -> Result<(), End> {
        tracing::error!(
            reason,
            partition = partition.0,
            "holding this partition: too many of its records are deferred, so no more of it is read; no record is lost"
        );
        self.member.pause(&[partition]).map_err(rebuild)
    }

    pub(super) fn advance(&mut self) {
        let mut clients = clients(&self.producer, &**self.member.client(), &self.latest, self.settings);
        match self.machine.advance(Instant::now(), &mut clients) {
            Progress::None => {}
            Progress::Committed { took } => {
                self.aborts = 0;
                self.committed = true;
                for partition in self.machine.partitions() {
                    if let Some(read) = self.machine.read(partition) {
                        self.oversized.committed(partition, read);
                    }
                }
                self.processor.committed(took);
            }
            Progress::Aborted(reason) => {
                // An abort that shows which record is too large is progress.
                self.aborts = if self.note_refusals() { 0 } else { self.aborts + 1 };
                tracing::warn!(reason, "a transaction was aborted; its records will be read again");
                self.processor.aborted();
                if self.aborts >= ABORTS_IN_A_ROW {
                    self.machine.break_with(format!("{ABORTS_IN_A_ROW} transactions in a row were aborted: {reason}"));
                } else if self.aborts > 1 {
                    // The cause of the last failure may be temporary, so the worker pauses. The pause is short, because
                    // a rebalance has to wait for its end.
                    std::thread::sleep(ABORT_PAUSE * self.aborts);
                }
            }
        }
    }

    /// Commits the open transaction (aborts it at the deadline or if partitions are lost), and releases the partitions.
    fn revoke(&mut self, partitions: &[Partition], lost: bool) {
        self.machine.begin_revoke(lost, Instant::now());
        while self.machine.is_open() {
            self.advance();
        }
        let gone: BTreeSet<Partition> = partitions.iter().copied().collect();
        self.machine.remove(&gone);
        // A late commit of starting offsets must not overwrite a commit of the partitions' next owner.
        if let Some(committed) = self.committer.wait(Instant::now() + COMMIT_WAIT) {
            self.committed_starts = Some(committed);
        }
        if self.committer.is_busy() {
            self.machine.break_with(format!(
                "the brokers did not acknowledge the commit of first offsets before a revoke within {COMMIT_WAIT:?}"
            ));
        }
        for &partition in partitions {
            self.settings.metrics.forget(partition);
            self.awaited.remove(&partition);
            self.found.retain(|start| start.position.partition != partition);
            self.restores.forget(partition);
            self.oversized.forget(partition);
            self.latest.remove(&partition);
            self.processor.release(partition);
        }
        if let Err(error) = self.member.remove(partitions) {
            self.machine.break_with(error.to_string());
        }
        tracing::info!(topic = %self.settings.input, ?partitions, lost, "partitions revoked");
    }

    fn show_lag(&mut self) {
        if self.lag_shown.elapsed() >= Duration::from_secs(1) {
            self.lag_shown = Instant::now();
            self.look_for_unread();
            for partition in self.machine.partitions() {
                self.processor.show_deferred(partition, self.machine.deferred(partition));
            }
            self.logs.processed(&self.latest);
            let committed = |partition| Some(Position::of(partition, self.machine.committed(partition)?));
            for committed in self.machine.partitions().filter_map(committed) {
                self.settings.metrics.processed_to(committed);
            }
        }
    }

    /// Requests new clients if librdkafka has stopped reading a partition: the partition has records and is not
    /// paused, but polling returns none of them.
    fn look_for_unread(&mut self) {
        let (machine, now) = (&self.machine, Instant::now());
        let is_due = matches!(machine.step(now), Step::Poll(_));
        let unread = self.member.look_for_unread(now, |partition| {
            let position = Position::of(partition, machine.read(partition)?);
            Some(ReadProgress { position, is_due })
        });
        if let Some(reason) = unread {
            self.machine.break_with(reason);
        }
    }
}

#[cfg(test)]
mod tests;
