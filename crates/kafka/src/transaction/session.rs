//! One life of a worker's consumer and producer: from joining the group until a stop or until they are of no more use.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use super::machine::{Limits, Machine, Outcome, Progress, Step};
use super::oversized::Oversized;
use super::producer::{Clients, Outbox, Processed, TooLarge, TransactionalProducer};
use super::takeover::{Candidate, Takeovers};
use super::worker::{Processor, WorkerSettings};
use crate::error::KafkaError;
use crate::group::{self, GroupContext, GroupSettings, Rebalance};
use crate::metrics::RebalanceKind;
use crate::record::Record;
use crate::start::{StartRule, starts};
use crate::topic::check_counterparts;

/// The longest a single poll blocks, so that a stop is noticed.
const POLL: Duration = Duration::from_millis(100);

/// How long the brokers have to say where a partition starts.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the brokers look for transactions that are over their time (`transaction.abort.timed.out.transaction.cleanup.interval.ms`,
/// by default), and a little more.
const CLEAN_UP: Duration = Duration::from_secs(15);

/// Aborts in a row, without a commit between them, after which new clients are tried.
const ABORTS_IN_A_ROW: u32 = 10;

/// Waited after the second abort in a row, and as much longer after each further one.
const ABORT_PAUSE: Duration = Duration::from_millis(100);

/// How long the group's coordinator may take to tell a member that another process has its name: a heartbeat, and the time
/// the other one needs to join.
const FENCING_VERDICT: Duration = Duration::from_secs(10);

/// Why a session ended.
pub(super) enum End {
    /// The stop was asked for, and nothing is left open.
    Stopped,
    /// The clients are of no more use; new ones may do better.
    Rebuild(String),
    /// Nothing that new clients would mend.
    Fatal(KafkaError),
}

pub(super) struct Session<'s, P: Processor> {
    settings: &'s WorkerSettings,
    processor: &'s mut P,
    stop: &'s CancellationToken,
    producer: TransactionalProducer,
    consumer: BaseConsumer<GroupContext>,
    machine: Machine,
    takeovers: Takeovers<P::Memory>,
    /// The processor has asked to stop before a record: nothing is read any more.
    held: bool,
    aborts: u32,
    /// The records processed in the open transaction, by their number: partition and offset.
    inputs: Vec<(i32, i64)>,
    oversized: Oversized,
    lag_shown: Instant,
}

