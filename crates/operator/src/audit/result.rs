//! The result of an audit.

use kafka::TopicName;
use reconcile::{Finding, Report};

use super::note::Note;

/// Result of an audit.
#[derive(Debug)]
pub struct Audit {
    /// Outcomes of all records, and all records with a problem.
    pub report: Report,
    /// The first findings of the report, each with the id of its event.
    pub findings: Vec<NamedFinding>,
    /// Services that have no committed offset in the topic that they read, although records were written to it.
    pub missing_readers: Vec<MissingReader>,
    /// Notes that are needed to interpret the numbers.
    pub notes: Vec<Note>,
    /// Number of partitions of the raw topic.
    pub partitions: usize,
    /// Number of records read from all topics.
    pub records_read: u64,
}

impl Audit {
    /// Whether every record has exactly one outcome or may still get one, and every service has committed offsets.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.report.balances() && self.missing_readers.is_empty()
    }

    /// Whether no record is ahead of a committed offset: the services have processed every record.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.report.raw.ahead == 0 && self.report.typed.ahead == 0
    }
}

/// A record with a problem, with the id of its event.
#[derive(Debug, Clone)]
pub struct NamedFinding {
    /// Position and problem of the record.
    pub finding: Finding,
    /// Id of the event; `None` if the record could not be read.
    pub event_id: Option<String>,
}

/// A service that has no committed offset in the topic that it reads, although records were written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingReader {
    /// Consumer group of the service; `None` if the caller passed the committed offsets to the audit.
    pub group: Option<String>,
    /// Topic that the service reads.
    pub topic: TopicName,
}
