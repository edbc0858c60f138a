//! Access of the screens to the topics: the connection with the options of the operations, and observers that end an
//! operation when its job is stopped and limit its read rate.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapping::Sources;
use operator::{Committed, Connection, Groups, Observer, OnProgress, Pipeline, PipelineTopics, Positions, Progress};

use crate::format;
use crate::jobs::{Job, JobProgress};

/// Connection to the topics, and the options with which the services process the records.
#[derive(Debug, Clone)]
pub struct PipelineAccess {
    /// Connection to the Kafka brokers.
    pub connection: Connection,
    /// Names of the topics.
    pub topics: PipelineTopics,
    /// Consumer groups of the transformer and the sink.
    pub groups: Groups,
    /// Sources with the mapping options that the transformer uses.
    pub sources: Sources,
    /// Maximum size of a body after decompression, in bytes.
    pub max_body: usize,
    /// Time window in which the transformer detects duplicates.
    pub dedup_window: Duration,
    /// Maximum number of event ids per partition that the transformer keeps to detect duplicates.
    pub dedup_max_ids: u32,
    /// Function that returns the services' offsets, for brokers that do not store committed offsets, as in the demo.
    pub handed: Option<PositionsOf>,
}

/// Function that returns the offsets up to which the services in this process have processed the topics.
#[derive(Clone)]
pub struct PositionsOf(Arc<dyn Fn() -> Positions + Send + Sync>);

impl PositionsOf {
    /// Creates the value from a function, which is called each time that offsets are needed.
    pub fn new(positions: impl Fn() -> Positions + Send + Sync + 'static) -> Self {
        Self(Arc::new(positions))
    }
}

impl fmt::Debug for PositionsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PositionsOf")
    }
}

impl PipelineAccess {
    /// Returns the committed offsets of the services, or the groups that have them.
    pub(crate) fn committed(&self) -> Committed {
        match &self.handed {
            Some(PositionsOf(positions)) => Committed::Handed(positions()),
            None => Committed::Groups(self.groups.clone()),
        }
    }

    /// Returns a bound of a time range, or `None` (no bound) if the brokers cannot look up offsets by time. The demo's
    /// embedded brokers return the end of the partition for every time.
    pub(crate) fn bound(&self, millis: Option<i64>) -> Option<i64> {
        millis.filter(|_| self.handed.is_none())
    }

    /// Returns the arguments that every operation of the crate `operator` takes.
    pub(crate) fn pipeline<'p>(&'p self, progress: OnProgress<'p>) -> Pipeline<'p> {
        Pipeline { connection: &self.connection, topics: &self.topics, progress }
    }
}

/// Maximum number of records that a job reads per second, so that it does not disturb brokers and services.
pub(crate) const RECORDS_PER_SECOND: u32 = 50_000;

/// Passes the progress of an operation to its job, ends the operation when the job is stopped, and limits its read
/// rate.
#[derive(Debug)]
pub(crate) struct JobObserver<'j> {
    job: &'j Job,
    pace: Pace,
}

impl<'j> JobObserver<'j> {
    pub(crate) fn new(job: &'j Job) -> Self {
        Self { job, pace: Pace::default() }
    }
}

impl Observer for JobObserver<'_> {
    fn report(&self, progress: Progress) {
        self.job.report(words(&progress));
    }

    fn has_read(&self, records: u64) -> bool {
        self.pace.has_read(records, || self.job.goes_on())
    }
}

/// Limits the read rate to [`RECORDS_PER_SECOND`].
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Count>);

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Count { since: Instant::now(), records: 0, per_second: RECORDS_PER_SECOND }))
    }
}

impl Pace {
    /// Counts `records` further records, and blocks until the limit allows the next read or `goes_on` returns `false`.
    /// Returns whether to continue reading.
    pub(crate) fn has_read(&self, records: u64, goes_on: impl Fn() -> bool) -> bool {
        let wait = self.0.lock().unwrap_or_else(PoisonError::into_inner).after(records, Instant::now());
        // Sleep in short steps, so that a stop takes effect within 100 ms.
        let until = Instant::now() + wait;
        while goes_on() && Instant::now() < until {
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
        goes_on()
    }
}

/// Number of records that were read since a time.
#[derive(Debug)]
struct Count {
    since: Instant,
    records: u64,
    per_second: u32,
}

impl Count {
    /// Adds records and returns the time to wait before the next read.
    pub(crate) fn after(&mut self, records: u64, now: Instant) -> Duration {
        self.records += records;
        let millis = self.records.saturating_mul(1000) / u64::from(self.per_second.max(1));
        let due = self.since + Duration::from_millis(millis);
        if now > due + Duration::from_secs(1) {
            // Idle time must not allow a burst above the rate.
            (self.since, self.records) = (now, 0);
        }
        due.saturating_duration_since(now)
    }
}

fn words(progress: &Progress) -> JobProgress {
    match progress {
        Progress::ReadingOffsets => JobProgress { what: "asking for the offsets".to_owned(), ..JobProgress::default() },
        Progress::Read { records } => {
            JobProgress { what: format!("{} records read", format::count(*records)), done: *records, of: None }
        }
        Progress::ReadTopic { topic, records, of } => JobProgress {
            what: match of {
                Some(of) => {
                    format!("{} of about {} records of {topic} read", format::count(*records), format::count(*of))
                }
                None => format!("{} records of {topic} read", format::count(*records)),
            },
            done: *records,
            of: *of,
        },
        Progress::StartingAgain => JobProgress {
            what: "records expired while they were read: starting again".to_owned(),
            ..JobProgress::default()
        },
        Progress::Resolved { dead_letters, of } => JobProgress {
            what: format!("{} of {} dead letters resolved", format::count(*dead_letters), format::count(*of)),
            done: *dead_letters,
            of: Some(*of),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::{JobKind, Jobs};

    #[test]
    fn after_a_stop_the_observer_ends_the_operation_without_waiting() {
        let jobs = Jobs::default();
        let job = jobs.begin(JobKind::Audit, "jo", 0).unwrap();
        let observer = JobObserver::new(&job);
        assert!(observer.has_read(1));
        observer.report(Progress::Read { records: 12_345 });
        assert_eq!(jobs.running().unwrap().progress.what, "12,345 records read");
        jobs.stop(job.id());
        assert!(!observer.has_read(u64::from(u32::MAX)));
    }

    #[test]
    fn reads_stay_below_the_rate_limit_even_after_an_idle_time() {
        let begun = Instant::now();
        let mut pace = Count { since: begun, records: 0, per_second: 1000 };
        assert_eq!(pace.after(500, begun), Duration::from_millis(500));
        assert_eq!(pace.after(500, begun + Duration::from_millis(500)), Duration::from_millis(500));
        assert_eq!(pace.after(500, begun + Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(pace.after(500, begun + Duration::from_secs(60)), Duration::from_millis(500));
    }
}
