//! Handles new partitions of a worker from their assignment to their first record: finds their starts, restores their
//! state, and adds them to the consumer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contract::{Partition, Position, TopicName};

use super::end::{End, given_up, rebuild};
use super::output_log::BrokerLog;
use super::processor::Processor;
use super::producer::PartitionCounts;
use super::restore::{Delay, Finding};
use super::session::Session;
use super::tail::Candidate;
use crate::assignment::Fetching;
use crate::error::KafkaError;
use crate::error_table::Refusal;
use crate::group::GroupClient;
use crate::health::kafka_trouble;
use crate::start::{new_offsets, refusal, report_losses};
use crate::topic::check_counterparts;

/// Time between two attempts of a commit that a rebalance refuses.
const COMMIT_AGAIN: Duration = Duration::from_millis(100);

/// Time limit for the check of the numbers of partitions of all topics.
const COUNT_WITHIN: Duration = Duration::from_secs(5);

impl<P: Processor, C: GroupClient> Session<'_, P, C> {
    /// Reports an error to the health check, and returns how it ends the session.
    fn given_up(&self, error: KafkaError) -> End {
        self.settings.health.group.failed(kafka_trouble(&error));
        given_up(error)
    }

    /// Begins to find the starting offsets of new partitions on another thread, while the other partitions continue:
    /// the open transaction of a member that died can delay the committed offsets until the transaction times out.
    pub(super) fn assign(&mut self, partitions: Vec<Partition>) -> Result<(), End> {
        // A transaction that stays open during the calls to the brokers could time out.
        self.machine.begin_assign(Instant::now());
        while self.machine.is_open() {
            self.advance();
        }
        self.machine.remove(&BTreeSet::new());
        tracing::info!(topic = %self.settings.input, ?partitions, "partitions assigned");
        self.settings.readiness.set_ready();
        self.member.add(&[], Fetching::Running).map_err(rebuild)?;
        if partitions.is_empty() {
            // Without new partitions, the assignment needs no call to the brokers, so it has succeeded.
            self.settings.health.group.succeeded();
            return Ok(());
        }
        self.awaited.extend(&partitions);
        let candidates = partitions.iter().map(|&partition| Candidate { partition, state: self.processor.new_state() });
        let candidates = candidates.collect();
        let (counts, context) = (self.producer.partition_counts(), self.restore_context.clone());
        let (input, outputs) = (self.settings.input.clone(), [&self.settings.output, &self.settings.dead_letters]);
        let outputs = outputs.map(TopicName::clone);
        let open = move || {
            check_partition_counts(&counts, &input, &outputs)?;
            BrokerLog::new(context)
        };
        self.restores.begin(open, candidates);
        Ok(())
    }

    /// Adds the awaited partitions before the session ends. No record of them will be read.
    pub(super) fn add_awaited(&mut self) {
        let awaited: Vec<Partition> = std::mem::take(&mut self.awaited).into_iter().collect();
        self.member.add_before_the_end(&awaited, "adding partitions before the end");
    }

    /// Reports a transaction of another process that delays new partitions.
    fn report_delay(&mut self) {
        let health = &self.settings.health;
        match self.restores.delay(Instant::now()) {
            None => {}
            Some(Delay::Ended) => health.restoring_continues(),
            Some(Delay::Lasts(time)) => {
                let (seconds, group) = (time.as_secs(), &self.settings.group);
                let (input, output) = (&self.settings.input, &self.settings.output);
                health.restoring_is_delayed(if self.awaited.is_empty() {
                    let partitions: Vec<Partition> = self.restores.waiting().collect();
                    format!("the latest records of {output}{partitions:?} have not become readable for {seconds} s: a transaction of another process is open there")
                } else {
                    let partitions = &self.awaited;
                    format!("the committed offsets of group `{group}` for {input}{partitions:?} have not become readable for {seconds} s: they belong to a transaction of another process that is open")
                });
            }
        }
    }

    /// Adds the partitions whose starts are known now, as paused, and resumes those whose state is restored.
    pub(super) fn restored(&mut self) -> Result<(), End> {
        self.report_delay();
        // After the assignment was lost, librdkafka would treat an added partition as the answer to the revoke that
        // follows.
        while !self.member.is_lost() {
            if !self.add_found()? {
                break;
            }
            let finding = self.restores.finished();
            let Some(finding) = finding.map_err(|error| self.given_up(error))? else { break };
            match finding {
                Finding::Starts(starts) => self.found = starts,
                Finding::Restored { partition, state, took } => {
                    self.processor.restored(partition, state, took);
                    if !self.held {
                        let read = self.machine.read(partition).map(|read| Position::of(partition, read));
                        self.member.resume(read.as_slice()).map_err(rebuild)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Commits the known starts and adds their partitions. Returns `false` while the commit is in progress or must be
    /// repeated. During a rebalance, the brokers accept no commit from this member, and a partition may be revoked
    /// before they accept one.
    fn add_found(&mut self) -> Result<bool, End> {
        match self.committed_starts.take().or_else(|| self.committer.result()) {
            Some((committed, starts)) => {
                let (input, metrics) = (&self.settings.input, &self.settings.metrics);
                report_losses(committed.as_ref().copied(), input, &starts, metrics);
                match committed {
                    Ok(()) => self.add_committed()?,
                    Err(error) => self.commit_failed(error)?,
                }
            }
            None if self.committer.is_busy() => {}
            None if !self.found.is_empty() && Instant::now() >= self.next_commit => {
                match new_offsets(&self.settings.input, &self.found).map_err(|error| self.given_up(error))? {
                    Some(list) => self.committer.order(list, self.found.clone()),
                    None => self.add_committed()?,
                }
            }
            None => {}
        }
        Ok(self.found.is_empty() && !self.committer.is_busy())
    }

    fn commit_failed(&mut self, error: KafkaError) -> Result<(), End> {
        match refusal(&error) {
            Some(Refusal::Rebalancing) => {
                // A rebalance usually ends within seconds. The health check logs the refusal only if it lasts longer.
                self.settings.health.group.failed(kafka_trouble(&error));
                self.next_commit = Instant::now() + COMMIT_AGAIN;
                Ok(())
            }
            Some(Refusal::Evicted) => Err(End::Evicted(error.to_string())),
            None => Err(self.given_up(error)),
        }
    }

    /// Adds the partitions whose starts are committed. Those that were revoked during the commit are no longer in
    /// `found`.
    fn add_committed(&mut self) -> Result<(), End> {
        let starts = std::mem::take(&mut self.found);
        if starts.is_empty() {
            return Ok(());
        }
        let positions: Vec<Position> = starts.iter().map(|start| start.position).collect();
        self.member.add(&positions, Fetching::Paused).map_err(rebuild)?;
        self.settings.health.group.succeeded();
        for start in starts {
            self.awaited.remove(&start.position.partition);
            self.machine.assign(start.position.partition, start.consumed);
        }
        Ok(())
    }
}

/// Checks again that every output topic has as many partitions as the input topic, because partitions may have been
/// added since the service started.
fn check_partition_counts(
    counts: &PartitionCounts,
    input: &TopicName,
    outputs: &[TopicName],
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + COUNT_WITHIN;
    let partitions = counts.of(input, deadline)?;
    for output in outputs {
        check_counterparts((input, partitions), (output, counts.of(output, deadline)?))?;
    }
    Ok(())
}
