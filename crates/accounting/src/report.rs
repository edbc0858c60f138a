//! The result.

use crate::fact::{IdHash, Place};

/// Dead letters by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Nobody has closed them.
    pub open: u64,
    /// Their records were written again.
    pub replayed: u64,
    /// Somebody decided to do without them.
    pub discarded: u64,
}

impl LetterCounts {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.open + self.replayed + self.discarded
    }
}

/// What became of the raw records. All columns down to `unexplained` sum up to `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawColumns {
    /// Records in the range.
    pub records: u64,
    /// Became a typed record.
    pub typed: u64,
    /// Became a dead letter of the transformer.
    pub dead_lettered: LetterCounts,
    /// Their event had been typed already, of an earlier record.
    pub duplicates: u64,
    /// The transformer has not committed so far yet.
    pub ahead: u64,
    /// Of `ahead`: written too long ago.
    pub late: u64,
    /// What would prove it may have expired.
    pub expired: u64,
    /// None of these.
    pub unexplained: u64,
    /// Of `records`: written by a replay.
    pub replays: u64,
    /// Outcomes beyond the first of one record: a breach of exactly-once.
    pub doubled: u64,
    /// Offsets that expired before the transformer committed them: at the most so many records are lost.
    pub expired_unread: u64,
}

/// What became of the typed records. All columns down to `unexplained` sum up to `records`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypedColumns {
    /// Records in the range.
    pub records: u64,
    /// There is a receipt.
    pub accepted: u64,
    /// There is no receipt to be had, but the sink has committed them and no dead letter names them.
    pub inferred: u64,
    /// Became a dead letter of the sink.
    pub dead_lettered: LetterCounts,
    /// The sink has not committed so far yet.
    pub ahead: u64,
    /// Of `ahead`: written too long ago.
    pub late: u64,
    /// What would prove it may have expired.
    pub expired: u64,
    /// None of these.
    pub unexplained: u64,
    /// Of `records`: written by a replay.
    pub replays: u64,
    /// Of `records`: their event had been typed before, of another raw record, beyond the dedup window. Platform drops
    /// what repeats an `_id`.
    pub repeats: u64,
    /// As `repeats`, but in the same partition within the dedup window: a breach.
    pub repeats_within: u64,
    /// As `repeats`, but within the dedup window in another partition than the key's: a breach.
    pub repeats_elsewhere: u64,
    /// As `repeats`, but within the dedup window in another partition, without a key that would have kept the two together:
    /// a breach.
    pub repeats_without_key: u64,
    /// As `repeats`, but within the dedup window in another partition because partitions were added between the two.
    pub repeats_after_growth: u64,
    /// As `repeats`, but asked for: the raw record had the header `reprocess`.
    pub reprocessed: u64,
    /// Of `records`: Platform rejected them after it had accepted them.
    pub rejected_later: u64,
    /// Of `accepted`: there is a dead letter of the sink as well, from a send before the one that worked.
    pub also_dead_lettered: u64,
    /// Made of a raw record that is not there, or that has another event: a breach.
    pub orphans: u64,
    /// Offsets that expired before the sink committed them: at the most so many records are lost.
    pub expired_unread: u64,
}

/// Dead letters that belong to no record of the range's two topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Letters {
    /// The gateway's: bodies that no raw record could hold.
    pub gateway: LetterCounts,
    /// They name another topic.
    pub elsewhere: u64,
    /// The sink's beyond the first of one record: a crash before the commit writes one again.
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
    /// Behind the committed offset, and nothing says what became of it.
    Unexplained,
    /// It has been ahead of its reader's committed offset for too long.
    Late,
    /// A receipt says that it was refused, but there is no dead letter.
    RefusedWithoutLetter,
    /// Its typed record holds another event.
    OtherEvent,
    /// It has more than one outcome.
    Doubled,
    /// It was made of a raw record that does not exist.
    Orphan,
    /// Its event was typed before in its partition, within the dedup window.
    Repeated,
    /// Its event was typed before in another partition within the dedup window, and no added partitions explain it.
    RepeatedElsewhere,
    /// Its event was typed before in another partition within the dedup window: one of the two has no key.
    RepeatedWithoutKey,
}

/// A record that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The topic it lies in.
    pub topic: Topic,
    /// Where it lies.
    pub place: Place,
    /// Its event, if it has one.
    pub id: Option<IdHash>,
}

/// The closed books.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The raw records.
    pub raw: RawColumns,
    /// The typed records.
    pub typed: TypedColumns,
    /// The other dead letters.
    pub letters: Letters,
    /// Every record that is wrong, by topic and place.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every record of the range is where it should be.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.findings.is_empty() && self.raw.expired_unread == 0 && self.typed.expired_unread == 0
    }
}
