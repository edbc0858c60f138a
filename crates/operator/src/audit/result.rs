//! The result of an audit.

use kafka::TopicName;
use reconcile::{Finding, Report};

use super::note::Note;

/// The result of an audit.
#[derive(Debug)]
pub struct Audit {
    /// The outcomes of all records, and every record with a problem.
    pub report: Report,
    /// The first of the report's findings, with the ids of their events.
    pub findings: Vec<NamedFinding>,
    /// Services that have committed nothing in a topic that contains records, or did.
    pub missing_readers: Vec<MissingReader>,
    /// Notes that are needed to interpret the numbers.
    pub notes: Vec<Note>,
    /// Partitions of the raw topic.
    pub partitions: usize,
    /// Records read from all topics.
    pub records_read: u64,
}

impl Audit {
    /// Whether every record is where it should be or may still get there, and every service has committed offsets.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.report.balances() && self.missing_readers.is_empty()
    }

    /// Whether no record is waiting for a service.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.report.raw.ahead == 0 && self.report.typed.ahead == 0
    }
}

/// A record with a problem, and the id of its event.
#[derive(Debug, Clone)]
pub struct NamedFinding {
    /// The record and its problem.
    pub finding: Finding,
    /// The id, if the record could be read.
    pub event_id: Option<String>,
}

/// A service without a committed offset in a topic that contains records, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingReader {
    /// Its group; `None` if the caller handed the offsets to the audit.
    pub group: Option<String>,
    /// The topic that it reads.
    pub topic: TopicName,
}
