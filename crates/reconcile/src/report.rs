//! The result of an audit.

use contract::Position;

use crate::fact::IdHash;

/// Dead letters by their state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// They have no resolution.
    pub open: u64,
    /// Their records were written again.
    pub replayed: u64,
    /// A person decided to discard them.
    pub discarded: u64,
}

impl DeadLetterCounts {
    /// The number of all dead letters.
    #[must_use]
    pub fn total(self) -> u64 {
        self.open + self.replayed + self.discarded
    }
}

/// The outcomes of the raw records. All columns down to `unexplained` sum up to `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawColumns {
    /// Records in the range.
    pub records: u64,
    /// The record became a typed record.
    pub typed: u64,
    /// The record became a dead letter of the transformer.
    pub dead_lettered: DeadLetterCounts,
    /// The event was already typed from an earlier record.
    pub duplicates: u64,
    /// The body of `customerio-aep check`, which the transformer does not pass on.
    pub checks: u64,
    /// The transformer has not committed this offset yet.
    pub ahead: u64,
    /// Part of `ahead`: written too long ago.
    pub late: u64,
    /// The records that would prove the outcome may have expired.
    pub expired: u64,
    /// None of the other outcomes.
    pub unexplained: u64,
    /// Part of `records`: written by a replay.
    pub replays: u64,
    /// Additional outcomes of records that already have one: a breach of exactly-once.
    pub doubled: u64,
    /// Offsets that expired before the transformer committed them: at most this many records are lost.
    pub expired_unread: u64,
}

/// The outcomes of the typed records. All columns down to `unexplained` sum up to `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypedColumns {
    /// Records in the range.
    pub records: u64,
    /// There is a receipt.
    pub accepted: u64,
    /// No receipt can exist, but the sink has committed the offset and no dead letter names the record.
    pub inferred: u64,
    /// Platform had accepted the record, and rejected it afterwards.
    pub rejected_later: DeadLetterCounts,
    /// The record became a dead letter of the sink.
    pub dead_lettered: DeadLetterCounts,
    /// The sink has not committed this offset yet.
    pub ahead: u64,
    /// Part of `ahead`: written too long ago.
    pub late: u64,
    /// The records that would prove the outcome may have expired.
    pub expired: u64,
    /// None of the other outcomes.
    pub unexplained: u64,
    /// Part of `records`: written by a replay.
    pub replays: u64,
    /// Part of `records`: the event was typed before from another raw record, outside the dedup window. Platform drops
    /// a repeated `_id`.
    pub repeats: u64,
    /// As `repeats`, but in the same partition within the dedup window: a breach.
    pub repeats_within: u64,
    /// As `repeats`, but within the dedup window in another partition than the key's: a breach.
    pub repeats_elsewhere: u64,
    /// As `repeats`, but within the dedup window in another partition, because the records have no key that would have
    /// kept them together: a breach.
    pub repeats_without_key: u64,
    /// As `repeats`, but within the dedup window in another partition, because partitions were added between the two.
    pub repeats_after_growth: u64,
    /// As `repeats`, but on request: the raw record had the header `reprocess`.
    pub reprocessed: u64,
    /// Part of `accepted` and `rejected_later`: there is also a dead letter of the sink, from an earlier request.
    pub also_dead_lettered: u64,
    /// The raw record does not exist or has another event: a breach.
    pub orphans: u64,
    /// Offsets that expired before the sink committed them: at most this many records are lost.
    pub expired_unread: u64,
}

/// Dead letters that belong to no record of the range's two topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// Dead letters of the gateway: bodies that no raw record could hold.
    pub gateway: DeadLetterCounts,
    /// Rejections after acceptance whose typed record had expired: the dead letters hold only the rows.
    pub rejected_rows: DeadLetterCounts,
    /// Dead letters that name another topic.
    pub elsewhere: u64,
    /// Additional dead letters of the sink for the same record or row: after a crash before the commit, the sink writes a
    /// dead letter again.
    pub written_again: u64,
}

/// A topic that is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// The raw topic.
    Raw,
    /// The typed topic.
    Typed,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// The record is before the committed offset, and no record says what its outcome is.
    Unexplained,
    /// The record has been ahead of its reader's committed offset for too long.
    Late,
    /// A receipt says that the record was refused, but there is no dead letter.
    RefusedWithoutDeadLetter,
    /// The typed record has another event.
    OtherEvent,
    /// The record has more than one outcome.
    Doubled,
    /// The raw record that it names does not exist.
    Orphan,
    /// The event was typed before in the same partition, within the dedup window.
    Repeated,
    /// The event was typed before in another partition within the dedup window, and no added partitions explain it.
    RepeatedElsewhere,
    /// The event was typed before in another partition within the dedup window: one of the two records has no key.
    RepeatedWithoutKey,
}

/// A record for which the audit found a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// The problem.
    pub kind: FindingKind,
    /// The topic of the record.
    pub topic: Topic,
    /// The position of the record.
    pub position: Position,
    /// Its event, if it has one.
    pub id: Option<IdHash>,
}

/// The result for all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The raw records.
    pub raw: RawColumns,
    /// The typed records.
    pub typed: TypedColumns,
    /// The other dead letters.
    pub dead_letters: DeadLetters,
    /// Every record with a problem, by topic and position.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every record of the range has exactly one outcome, or may still get one.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.findings.is_empty() && self.raw.expired_unread == 0 && self.typed.expired_unread == 0
    }
}
