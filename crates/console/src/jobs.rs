//! Long-running jobs, most of which read large parts of the topics. The console runs one job at a time, shows its
//! progress, and can stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    Audit,
    Find,
    /// Dry run of a replay or a discard.
    DryRun,
    Replay,
    Discard,
    /// Change of the set-up.
    Apply,
}

impl JobKind {
    /// Returns the name of the job for use in a sentence, for example "an audit is running".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audit => "an audit",
            Self::Find => "a search",
            Self::DryRun => "a dry run",
            Self::Replay => "a replay",
            Self::Discard => "a discard",
            Self::Apply => "a change of the set-up",
        }
    }
}

/// Progress of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobProgress {
    /// Description of the current step.
    pub(crate) what: String,
    pub(crate) done: u64,
    pub(crate) of: Option<u64>,
}

/// A running job, for pages that show it.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) id: u64,
    pub(crate) kind: JobKind,
    /// Name of the user who started the job.
    pub(crate) by: String,
    /// Start time: milliseconds since 1970.
    pub(crate) since: i64,
    pub(crate) progress: JobProgress,
    stop: CancellationToken,
}

impl Running {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    running: Option<Running>,
}

/// The running job, if there is one. Clones share the state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jobs(Arc<Mutex<State>>);

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job, which ends when the returned [`Job`] is dropped.
    ///
    /// # Errors
    /// The job that is already running.
    pub(crate) fn begin(&self, kind: JobKind, by: &str, now: i64) -> Result<Job, Box<Running>> {
        let mut state = self.state();
        if let Some(running) = &state.running {
            return Err(Box::new(running.clone()));
        }
        state.last_id += 1;
        let (id, stop) = (state.last_id, CancellationToken::new());
        let (by, progress) = (by.to_owned(), JobProgress::default());
        state.running = Some(Running { id, kind, by, since: now, progress, stop: stop.clone() });
        Ok(Job { id, stop, jobs: self.clone() })
    }

    pub(crate) fn running(&self) -> Option<Running> {
        self.state().running.clone()
    }

    /// Asks the job with this id to stop. Returns `false` if no such job is running. The job ends when its code notices
    /// the request.
    pub(crate) fn stop(&self, id: u64) -> bool {
        let state = self.state();
        let running = state.running.as_ref().filter(|running| running.id == id);
        running.inspect(|running| running.stop.cancel()).is_some()
    }
}

/// Handle of a running job for the code that executes it. The job ends when the handle is dropped.
#[derive(Debug)]
pub struct Job {
    id: u64,
    stop: CancellationToken,
    jobs: Jobs,
}

impl Job {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns `true` until the job is stopped.
    pub fn goes_on(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Returns a token that is cancelled when a user stops the job.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn report(&self, progress: JobProgress) {
        if let Some(running) = self.jobs.state().running.as_mut().filter(|running| running.id == self.id) {
            running.progress = progress;
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.jobs.state().running.take_if(|running| running.id == self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_job_is_refused_while_one_runs_and_a_stop_needs_the_job_id() {
        let jobs = Jobs::default();
        let audit = jobs.begin(JobKind::Audit, "jo", 1).unwrap();
        assert_eq!(jobs.begin(JobKind::Find, "mo", 2).unwrap_err().by, "jo");
        audit.report(JobProgress { what: "reading".to_owned(), done: 1, of: Some(2) });
        assert_eq!(jobs.running().unwrap().progress.done, 1);
        assert!(!jobs.stop(audit.id() + 1) && audit.goes_on());
        assert!(jobs.stop(audit.id()) && !audit.goes_on() && jobs.running().unwrap().is_stopping());
        drop(audit);
        assert!(jobs.running().is_none() && !jobs.stop(1));
        let find = jobs.begin(JobKind::Find, "mo", 3).unwrap();
        assert!(find.goes_on() && find.id() == 2);
    }
}
