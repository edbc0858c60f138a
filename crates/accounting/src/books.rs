//! The books: facts collected, compactly (about 100 bytes for an event that went all the way), in any order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::close::Closing;
use crate::fact::{
    DedupReach, Frame, IdHash, KeyHash, Letter, LetterOrigin, Place, RawRecord, Receipt, Receipts, Resolution,
    ResolutionKind, Stage, TypedRecord, Verdict,
};
use crate::report::Report;

/// A raw record without its partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) offset: i64,
    pub(crate) time: i64,
    pub(crate) id: Option<IdHash>,
    pub(crate) reprocess: bool,
    pub(crate) replay: bool,
}

/// A typed record without its partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed {
    pub(crate) offset: i64,
    /// -1 if it does not say.
    pub(crate) raw_offset: i64,
    pub(crate) time: i64,
    pub(crate) received: i64,
    pub(crate) id: IdHash,
    pub(crate) key: Option<KeyHash>,
    pub(crate) replay: bool,
}

/// The facts of one partition number.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) raw: Vec<Raw>,
    pub(crate) typed: Vec<Typed>,
    /// Offsets that Platform has accepted, with the event it was.
    pub(crate) accepted: Vec<(i64, IdHash)>,
    /// Offsets that Platform has refused.
    pub(crate) refused: BTreeSet<i64>,
}

/// Facts, to be closed once all are in.
#[derive(Debug)]
pub struct Books {
    pub(crate) frames: BTreeMap<i32, Frame>,
    pub(crate) receipts: Receipts,
    pub(crate) dedup: DedupReach,
    /// What is ahead and was written before this time stands still.
    pub(crate) late_before: i64,
    pub(crate) partitions: BTreeMap<i32, Partition>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) resolutions: HashMap<Place, ResolutionKind>,
}

impl Books {
    /// Empty books over these partitions. `dedup` is the transformer's: an event that was typed twice within it is a breach,
    /// and where older typed records have expired, what follows them this closely may be a duplicate of one of them.
    #[must_use]
    pub fn new(frames: BTreeMap<i32, Frame>, receipts: Receipts, dedup: DedupReach) -> Self {
        Self {
            frames,
            receipts,
            dedup,
            late_before: i64::MIN,
            partitions: BTreeMap::new(),
            letters: Vec::new(),
            resolutions: HashMap::new(),
        }
    }

    /// A record that is ahead of its reader's committed offset and was written before this time (Unix milliseconds) is late: a
    /// finding. Without this no record is.
    #[must_use]
    pub fn late_before(self, late_before: i64) -> Self {
        Self { late_before, ..self }
    }

    fn partition(&mut self, place: Place) -> &mut Partition {
        self.partitions.entry(place.partition).or_default()
    }

    /// A record of the raw topic; one outside the range is not audited.
    pub fn raw(&mut self, record: RawRecord) {
        let RawRecord { place, id, time, reprocess, replay } = record;
        self.partition(place).raw.push(Raw { offset: place.offset, time, id, reprocess, replay });
    }

    /// A record of the typed topic. One outside the range proves what became of raw records, and that later ones are
    /// duplicates.
    pub fn typed(&mut self, record: TypedRecord) {
        let TypedRecord { place, raw_offset, id, time, received, key, replay } = record;
        let raw_offset = raw_offset.unwrap_or(-1);
        self.partition(place).typed.push(Typed { offset: place.offset, raw_offset, time, received, id, key, replay });
    }

    /// A dead letter.
    pub fn letter(&mut self, letter: Letter) {
        self.letters.push(letter);
    }

    /// A record that closes a dead letter; the first one counts.
    pub fn resolution(&mut self, resolution: Resolution) {
        self.resolutions.entry(resolution.letter).or_insert(resolution.kind);
    }

    /// An entry of a receipt.
    pub fn receipt(&mut self, receipt: Receipt) {
        let offset = receipt.typed.offset;
        let partition = self.partition(receipt.typed);
        match receipt.verdict {
            Verdict::Accepted => partition.accepted.push((offset, receipt.id)),
            Verdict::Refused => {
                partition.refused.insert(offset);
            }
        }
    }

    /// Events that would be unexplained now, and might turn out to be duplicates if typed records before those entered so
    /// far were read as well.
    #[must_use]
    pub fn missing(&mut self) -> HashSet<IdHash> {
        Closing::of(self).missing()
    }

    /// Classifies every record of the range.
    #[must_use]
    pub fn close(mut self) -> Report {
        Closing::of(&mut self).report()
    }

    /// The letters by the record they were made of.
    pub(crate) fn by_origin(&self, stage: Stage) -> HashMap<Place, Vec<Place>> {
        let mut found: HashMap<Place, Vec<Place>> = HashMap::new();
        for letter in self.letters.iter().filter(|letter| letter.stage == stage) {
            if let LetterOrigin::Raw(origin) | LetterOrigin::Typed(origin) = letter.origin {
                found.entry(origin).or_default().push(letter.place);
            }
        }
        found
    }
}