impl<'s, P: Processor> Session<'s, P> {
    /// Registers the transactional id, which ends what a dead predecessor left open, and joins the group.
    pub(super) fn start(
        settings: &'s WorkerSettings,
        processor: &'s mut P,
        stop: &'s CancellationToken,
    ) -> Result<Self, End> {
        let producer =
            TransactionalProducer::new(&settings.connection, &settings.transactional_id, settings.transaction_timeout)
                .map_err(End::Fatal)?;
        let mut told = false;
        loop {
            match producer.init(Duration::from_secs(5)) {
                Outcome::Done => break,
                _ if stop.is_cancelled() => return Err(End::Stopped),
                Outcome::Retry => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the brokers do not answer yet; waiting for the transaction coordinator");
                    }
                }
                Outcome::Abort(reason) | Outcome::Broken(reason) => return Err(End::Rebuild(reason)),
            }
        }
        let group = GroupSettings {
            group: &settings.group,
            instance: settings.group_instance.as_deref(),
            fetch_bytes: settings.fetch_bytes,
        };
        let consumer = group::consumer(&settings.connection, &group).map_err(End::Fatal)?;
        consumer
            .subscribe(&[settings.input.as_str()])
            .map_err(|error| End::Fatal(KafkaError::during("subscribing")(error)))?;
        let limits = Limits {
            interval: settings.commit_interval,
            records: settings.max_records,
            timeout: settings.transaction_timeout,
            revoke: Duration::from_secs(5),
        };
        let machine = Machine::new(limits);
        let takeovers = Takeovers::new(&settings.connection, &settings.input, &settings.output, settings.reach);
        let lag_shown = Instant::now();
        Ok(Self {
            settings,
            processor,
            stop,
            producer,
            consumer,
            machine,
            takeovers,
            held: false,
            aborts: 0,
            inputs: Vec::new(),
            oversized: Oversized::default(),
            lag_shown,
        })
    }

    /// Works until the end.
    pub(super) fn run(mut self) -> End {
        let end = loop {
            if self.stop.is_cancelled() && !self.machine.is_open() {
                break End::Stopped;
            }
            if self.stop.is_cancelled() {
                self.machine.finish(Instant::now());
            }
            match self.machine.step(Instant::now()) {
                Step::Poll(due) => {
                    if let Err(end) = self.poll(due.map_or(POLL, |due| due.min(POLL))) {
                        break end;
                    }
                }
                Step::Advance => self.advance(),
                Step::Rebuild(reason) => break self.broken(reason),
            }
            self.show_lag();
        };
        // A transaction that its clients did not survive counts as open no more, and was not committed either, as far as
        // is known here.
        if !matches!(end, End::Stopped) {
            self.processor.aborted();
        }
        for partition in self.machine.partitions() {
            self.settings.metrics.forget_lag(partition);
            self.processor.let_go(partition);
        }
        group::stop_following(&self.consumer, &self.settings.input);
        end
    }

    /// The clients are of no more use. A fenced producer alone does not tell why: its transaction may have been too slow,
    /// or another process has the same name. The group's coordinator tells the two apart, a little later.
    fn broken(&self, reason: String) -> End {
        if let Some(instance) = &self.settings.group_instance
            && self.producer.is_fenced()
        {
            // Nothing that comes is processed any more.
            group::stop_following(&self.consumer, &self.settings.input);
            let deadline = Instant::now() + FENCING_VERDICT;
            while Instant::now() < deadline && !self.stop.is_cancelled() {
                if let Some(Err(error)) = self.consumer.poll(POLL)
                    && is_instance_fenced(&error)
                {
                    return End::Fatal(KafkaError::InstanceTaken { instance: instance.clone() });
                }
            }
        }
        End::Rebuild(reason)
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), End> {
        match self.consumer.poll(timeout) {
            None => {}
            Some(Ok(message)) => {
                let mut clients =
                    Clients { producer: &self.producer, consumer: &self.consumer, topic: &self.settings.input };
                let record = Record::new(&message);
                let (partition, offset) = (record.partition(), record.offset());
                // Its partition is paused: librdkafka drops what it had fetched, and reads it again on resume.
                let paused = self.held || self.takeovers.is_waiting(partition);
                if !self.machine.is_open() {
                    self.inputs.clear();
                }
                if !paused && self.machine.accept(partition, offset, Instant::now(), &mut clients) {
                    let Processed { failure, given_up, held } =
                        process(&self.producer, self.processor, &self.oversized, &mut self.inputs, &record);
                    if let Some(reason) = given_up {
                        return Err(End::Fatal(KafkaError::GivenUp(reason)));
                    }
                    if let Some(reason) = failure {
                        self.machine.output_failed(reason);
                    }
                    if let Some(reason) = held {
                        self.machine.put_back(partition, offset);
                        self.hold(&reason)?;
                    }
                }
            }
            Some(Err(RdError::PartitionEOF(_))) => {}
            Some(Err(error)) => self.poll_failed(&error)?,
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(partitions) => self.assign(&partitions)?,
                Rebalance::Revoke { partitions, lost } => self.revoke(&partitions, lost),
            }
        }
        self.take_over()
    }

    /// Notes which records' outputs were refused for their size. Returns whether anything new was learnt.
    fn note_refusals(&mut self) -> bool {
        let mut news = false;
        for TooLarge { topic, input, bytes } in self.producer.take_failures().too_large {
            let Some(&(partition, offset)) = self.inputs.get(input) else { continue };
            let alone = self.oversized.is_suspected(partition, offset);
            if alone {
                tracing::warn!(
                    input = %self.settings.input, partition, offset, topic, bytes,
                    "the topic does not take the output of this record because of its size; raise its max.message.bytes"
                );
            }
            news |= self.oversized.refused(partition, offset, &topic, alone);
        }
        news
    }

    /// Stops reading for good: what to do about it is for a person to decide.
    fn hold(&mut self, reason: &str) -> Result<(), End> {
        tracing::error!(reason, "holding: nothing more is read, no record is lost");
        self.held = true;
        let all: Vec<i32> = self.machine.partitions().collect();
        self.pause(&all)
    }

    fn pause(&self, partitions: &[i32]) -> Result<(), End> {
        let paused = self.consumer.pause(&group::partitions(&self.settings.input, partitions));
        paused.map_err(|error| End::Rebuild(format!("pausing partitions failed: {error}")))
    }

    /// Begins with the partitions whose earlier output is known now.
    fn take_over(&mut self) -> Result<(), End> {
        loop {
            let finished = self.takeovers.finished().map_err(|error| End::Rebuild(error.to_string()))?;
            let Some((partition, memory, took)) = finished else { return Ok(()) };
            self.processor.take_over(partition, memory, took);
            if self.held {
                continue;
            }
            let list = group::partitions(&self.settings.input, &[partition]);
            if let Err(error) = self.consumer.resume(&list) {
                return Err(End::Rebuild(format!("resuming a partition failed: {error}")));
            }
        }
    }

    fn poll_failed(&mut self, error: &RdError) -> Result<(), End> {
        if let Some(instance) = &self.settings.group_instance
            && is_instance_fenced(error)
        {
            return Err(End::Fatal(KafkaError::InstanceTaken { instance: instance.clone() }));
        }
        match error {
            RdError::MessageConsumptionFatal(_) => self.machine.break_with(format!("the consumer failed: {error}")),
            RdError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.machine.break_with(format!("the position is out of range: {error}"));
            }
            RdError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                self.machine.break_with(format!("the topic `{}` is gone: {error}", self.settings.input));
            }
            // Passing trouble of connections: librdkafka goes on by itself, and the lag tells.
            _ => tracing::debug!(%error, "polling"),
        }
        Ok(())
    }

    fn advance(&mut self) {
        let mut clients = Clients { producer: &self.producer, consumer: &self.consumer, topic: &self.settings.input };
        match self.machine.advance(Instant::now(), &mut clients) {
            Progress::None => {}
            Progress::Committed { took } => {
                self.aborts = 0;
                for partition in self.machine.partitions() {
                    if let Some(committed) = self.machine.committed(partition) {
                        self.oversized.committed(partition, committed);
                    }
                }
                self.processor.committed(took);
            }
            Progress::Aborted(reason) => {
                // An abort that showed which record is too large is progress.
                self.aborts = if self.note_refusals() { 0 } else { self.aborts + 1 };
                tracing::warn!(reason, "a transaction was aborted; its records are read again");
                self.processor.aborted();
                if self.aborts >= ABORTS_IN_A_ROW {
                    self.machine.break_with(format!("{ABORTS_IN_A_ROW} transactions in a row were aborted: {reason}"));
                } else if self.aborts > 1 {
                    // What made the last one fail may pass; short enough for a rebalance to wait.
                    std::thread::sleep(ABORT_PAUSE * self.aborts);
                }
            }
        }
    }

    fn assign(&mut self, partitions: &[i32]) -> Result<(), End> {
        self.settings.metrics.rebalanced(RebalanceKind::Assigned);
        let output = |partition| {
            let topic = &self.settings.output;
            let (_, high) = self
                .consumer
                .fetch_watermarks(topic.as_str(), partition, START_TIMEOUT)
                .map_err(KafkaError::during("asking for a partition's offsets"))?;
            Ok((high > 0).then(|| format!("{topic}[{partition}]")))
        };
        let rule = StartRule {
            group: &self.settings.group,
            topic: &self.settings.input,
            connection: &self.settings.connection,
            from_beginning: self.settings.from_beginning,
            output: &output,
        };
        // What an owner before has left undecided, the brokers abort in this time.
        let (metrics, pending) = (&self.settings.metrics, self.settings.transaction_timeout + CLEAN_UP);
        let found = self
            .check_counterparts()
            .and_then(|()| starts(&self.consumer, &rule, partitions, metrics, START_TIMEOUT, pending));
        let starts = found.map_err(|error| {
            self.answer_unresolved(partitions);
            match error {
                KafkaError::Operation { .. } => End::Rebuild(error.to_string()),
                other => End::Fatal(other),
            }
        })?;
        let list = group::offsets(&self.settings.input, &starts).map_err(End::Fatal)?;
        if let Err(error) = self.consumer.incremental_assign(&list) {
            return Err(End::Rebuild(format!("taking partitions over failed: {error}")));
        }
        self.pause(partitions)?;
        let mut candidates = Vec::with_capacity(starts.len());
        for &(partition, start) in &starts {
            self.machine.assign(partition, start);
            candidates.push(Candidate { partition, memory: self.processor.memory(), start });
        }
        if !candidates.is_empty() {
            self.takeovers.begin(candidates);
        }
        tracing::info!(topic = %self.settings.input, ?partitions, "partitions assigned");
        self.settings.readiness.set_ready();
        Ok(())
    }

    /// The topics may have been given more partitions since the start.
    fn check_counterparts(&self) -> Result<(), KafkaError> {
        let count = |topic| self.producer.partitions(topic, START_TIMEOUT);
        let input = (&self.settings.input, count(&self.settings.input)?);
        for output in [&self.settings.output, &self.settings.dead_letters] {
            check_counterparts(input, (output, count(output)?))?;
        }
        Ok(())
    }

    /// librdkafka cannot close while a rebalance waits for its answer. Nothing is read after this one.
    fn answer_unresolved(&self, partitions: &[i32]) {
        let list = group::partitions(&self.settings.input, partitions);
        if let Err(error) = self.consumer.incremental_assign(&list) {
            tracing::debug!(%error, "answering a rebalance before giving up");
        }
    }

    /// Commits if that is done in time, else aborts; only then do the partitions leave.
    fn revoke(&mut self, partitions: &[i32], lost: bool) {
        self.settings.metrics.rebalanced(if lost { RebalanceKind::Lost } else { RebalanceKind::Revoked });
        self.machine.begin_revoke(lost, Instant::now());
        while self.machine.is_open() {
            self.advance();
        }
        let gone: BTreeSet<i32> = partitions.iter().copied().collect();
        self.machine.remove(&gone);
        for &partition in partitions {
            self.settings.metrics.forget_lag(partition);
            self.takeovers.forget(partition);
            self.oversized.forget(partition);
            self.processor.let_go(partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&group::partitions(&self.settings.input, partitions)) {
            self.machine.break_with(format!("giving partitions back failed: {error}"));
        }
        tracing::info!(topic = %self.settings.input, ?partitions, lost, "partitions revoked");
    }

    fn show_lag(&mut self) {
        if self.lag_shown.elapsed() >= Duration::from_secs(1) {
            self.lag_shown = Instant::now();
            let progress =
                self.machine.partitions().filter_map(|partition| Some((partition, self.machine.committed(partition)?)));
            self.consumer.context().show_lag(&self.settings.metrics, progress);
        }
    }
}

/// Turns an accepted record into output. If outputs of it were refused for their size before, they go in batches of their
/// own, and their delivery is waited for: only so is the next refusal this record's own.
fn process(
    producer: &TransactionalProducer,
    processor: &mut impl Processor,
    oversized: &Oversized,
    inputs: &mut Vec<(i32, i64)>,
    record: &Record<'_>,
) -> Processed {
    let failed = |reason| Processed { failure: Some(reason), ..Processed::default() };
    let position = (record.partition(), record.offset());
    let alone = oversized.is_suspected(position.0, position.1);
    if alone && let Err(reason) = producer.drain() {
        return failed(reason);
    }
    let input = inputs.len();
    inputs.push(position);
    let mut outbox = Outbox::new(producer, oversized, position, input);
    processor.process(record, &mut outbox);
    let mut processed = outbox.result;
    if alone && processed.failure.is_none() && processed.held.is_none() {
        processed.failure = producer.drain().err().or_else(|| producer.failure());
    }
    processed
}

fn is_instance_fenced(error: &RdError) -> bool {
    matches!(error, RdError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId))
}
