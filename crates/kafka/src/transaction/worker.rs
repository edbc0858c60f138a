//! Runs a worker: one session after the other, until a stop, or until a failure that new clients would not fix.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use service::Backoff;
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::processor::Processor;
use super::session::Session;
use super::settings::WorkerSettings;
use crate::error::KafkaError;
use crate::group;
use crate::log_watch::{Latest, Replaced};
use crate::namesake;

/// Maximum pause before new clients are built: for the first rebuild, and for every later one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Period within which rebuilds are counted.
const REBUILD_WINDOW: Duration = Duration::from_secs(600);

/// Number of rebuilds within [`REBUILD_WINDOW`], without a committed transaction between them, that ends the worker.
const REBUILDS: usize = 5;

/// The times of the last rebuilds.
#[derive(Debug, Default)]
struct Rebuilds(VecDeque<Instant>);

impl Rebuilds {
    /// Counts one more rebuild. Returns `false` if there were too many. `committed` is whether the replaced clients had
    /// committed a transaction.
    fn allow(&mut self, now: Instant, committed: bool) -> bool {
        if committed {
            self.0.clear();
        }
        self.0.retain(|&at| now.saturating_duration_since(at) < REBUILD_WINDOW);
        self.0.push_back(now);
        self.0.len() < REBUILDS
    }
}

/// Runs a worker on this thread until `stop` is cancelled.
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
            End::Evicted(reason) | End::Fenced(reason) | End::Rebuild(reason) if stop.is_cancelled() => {
                tracing::warn!(
                    reason,
                    "stopped with an open transaction; the brokers end it, and its records will be read again if it is aborted"
                );
                return Ok(());
            }
            End::Replaced(_) if stop.is_cancelled() => return Ok(()),
            End::Evicted(reason) => reason,
            End::Replaced(Replaced { partition, last }) => {
                replaced.insert(partition, last);
                format!("the log of partition {partition} of `{}` is not the one that was read", settings.input)
            }
            End::Fenced(reason) => {
                if let Some(taken) = taken_by_another(settings, stop)? {
                    return Err(taken);
                }
                counted(&mut rebuilds, committed, reason, settings)?
            }
            // Until a person changes something, neither new clients nor the end of the process would help.
            End::Rebuild(reason) if settings.health.fails_permanently() => reason,
            End::Rebuild(reason) => counted(&mut rebuilds, committed, reason, settings)?,
        };
        report_rebuild(settings, &reason);
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

fn report_rebuild(settings: &WorkerSettings, reason: &str) {
    if settings.health.fails_permanently() {
        // The health check already logs the failure once a minute. A warning here would add a line for each attempt.
        tracing::debug!(reason, "building a new consumer and producer");
    } else {
        tracing::warn!(reason, transactional_id = settings.transactional_id, "building a new consumer and producer");
    }
}

fn counted(
    rebuilds: &mut Rebuilds,
    committed: bool,
    reason: String,
    settings: &WorkerSettings,
) -> Result<String, KafkaError> {
    if rebuilds.allow(Instant::now(), committed) {
        return Ok(reason);
    }
    let (minutes, variable) = (REBUILD_WINDOW.as_secs() / 60, settings.name_variable);
    Err(KafkaError::TooManyRebuilds { times: REBUILDS, minutes, reason, variable })
}

/// Returns an error if the producer was fenced because another process has this worker's name. Returns `None` if the
/// producer's transaction timed out: then new clients are sufficient.
fn taken_by_another(settings: &WorkerSettings, stop: &CancellationToken) -> Result<Option<KafkaError>, KafkaError> {
    let (Some(name), Some(client_id)) = (&settings.name, settings.member_client_id()) else { return Ok(None) };
    let session = group::session_timeout(&settings.connection);
    let taken = namesake::exists(&settings.connection, &settings.group, &client_id, session, stop)?;
    Ok((taken == Some(true))
        .then(|| KafkaError::InstanceTaken { instance: name.clone(), variable: settings.name_variable }))
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
