//! Shows a running job on a page.

use crate::access::User;
use crate::format::Moment;
use crate::jobs::{JobKind, Running};
use crate::stop::may_stop;

/// A running job in the form that templates need.
pub(crate) struct JobView {
    pub(crate) id: u64,
    pub(crate) kind: JobKind,
    pub(crate) name: &'static str,
    pub(crate) by: String,
    pub(crate) since: Moment,
    pub(crate) what: String,
    /// Progress in thousandths; `None` if the total is not known.
    pub(crate) done: Option<u64>,
    pub(crate) is_stopping: bool,
    pub(crate) may_stop: bool,
}

impl JobView {
    /// Describes a job for a page of this user.
    pub(crate) fn of(running: &Running, user: &User) -> Self {
        let progress = &running.progress;
        Self {
            id: running.id,
            kind: running.kind,
            name: running.kind.name(),
            by: running.by.clone(),
            since: Moment::of_millis(running.since),
            what: if progress.what.is_empty() { "starting".to_owned() } else { progress.what.clone() },
            done: progress.of.filter(|of| *of > 0).map(|of| progress.done.min(of).saturating_mul(1000) / of),
            is_stopping: running.is_stopping(),
            may_stop: may_stop(running, user),
        }
    }

    /// Returns whether the job is an audit. The screen Proof reloads the progress of an audit every second, and of no
    /// other job.
    pub(crate) fn is_audit(&self) -> bool {
        self.kind == JobKind::Audit
    }
}
