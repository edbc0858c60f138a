//! Runs a worker: one session after the other, until a stop, or until new clients no longer help.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use service::{Backoff, Readiness};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::outbox::Outbox;
use super::restore::{Lookback, PartitionState};
use super::session::Session;
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::group;
use crate::health::KafkaHealth;
use crate::log_watch::{Latest, Replaced};
use crate::metrics::ConsumerMetrics;
use crate::namesake;
use crate::record::Record;
use crate::topic::TopicName;

/// Turns records into output, and is notified when that output is committed or aborted.
pub trait Processor {
    /// The state that is restored from a partition's earlier output.
    type State: PartitionState;
    /// Creates an empty state, to be restored on another thread.
    fn new_state(&self) -> Self::State;
    /// The state of a partition is restored, and its records follow. `took` is how long restoring took.
    fn restored(&mut self, partition: i32, state: Self::State, took: Duration);
    /// A partition was revoked; it may be assigned again with a new state.
    fn release(&mut self, partition: i32);
    /// Turns one record into output. May be called again for the same record after an abort.
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>);
    /// Reports how many records of a partition are deferred; called about every second while there are any, and once
    /// after.
    fn show_deferred(&mut self, partition: i32, records: u64);
    /// All records processed since the last call of this or [`Processor::aborted`] are committed.
    fn committed(&mut self, took: Duration);
    /// All records processed since the last call of this or [`Processor::committed`] are aborted and will be read
    /// again.
    fn aborted(&mut self);
}

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How to reach Kafka.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// The name of this worker, unique in the group and stable across restarts. Its consumer's `client.id` contains it.
    pub name: Option<String>,
    /// `transactional.id`; unique among all producers of the cluster. It should be stable across restarts: the new
    /// process then aborts the transaction that the old one left open.
    pub transactional_id: String,
    /// The input topic.
    pub input: TopicName,
    /// The output topic. A partition of it with records shows that the input partition of the same number was processed
    /// before.
    pub output: TopicName,
    /// The topic for records without output.
    pub dead_letters: TopicName,
    /// How far back the output is read to restore a partition's state.
    pub lookback: Lookback,
    /// Accept that a partition without a committed offset is read from its beginning although output exists.
    pub from_beginning: bool,
    /// Commit at least this often while there are records.
    pub commit_interval: Duration,
    /// Commit at the latest after this many records.
    pub max_records: usize,
    /// The brokers abort an open transaction after this time.
    pub transaction_timeout: Duration,
    /// Maximum bytes fetched ahead.
    pub fetch_bytes: usize,
    /// Consumer metrics.
    pub metrics: ConsumerMetrics,
    /// The health check to report to.
    pub health: KafkaHealth,
    /// Set once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

/// The maximum of the first pause before new clients are built, and of later ones.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Rebuilds within this time are counted together.
const REBUILD_WINDOW: Duration = Duration::from_secs(600);

/// This many rebuilds within [`REBUILD_WINDOW`] without a committed transaction between them end the worker.
const REBUILDS: usize = 5;

/// The times of the last rebuilds.
#[derive(Debug, Default)]
struct Rebuilds(VecDeque<Instant>);

impl Rebuilds {
    /// Counts one more rebuild; returns `false` if it was one too many. `committed` says whether the replaced clients
    /// had committed a transaction.
    fn allow(&mut self, now: Instant, committed: bool) -> bool {
        if committed {
            self.0.clear();
        }
        self.0.retain(|&at| now.saturating_duration_since(at) < REBUILD_WINDOW);
        self.0.push_back(now);
        self.0.len() < REBUILDS
    }
}

/// Runs a worker on this thread until `stop`.
///
/// # Errors
/// [`KafkaError::TooManyRebuilds`], and every error that new clients would not fix.
pub fn run<P: Processor>(
    settings: &WorkerSettings,
    processor: &mut P,
    stop: &CancellationToken,
) -> Result<(), KafkaError> {
    let mut rebuilds = Rebuilds::default();
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut replaced = Latest::new();
    loop {
        let (end, committed) = match Session::start(settings, processor, std::mem::take(&mut replaced), stop) {
            Ok(session) => session.run(),
            Err(end) => (end, false),
        };
        let reason = match end {
            End::Stopped => return Ok(()),
            End::Fatal(error) => return Err(error),
            End::Evicted(reason) => reason,
            End::Replaced(Replaced { partition, last }) => {
                replaced.insert(partition, last);
                format!("the log of partition {partition} of `{}` is not the one that was read", settings.input)
            }
            End::Fenced(reason) => {
                if let Some(taken) = taken_by_another(settings, stop)? {
                    return Err(taken);
                }
                counted(&mut rebuilds, committed, reason)?
            }
            // Until a person has changed something, new clients would not help, and neither would ending the process.
            End::Rebuild(reason) if settings.health.fails_permanently() => reason,
            End::Rebuild(reason) => counted(&mut rebuilds, committed, reason)?,
        };
        if settings.health.fails_permanently() {
            // The failure is already logged once a minute; this would be a line for each attempt.
            tracing::debug!(reason, "building a new consumer and producer");
        } else {
            tracing::warn!(
                reason,
                transactional_id = settings.transactional_id,
                "building a new consumer and producer"
            );
        }
        let wake = Instant::now() + backoff.next_wait(fastrand::f64());
        while Instant::now() < wake && !stop.is_cancelled() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if committed {
            backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        }
        if stop.is_cancelled() {
            // Creating a producer here would fence a process that has already taken over this `transactional.id`.
            return Ok(());
        }
    }
}

fn counted(rebuilds: &mut Rebuilds, committed: bool, reason: String) -> Result<String, KafkaError> {
    if rebuilds.allow(Instant::now(), committed) {
        return Ok(reason);
    }
    Err(KafkaError::TooManyRebuilds { times: REBUILDS, minutes: REBUILD_WINDOW.as_secs() / 60, reason })
}

/// Whether the producer was fenced because another process has this worker's name. If not, its transaction timed out,
/// and new clients are sufficient.
fn taken_by_another(settings: &WorkerSettings, stop: &CancellationToken) -> Result<Option<KafkaError>, KafkaError> {
    let Some(name) = &settings.name else { return Ok(None) };
    let client_id = member_client_id(&settings.connection, name);
    let session = group::session_timeout(&settings.connection);
    let taken = namesake::exists(&settings.connection, &settings.group, &client_id, session, stop)?;
    Ok((taken == Some(true)).then(|| KafkaError::InstanceTaken { instance: name.clone() }))
}

/// The `client.id` of a named worker's consumer.
pub(super) fn member_client_id(connection: &Connection, name: &str) -> String {
    format!("{}-{name}", connection.client_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_rebuild_within_ten_minutes_without_a_commit_ends_the_worker() {
        let start = Instant::now();
        let mut rebuilds = Rebuilds::default();
        for minute in 0..4 {
            assert!(rebuilds.allow(start + Duration::from_secs(60 * minute), false));
        }
        assert!(!rebuilds.allow(start + Duration::from_secs(60 * 9), false));
        assert!(rebuilds.allow(start + Duration::from_secs(60 * 9), true), "a commit was progress");
        let mut rebuilds = Rebuilds::default();
        for minute in 0..20 {
            assert!(rebuilds.allow(start + Duration::from_secs(180 * minute), false), "{minute}");
        }
    }
}
