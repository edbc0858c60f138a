//! A worker: sessions one after the other, until a stop, or until new clients no longer help.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use service::{Backoff, Readiness};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::outbox::Outbox;
use super::session::Session;
use super::takeover::{Memory, Reach};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::group;
use crate::health::KafkaHealth;
use crate::log_watch::{Latest, Replaced};
use crate::metrics::ConsumerMetrics;
use crate::namesake;
use crate::record::Record;
use crate::topic::TopicName;

/// What a record turns into, and what happens once that is final.
pub trait Processor {
    /// What it knows of a partition's earlier output.
    type Memory: Memory;
    /// An empty memory, to be filled on another thread.
    fn memory(&self) -> Self::Memory;
    /// A partition is taken over: its records come from now on. `took` is how long it took to fill the memory.
    fn take_over(&mut self, partition: i32, memory: Self::Memory, took: Duration);
    /// A partition has left; it may come back with a new memory.
    fn let_go(&mut self, partition: i32);
    /// Turns one record into output. May be called again for the same record after an abort.
    fn process(&mut self, record: &Record<'_>, outbox: &mut Outbox<'_>);
    /// How many records of a partition are deferred now; called about every second while there are any, and once after.
    fn show_deferred(&mut self, partition: i32, records: u64);
    /// Everything processed since the last call of this or [`Processor::aborted`] is final.
    fn committed(&mut self, took: Duration);
    /// Everything processed since the last call of this or [`Processor::committed`] is void and will be read again.
    fn aborted(&mut self);
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// How to reach Kafka.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// A name of this worker that is the same after a restart, unique in the group. Its consumer's `client.id` shows it.
    pub name: Option<String>,
    /// `transactional.id`; unique among all producers of the cluster. The same after a restart is best: the new process
    /// then ends what the old one left open.
    pub transactional_id: String,
    /// The topic read.
    pub input: TopicName,
    /// The topic whose partition of the same number shows that there was work before.
    pub output: TopicName,
    /// The topic written for what has no output.
    pub dead_letters: TopicName,
    /// How far back the output is read when a partition is taken over.
    pub reach: Reach,
    /// Accept that a partition without committed offset is read from its beginning although there is output.
    pub from_beginning: bool,
    /// Commit at least this often while there are records.
    pub commit_interval: Duration,
    /// Commit at the latest after this many records.
    pub max_records: usize,
    /// After this time the brokers abort an open transaction.
    pub transaction_timeout: Duration,
    /// The most bytes fetched ahead.
    pub fetch_bytes: usize,
    /// Consumer metrics.
    pub metrics: ConsumerMetrics,
    /// Where it tells how Kafka does.
    pub health: KafkaHealth,
    /// Set once the group has assigned partitions (perhaps none).
    pub readiness: Readiness,
}

/// The first and the longest pause before new clients are built.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Rebuilds within this time are counted together.
const REBUILD_WINDOW: Duration = Duration::from_secs(600);

/// This many rebuilds within [`REBUILD_WINDOW`] without a committed transaction between them end the worker.
const REBUILDS: usize = 5;

/// When the last rebuilds were.
#[derive(Debug, Default)]
struct Rebuilds(VecDeque<Instant>);

impl Rebuilds {
    /// Counts one more; `false` when it was one too many. `committed`: the clients that are replaced had committed a
    /// transaction.
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
/// [`KafkaError::TooManyRebuilds`] and everything that new clients do not help against.
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
            // Until a person has changed what has to be changed new clients do no better, and ending would not either.
            End::Rebuild(reason) if settings.health.fails_permanently() => reason,
            End::Rebuild(reason) => counted(&mut rebuilds, committed, reason)?,
        };
        if settings.health.fails_permanently() {
            // The failure is reported once a minute already; this would be a line for each attempt.
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

/// Whether the producer was fenced because another process has this worker's name. If not, its transaction ran into the
/// time-out, and new clients are all that is needed.
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
