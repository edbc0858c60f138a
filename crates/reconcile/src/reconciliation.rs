//! Collects the facts of an audit, in any order and in a compact form (about 100 bytes for an event with all its
//! records).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::Position;
use contract::dead_letter::{ResolutionKind, Stage};
use contract::receipt::ReceiptVerdict;

use crate::fact::{
    DeadLetter, DeadLetterOrigin, DedupReach, IdHash, KeyHash, PartitionScope, RawRecord, Receipt, Receipts,
    Resolution, TypedRecord,
};

/// A raw record without its partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) id: Option<IdHash>,
    pub(crate) reprocess: bool,
    pub(crate) replay: bool,
    pub(crate) check: bool,
}

/// A typed record without its partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed {
    pub(crate) offset: i64,
    /// -1 if the typed record does not name its raw record.
    pub(crate) raw_offset: i64,
    pub(crate) time: i64,
    pub(crate) received: i64,
    pub(crate) id: IdHash,
    pub(crate) key: Option<KeyHash>,
    pub(crate) replay: bool,
}

/// The facts about one partition number, from all topics.
#[derive(Debug, Default)]
pub(crate) struct PartitionFacts {
    pub(crate) raw: Vec<Raw>,
    pub(crate) typed: Vec<Typed>,
    /// Offsets of typed records that Platform has accepted, with the ids of their events.
    pub(crate) accepted: Vec<(i64, IdHash)>,
    /// Offsets of typed records that Platform has refused.
    pub(crate) refused: BTreeSet<i64>,
}

/// All facts of an audit. [`Self::classify`] must be called after the last fact was added.
#[derive(Debug)]
pub struct Reconciliation {
    pub(crate) scopes: BTreeMap<i32, PartitionScope>,
    pub(crate) receipts: Receipts,
    pub(crate) dedup: DedupReach,
    /// Records that are ahead and were written before this time are late.
    pub(crate) late_before: i64,
    pub(crate) partitions: BTreeMap<i32, PartitionFacts>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) resolutions: HashMap<Position, ResolutionKind>,
}

impl Reconciliation {
    /// Creates a reconciliation of these partitions without facts. `dedup` is the transformer's dedup window: an event
    /// that was mapped twice within the window is a breach. If typed records have expired, a raw record that follows
    /// them within the window may be a duplicate of one of them.
    #[must_use]
    pub fn new(scopes: BTreeMap<i32, PartitionScope>, receipts: Receipts, dedup: DedupReach) -> Self {
        Self {
            scopes,
            receipts,
            dedup,
            late_before: i64::MIN,
            partitions: BTreeMap::new(),
            dead_letters: Vec::new(),
            resolutions: HashMap::new(),
        }
    }

    /// Sets the time (Unix milliseconds) before which a record that is ahead of its reader's committed offset is late,
    /// which is a finding. Without this call, no record is late.
    #[must_use]
    pub fn late_before(self, late_before: i64) -> Self {
        Self { late_before, ..self }
    }

    fn partition(&mut self, position: Position) -> &mut PartitionFacts {
        self.partitions.entry(position.partition.0).or_default()
    }

    /// Adds a record of the raw topic. A record outside the audited range does not get an outcome.
    pub fn raw(&mut self, record: RawRecord) {
        let RawRecord { position, id, time, reprocess, replay, check } = record;
        self.partition(position).raw.push(Raw { offset: position.offset.0, time, id, reprocess, replay, check });
    }

    /// Adds a record of the typed topic. A record outside the audited range also proves the outcome of its raw record,
    /// and proves that later raw records of the event are duplicates.
    pub fn typed(&mut self, record: TypedRecord) {
        let TypedRecord { position, raw_offset, id, time, received, key, replay } = record;
        let raw_offset = raw_offset.unwrap_or(-1);
        self.partition(position).typed.push(Typed {
            offset: position.offset.0,
            raw_offset,
            time,
            received,
            id,
            key,
            replay,
        });
    }

    /// Adds a dead letter.
    pub fn dead_letter(&mut self, dead_letter: DeadLetter) {
        self.dead_letters.push(dead_letter);
    }

    /// Adds a resolution. If a dead letter has several resolutions, the first one counts.
    pub fn resolution(&mut self, resolution: Resolution) {
        self.resolutions.entry(resolution.dead_letter).or_insert(resolution.kind);
    }

    /// Adds an entry of a receipt.
    pub fn receipt(&mut self, receipt: Receipt) {
        let offset = receipt.typed.offset.0;
        let partition = self.partition(receipt.typed);
        match receipt.verdict {
            ReceiptVerdict::Accepted => partition.accepted.push((offset, receipt.id)),
            ReceiptVerdict::Refused => {
                partition.refused.insert(offset);
            }
        }
    }

    /// Returns the positions of the stage's dead letters, by the position of their original record.
    pub(crate) fn by_origin(&self, stage: Stage) -> HashMap<Position, Vec<Position>> {
        let mut found: HashMap<Position, Vec<Position>> = HashMap::new();
        for dead_letter in self.dead_letters.iter().filter(|dead_letter| dead_letter.stage == stage) {
            if let DeadLetterOrigin::Raw(origin) | DeadLetterOrigin::Typed(origin) = dead_letter.origin {
                found.entry(origin).or_default().push(dead_letter.position);
            }
        }
        found
    }
}
