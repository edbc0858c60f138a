//! How the screens reach the topics: the connection with everything that an operation needs, and the observer that lets a
//! job be stopped and limits how fast it reads.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mapping::Sources;
use operator::{Committed, Connection, Groups, Observer, OnProgress, Pipeline, PipelineTopics, Positions, Progress};

use crate::format;
use crate::jobs::{Job, JobProgress};

/// How to reach the topics, and what the services do with their records.
#[derive(Debug, Clone)]
pub struct PipelineAccess {
    /// The brokers.
    pub connection: Connection,
    /// The topics.
    pub topics: PipelineTopics,
    /// The consumer groups of the services.
    pub groups: Groups,
    /// The sources with their mapping options, as the transformer has them.
    pub sources: Sources,
    /// Maximum size of a body after decompression.
    pub max_body: usize,
    /// How far back the transformer looks for duplicates.
    pub dedup_window: Duration,
    /// How many ids per partition the transformer keeps for that.
    pub dedup_max_ids: u32,
    /// Where the offsets of the services come from, if these brokers do not keep them.
    pub handed: Option<PositionsOf>,
}

/// How far the services of this process have processed the topics.
#[derive(Clone)]
pub struct PositionsOf(Arc<dyn Fn() -> Positions + Send + Sync>);

impl PositionsOf {
    /// Asks this function each time.
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
    /// Where the committed offsets of the services come from.
    pub(crate) fn committed(&self) -> Committed {
        match &self.handed {
            Some(PositionsOf(positions)) => Committed::Handed(positions()),
            None => Committed::Groups(self.groups.clone()),
        }
    }

    /// Returns the bound of a range of time; `None` if these brokers find no offsets for a time, so that everything is
    /// read. The demo's embedded brokers return the end of the partition for every time.
    pub(crate) fn bound(&self, millis: Option<i64>) -> Option<i64> {
        millis.filter(|_| self.handed.is_none())
    }

    /// For an operation of `operator`.
    pub(crate) fn pipeline<'p>(&'p self, progress: OnProgress<'p>) -> Pipeline<'p> {
        Pipeline { connection: &self.connection, topics: &self.topics, progress }
    }
}

/// How many records a job reads per second at most, so that brokers and services do not notice it.
pub(crate) const RECORDS_PER_SECOND: u32 = 50_000;

/// Passes the progress of an operation to its job, ends the operation when the job is stopped, and limits its rate.
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

/// Limits how fast records are read, to [`RECORDS_PER_SECOND`].
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Count>);

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Count { since: Instant::now(), records: 0, per_second: RECORDS_PER_SECOND }))
    }
}

impl Pace {
    /// Waits after these records as long as the limit requires, and returns whether the reading goes on. It blocks.
    pub(crate) fn has_read(&self, records: u64, goes_on: impl Fn() -> bool) -> bool {
        let wait = self.0.lock().unwrap_or_else(PoisonError::into_inner).after(records, Instant::now());
        // In steps, so that a stop is noticed soon.
        let until = Instant::now() + wait;
        while goes_on() && Instant::now() < until {
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
        goes_on()
    }
}

/// How many records were read since a time.
#[derive(Debug)]
struct Count {
    since: Instant,
    records: u64,
    per_second: u32,
}

impl Count {
    /// How long to wait after these records.
    pub(crate) fn after(&mut self, records: u64, now: Instant) -> Duration {
        self.records += records;
        let millis = self.records.saturating_mul(1000) / u64::from(self.per_second.max(1));
        let due = self.since + Duration::from_millis(millis);
        if now > due + Duration::from_secs(1) {
            // Time in which nothing was read is not made up for.
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
    fn a_stopped_job_ends_its_operation_without_waiting() {
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
    fn reading_is_as_fast_as_allowed_and_time_without_reading_is_not_made_up_for() {
        let begun = Instant::now();
        let mut pace = Count { since: begun, records: 0, per_second: 1000 };
        assert_eq!(pace.after(500, begun), Duration::from_millis(500));
        assert_eq!(pace.after(500, begun + Duration::from_millis(500)), Duration::from_millis(500));
        assert_eq!(pace.after(500, begun + Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(pace.after(500, begun + Duration::from_secs(60)), Duration::from_millis(500));
    }
}
