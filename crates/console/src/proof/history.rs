//! Keeps the last audits that have ended, until the console restarts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::{AuditSource, Finished, Range};

/// Maximum number of results that are kept.
const KEPT: usize = 20;

/// Outcome of an audit.
#[derive(Debug)]
pub(super) enum Outcome {
    Explained(Finished),
    Unexplained(Finished),
    Stopped,
    /// The audit ended with this error.
    Failed(String),
}

impl Outcome {
    pub(super) fn finished(&self) -> Option<&Finished> {
        match self {
            Self::Explained(finished) | Self::Unexplained(finished) => Some(finished),
            Self::Stopped | Self::Failed(_) => None,
        }
    }
}

/// An audit that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Id of the audit's job.
    pub(super) id: u64,
    /// End time: milliseconds since 1970.
    pub(super) at: i64,
    pub(super) by: String,
    pub(super) range: Range,
    pub(super) outcome: Outcome,
}

/// State of the screen Proof: the source of audits and the last results.
#[derive(Debug)]
pub struct Proof {
    source: Box<dyn AuditSource>,
    ended: Mutex<VecDeque<Arc<Ended>>>,
}

impl Proof {
    /// Creates a screen that runs its audits with this source.
    pub fn new(source: impl AuditSource) -> Self {
        Self { source: Box::new(source), ended: Mutex::default() }
    }

    pub(super) fn source(&self) -> &dyn AuditSource {
        &*self.source
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<Ended>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, ended: Ended) {
        let mut list = self.list();
        list.push_front(Arc::new(ended));
        list.truncate(KEPT);
    }

    /// Returns the audits that have ended, the newest first.
    pub(super) fn ended(&self) -> Vec<Arc<Ended>> {
        self.list().iter().cloned().collect()
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Ended>> {
        self.list().iter().find(|ended| ended.id == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Silent;

    #[test]
    fn only_the_20_newest_audit_results_are_kept() {
        let proof = Proof::new(Silent);
        for id in 0..100 {
            proof.keep(Ended { id, at: 0, by: "jo".to_owned(), range: Range::default(), outcome: Outcome::Stopped });
        }
        assert_eq!((proof.ended().len(), proof.ended()[0].id), (KEPT, 99));
        assert!(proof.find(99).is_some() && proof.find(0).is_none());
    }
}
