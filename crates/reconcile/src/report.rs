//! The result of an audit.

use contract::Position;

use crate::fact::IdHash;

/// Numbers of dead-lettered records, by the state of their dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Records with an unresolved dead letter.
    pub open: u64,
    /// Records that were replayed.
    pub replayed: u64,
    /// Records that were discarded.
    pub discarded: u64,
}

impl DeadLetterCounts {
    /// The number of dead-lettered records in all states.
    #[must_use]
    pub fn total(self) -> u64 {
        self.open + self.replayed + self.discarded
    }
}

/// Numbers of raw records by outcome. The columns from `typed` to `unexplained`, except `late`, add up to `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawColumns {
    /// Records in the audited range.
    pub records: u64,
    /// Records that became a typed record.
    pub typed: u64,
    /// Records that became a dead letter of the transformer.
    pub dead_lettered: DeadLetterCounts,
    /// Records whose event was already mapped from an earlier record.
    pub duplicates: u64,
    /// Records with the body of `customerio-aep check`, which the transformer does not pass on.
    pub checks: u64,
    /// Records at or after the transformer's committed offset.
    pub ahead: u64,
    /// Part of `ahead`: records that were written before
    /// [`Reconciliation::late_before`](method@crate::Reconciliation::late_before).
    pub late: u64,
    /// Records whose outcome is unverifiable, because the records that would prove it may have expired.
    pub expired: u64,
    /// Records with none of the other outcomes.
    pub unexplained: u64,
    /// Part of `records`: records that a replay wrote.
    pub replays: u64,
    /// Outcomes that a record has in addition to its first one: a breach of exactly-once.
    pub doubled: u64,
    /// Offsets that expired before the transformer committed them. At most this many records are lost.
    pub expired_unread: u64,
}

/// Numbers of typed records by outcome. The columns from `accepted` to `unexplained`, except `late`, add up to
/// `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypedColumns {
    /// Records in the audited range.
    pub records: u64,
    /// Records with a receipt of their acceptance.
    pub accepted: u64,
    /// Records before the sink's committed offset that have no dead letter and whose receipt may have expired or was
    /// never written.
    pub inferred: u64,
    /// Records that Platform accepted first and rejected later.
    pub rejected_later: DeadLetterCounts,
    /// Records that became a dead letter of the sink.
    pub dead_lettered: DeadLetterCounts,
    /// Records at or after the sink's committed offset.
    pub ahead: u64,
    /// Part of `ahead`: records that were written before
    /// [`Reconciliation::late_before`](method@crate::Reconciliation::late_before).
    pub late: u64,
    /// Records whose outcome is unverifiable, because the records that would prove it may have expired.
    pub expired: u64,
    /// Records with none of the other outcomes.
    pub unexplained: u64,
    /// Part of `records`: records that a replay wrote.
    pub replays: u64,
    /// Part of `records`: records whose event was mapped before from another raw record, without a breach. Either the
    /// earlier mapping is outside the dedup window, or the raw record of this record is a replay or is not known.
    /// Profile drops a repeated `_id`.
    pub repeats: u64,
    /// Like `repeats`, but in the same partition within the dedup window: a breach.
    pub repeats_within: u64,
    /// Like `repeats`, but in another partition within the dedup window, although both records have a key and added
    /// partitions do not explain the repeat: a breach.
    pub repeats_elsewhere: u64,
    /// Like `repeats`, but in another partition within the dedup window, and one of the two records has no key: a
    /// breach.
    pub repeats_without_key: u64,
    /// Like `repeats`, but in another partition within the dedup window, because partitions were added between the two
    /// deliveries.
    pub repeats_after_growth: u64,
    /// Like `repeats`, but requested: the raw record has the header `reprocess`.
    pub reprocessed: u64,
    /// Part of `accepted` and `rejected_later`: records that also have a dead letter of the sink, from an earlier
    /// request.
    pub also_dead_lettered: u64,
    /// Records whose raw record does not exist: a breach.
    pub orphans: u64,
    /// Offsets that expired before the sink committed them. At most this many records are lost.
    pub expired_unread: u64,
}

/// Numbers of dead letters that are not the outcome of an audited record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// Dead letters of the gateway, for bodies that no raw record could hold.
    pub gateway: DeadLetterCounts,
    /// Rejections after acceptance whose typed record had expired, so that the dead letter contains only the row of the
    /// failed batch.
    pub rejected_rows: DeadLetterCounts,
    /// Dead letters whose original record is in another topic.
    pub elsewhere: u64,
    /// Additional dead letters for the same record or row. After a crash before the commit, the sink writes a dead
    /// letter again.
    pub written_again: u64,
}

/// A topic whose records get an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Raw records.
    Raw,
    /// Typed records.
    Typed,
}

/// Kinds of problems that the audit finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// The record is before the committed offset of its reader, and no record shows its outcome.
    Unexplained,
    /// The record has been ahead of its reader's committed offset for too long.
    Late,
    /// A receipt contains the refusal of the record, but there is no dead letter.
    RefusedWithoutDeadLetter,
    /// The typed record that was mapped from this raw record contains another event.
    OtherEvent,
    /// The record has more than one outcome.
    Doubled,
    /// The raw record from which the typed record was mapped does not exist.
    Orphan,
    /// The event was already mapped in the same partition within the dedup window.
    Repeated,
    /// The event was already mapped in another partition within the dedup window, and added partitions do not explain
    /// the repeat.
    RepeatedElsewhere,
    /// The event was already mapped in another partition within the dedup window, and one of the two records has no
    /// key.
    RepeatedWithoutKey,
}

/// A record for which the audit found a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// Kind of the problem.
    pub kind: FindingKind,
    /// Topic of the record.
    pub topic: Topic,
    /// Position of the record.
    pub position: Position,
    /// Hash of the event id, if the record has an event.
    pub id: Option<IdHash>,
}

/// The result of an audit: counts of all audited records, and the findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Counts of the raw records.
    pub raw: RawColumns,
    /// Counts of the typed records.
    pub typed: TypedColumns,
    /// Counts of the dead letters that are not the outcome of an audited record.
    pub dead_letters: DeadLetters,
    /// All findings, sorted by topic and position.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the audit found no problem: there are no findings, and no record expired before it was read.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.findings.is_empty() && self.raw.expired_unread == 0 && self.typed.expired_unread == 0
    }
}
