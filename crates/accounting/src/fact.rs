//! The facts: what one record of one topic says, no more.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// A record's place in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// An event id, in 128 bits: two ids of a billion share one with a chance below one in 10^20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash([u64; 2]);

impl IdHash {
    /// The hash of an id. It is stable within one build only; nothing keeps it.
    #[must_use]
    pub fn of(id: &[u8]) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, id).hash(&mut hasher);
            hasher.finish()
        };
        Self([half(1), half(2)])
    }
}

/// What Kafka's partitioner makes of a record's key: of `count` partitions the record goes to number `hash % count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u32);

impl KeyHash {
    /// The partition of a record with this key when the topic has `count` partitions.
    pub(crate) fn partition(self, count: u32) -> Option<i32> {
        i32::try_from(self.0.checked_rem(count)?).ok()
    }
}

/// A record of the raw topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// Where it lies.
    pub place: Place,
    /// The id of its event as the mapping finds it; `None` for a body that the mapping rejects.
    pub id: Option<IdHash>,
    /// When it was written: milliseconds since 1970.
    pub time: i64,
    /// It asks to be mapped even if its event was mapped before: it is never a duplicate.
    pub reprocess: bool,
    /// It was written by a replay.
    pub replay: bool,
}

/// A record of the typed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedRecord {
    /// Where it lies.
    pub place: Place,
    /// Offset of the raw record it was made of; `None` if it does not say.
    pub raw_offset: Option<i64>,
    /// The id of its event.
    pub id: IdHash,
    /// When it was written: milliseconds since 1970.
    pub time: i64,
    /// When the gateway received what it was made of: milliseconds since 1970.
    pub received: i64,
    /// Of its key, which is its raw record's; `None` if it has no key.
    pub key: Option<KeyHash>,
    /// It is a typed record written again by a replay, not made of its raw record anew.
    pub replay: bool,
}

/// Who wrote a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The gateway: a body that it could not store.
    Gateway,
    /// The transformer: a raw record that it could not map.
    Transformer,
    /// The sink: a typed record that Platform refused.
    Sink,
    /// Platform: it rejected a record after it had accepted it.
    Platform,
}

/// The record a dead letter was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterOrigin {
    /// A record of the raw topic.
    Raw(Place),
    /// A record of the typed topic.
    Typed(Place),
    /// The letter names none.
    None,
    /// A record of a topic that is not looked at.
    Elsewhere,
}

/// A dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies.
    pub place: Place,
    /// Who wrote it.
    pub stage: Stage,
    /// What it was made of.
    pub origin: LetterOrigin,
}

/// How a dead letter was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResolutionKind {
    /// Its record was written again.
    Replayed,
    /// Somebody decided to do without it.
    Discarded,
}

/// The record that closes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Where the letter lies that it closes.
    pub letter: Place,
    /// How.
    pub kind: ResolutionKind,
}

/// What a receipt says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Platform has it.
    Accepted,
    /// Platform refused it; there is a dead letter.
    Refused,
}

/// One record's entry of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Where the typed record lies.
    pub typed: Place,
    /// The id of its event.
    pub id: IdHash,
    /// What became of it.
    pub verdict: Verdict,
}

/// Since when a topic's partition holds everything that was ever written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing has expired.
    Whole,
    /// What was written before this time, in milliseconds since 1970, may have expired.
    Since(i64),
}

impl Evidence {
    /// Whether a record written at this time may have expired.
    #[must_use]
    pub fn may_lack(self, time: i64) -> bool {
        matches!(self, Self::Since(since) if time < since)
    }
}

/// How far back the transformer looks for an event's earlier record, in the partition of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupReach {
    /// In milliseconds between the two times of receipt.
    pub window: i64,
    /// In typed records.
    pub ids: i64,
    /// Over how many partitions the raw topic's records are spread by their keys.
    pub partitions: u32,
}

/// Which receipts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// None: the sink's committed offsets have to do.
    Off,
    /// Those that this says.
    Kept(Evidence),
}

/// One partition number of the raw and the typed topic: what is audited, and how far the services have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The raw offsets audited.
    pub raw: Range<i64>,
    /// The typed offsets audited; those made of the raw range are audited too.
    pub typed: Range<i64>,
    /// Oldest raw offset retained.
    pub raw_log_start: i64,
    /// Oldest typed offset retained.
    pub typed_log_start: i64,
    /// The transformer's committed offset, read before the topics were.
    pub transformer: Option<i64>,
    /// The sink's, likewise.
    pub sink: Option<i64>,
    /// What the typed topic still proves.
    pub typed_evidence: Evidence,
    /// Whether anything was ever written to the typed partition.
    pub typed_ever: bool,
    /// What the dead-letter topic still proves.
    pub letter_evidence: Evidence,
}
