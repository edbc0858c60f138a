//! Facts: the parts of a record that the audit needs. One fact describes one record of one topic.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use contract::Position;
use contract::dead_letter::{ResolutionKind, Stage};
use contract::receipt::ReceiptVerdict;

/// A 128-bit hash of an event id. The probability that any two of a billion ids have the same hash is below 10^-20.
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

/// Hash of a record key, computed as in Kafka's partitioner: with `count` partitions, the record goes to partition
/// `hash % count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u32);

impl KeyHash {
    /// Returns the partition of a record with this key if the topic has `count` partitions.
    pub(crate) fn partition(self, count: u32) -> Option<i32> {
        i32::try_from(self.0.checked_rem(count)?).ok()
    }
}

/// A record of the raw topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord {
    /// Position of the record in the raw topic.
    pub position: Position,
    /// Id of the event as the mapping derives it; `None` if the mapping rejects the body.
    pub id: Option<IdHash>,
    /// Time at which the record was written: milliseconds since 1970.
    pub time: i64,
    /// Whether the record has the header `reprocess`: its event is mapped even if it was mapped before, so the record
    /// is never a duplicate.
    pub reprocess: bool,
    /// Whether a replay wrote the record.
    pub replay: bool,
    /// Whether the body is the test body of `customerio-aep check`, which the transformer does not pass on.
    pub check: bool,
}

/// A record of the typed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypedRecord {
    /// Position of the record in the typed topic.
    pub position: Position,
    /// Offset of the raw record that the typed record was mapped from; `None` if the header is missing.
    pub raw_offset: Option<i64>,
    /// Id of the event.
    pub id: IdHash,
    /// Time at which the record was written: milliseconds since 1970.
    pub time: i64,
    /// Time at which the gateway received the webhook: milliseconds since 1970.
    pub received: i64,
    /// Hash of the record key, which is also the key of the raw record; `None` if the record has no key.
    pub key: Option<KeyHash>,
    /// Whether a replay wrote an existing typed record again, without mapping the raw record again.
    pub replay: bool,
}

/// The original record of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOrigin {
    /// A record of the raw topic.
    Raw(Position),
    /// A record of the typed topic.
    Typed(Position),
    /// The dead letter does not name an original record.
    None,
    /// A record of a topic that the audit does not read.
    Elsewhere,
}

/// A dead letter on the dead-letter topic, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    /// Position of the dead letter in the dead-letter topic.
    pub position: Position,
    /// Stage that wrote the dead letter.
    pub stage: Stage,
    /// The original record of the dead letter.
    pub origin: DeadLetterOrigin,
    /// For a rejection after acceptance, the hash of the event and of Platform's failed batch. Two dead letters with
    /// the same value belong to one rejection.
    pub rejection: Option<IdHash>,
}

/// A record of the dead-letter topic that resolves a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Position of the resolved dead letter.
    pub dead_letter: Position,
    /// Whether the dead letter was replayed or discarded.
    pub kind: ResolutionKind,
}

/// The entry of a receipt for one typed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Position of the typed record.
    pub typed: Position,
    /// Id of the event.
    pub id: IdHash,
    /// Platform's decision on the typed record.
    pub verdict: ReceiptVerdict,
}

/// The part of a partition's history that the partition still contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// The whole history: no record has expired.
    Whole,
    /// Records that were written before this time, in milliseconds since 1970, may have expired.
    Since(i64),
}

impl Retained {
    /// Whether a record with this write time may have expired.
    #[must_use]
    pub fn may_lack(self, time: i64) -> bool {
        matches!(self, Self::Since(since) if time < since)
    }
}

/// The size of the transformer's dedup window: how far back in a partition the transformer recognises an earlier record
/// of the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupReach {
    /// Maximum difference between the receive times (`received-at`) of the two records, in milliseconds.
    pub window: i64,
    /// Maximum distance between the two records, in typed records.
    pub ids: i64,
    /// Number of partitions of the raw topic, over which its records are spread by their keys.
    pub partitions: u32,
}

/// Whether the sink writes receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// The sink does not write receipts. Only its committed offset shows which records it has processed.
    Off,
    /// The sink writes receipts, of which this part is retained.
    Kept(Retained),
}

/// One partition number of the raw and the typed topic: the audited offsets and the committed offsets of the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionScope {
    /// Audited offsets of the raw partition.
    pub raw: Range<i64>,
    /// Audited offsets of the typed partition. Typed records of audited raw records are audited as well.
    pub typed: Range<i64>,
    /// Oldest retained offset of the raw partition.
    pub raw_log_start: i64,
    /// Oldest retained offset of the typed partition.
    pub typed_log_start: i64,
    /// Committed offset of the transformer, read before the topics; `None` if it has not committed one.
    pub transformer: Option<i64>,
    /// Committed offset of the sink, read before the topics; `None` if it has not committed one.
    pub sink: Option<i64>,
    /// Retained part of the typed partition.
    pub typed_retained: Retained,
    /// Whether a record was ever written to the typed partition.
    pub typed_ever: bool,
    /// Retained part of the dead-letter partition.
    pub dead_letters_retained: Retained,
}
