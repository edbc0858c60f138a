//! The facts: the content of one record of one topic, as far as the audit needs it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use contract::Position;
use contract::dead_letter::{ResolutionKind, Stage};
use contract::receipt::ReceiptVerdict;

/// An event id in 128 bits: two of a billion ids have the same hash with a probability below 10^-20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash([u64; 2]);

impl IdHash {
    /// Hashes an id. The hash is stable only within one build, and is never stored.
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

/// The hash of a record's key in Kafka's partitioner: of `count` partitions, the record goes to number `hash % count`.
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
    /// Its position.
    pub position: Position,
    /// The id of its event as the mapping finds it; `None` for a body that the mapping rejects.
    pub id: Option<IdHash>,
    /// When it was written: milliseconds since 1970.
    pub time: i64,
    /// The record asks to be mapped even if its event was mapped before, so it is never a duplicate.
    pub reprocess: bool,
    /// It was written by a replay.
    pub replay: bool,
    /// It is the body of `customerio-aep check`, which the transformer stops.
    pub check: bool,
}

/// A record of the typed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedRecord {
    /// Its position.
    pub position: Position,
    /// Offset of the raw record that it was mapped from; `None` if it has none.
    pub raw_offset: Option<i64>,
    /// The id of its event.
    pub id: IdHash,
    /// When it was written: milliseconds since 1970.
    pub time: i64,
    /// When the gateway received the webhook: milliseconds since 1970.
    pub received: i64,
    /// Hash of its key, which is the key of its raw record; `None` if it has no key.
    pub key: Option<KeyHash>,
    /// A replay wrote the typed record again; it was not mapped from its raw record again.
    pub replay: bool,
}

/// The original record of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOrigin {
    /// A record of the raw topic.
    Raw(Position),
    /// A record of the typed topic.
    Typed(Position),
    /// The dead letter does not name one.
    None,
    /// A record of a topic that the audit does not read.
    Elsewhere,
}

/// A dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its position.
    pub position: Position,
    /// The stage that wrote it.
    pub stage: Stage,
    /// The original record.
    pub origin: DeadLetterOrigin,
    /// The event and the failed batch of Platform, if Platform rejected it after acceptance: two dead letters with the same
    /// value are one rejection.
    pub rejection: Option<IdHash>,
}

/// The record that resolves a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// The position of the dead letter that it resolves.
    pub dead_letter: Position,
    /// How it was resolved.
    pub kind: ResolutionKind,
}

/// One record's entry of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The position of the typed record.
    pub typed: Position,
    /// The id of its event.
    pub id: IdHash,
    /// The verdict on it.
    pub verdict: ReceiptVerdict,
}

/// Since when a partition still contains every record that was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// Nothing has expired.
    Whole,
    /// Records that were written before this time, in milliseconds since 1970, may have expired.
    Since(i64),
}

impl Retained {
    /// Whether a record written at this time may have expired.
    #[must_use]
    pub fn may_lack(self, time: i64) -> bool {
        matches!(self, Self::Since(since) if time < since)
    }
}

/// How far back the transformer looks for an earlier record of an event, in the partition of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupReach {
    /// In milliseconds between the two times of receipt.
    pub window: i64,
    /// In typed records.
    pub ids: i64,
    /// Number of partitions over which the raw topic's records are spread by their keys.
    pub partitions: u32,
}

/// Whether there are receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// There are none, so the sink's committed offsets must be sufficient.
    Off,
    /// There are receipts, retained since this time.
    Kept(Retained),
}

/// One partition number of the raw and the typed topic: which offsets are audited, and up to which offsets the services
/// have committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionScope {
    /// The raw offsets audited.
    pub raw: Range<i64>,
    /// The typed offsets that are audited; typed records of the raw range are audited too.
    pub typed: Range<i64>,
    /// Oldest raw offset retained.
    pub raw_log_start: i64,
    /// Oldest typed offset retained.
    pub typed_log_start: i64,
    /// The transformer's committed offset, read before the topics.
    pub transformer: Option<i64>,
    /// The sink's committed offset, read before the topics.
    pub sink: Option<i64>,
    /// Since when the typed partition is complete.
    pub typed_retained: Retained,
    /// Whether anything was ever written to the typed partition.
    pub typed_ever: bool,
    /// Since when the dead-letter partition is complete.
    pub dead_letters_retained: Retained,
}
