//! Result of a search: the records of one or several events.

use std::collections::BTreeMap;

use contract::dead_letter::{DeadLetter, Resolution};
use contract::{Offset, Partition, Position};

/// A found record of the raw topic.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) position: Position,
    pub(super) time: i64,
    pub(super) event_id: Option<String>,
    pub(super) mapped_id: Option<String>,
    pub(super) is_check: bool,
    pub(super) source: String,
    pub(super) replay_of: Option<String>,
}

/// A found record of the typed topic.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) position: Position,
    pub(super) time: i64,
    pub(super) event_id: String,
    pub(super) raw_offset: Option<Offset>,
    pub(super) replay_of: Option<String>,
}

/// A found dead letter.
#[derive(Debug, Clone)]
pub(super) struct FoundDeadLetter {
    pub(super) position: Position,
    pub(super) time: i64,
    pub(super) event_id: Option<String>,
    pub(super) mapped_id: Option<String>,
    pub(super) dead_letter: DeadLetter,
    pub(super) resolution: Option<Resolution>,
}

/// A found entry of a receipt.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) typed: Position,
    pub(super) event_id: String,
    pub(super) time: i64,
    pub(super) status: u16,
    pub(super) accepted: bool,
    pub(super) batch_id: Option<String>,
    pub(super) xaction_id: Option<String>,
}

/// All found records, and the committed offsets of the services.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) raw: Vec<Raw>,
    pub(super) typed: Vec<Typed>,
    pub(super) dead_letters: Vec<FoundDeadLetter>,
    pub(super) answers: Vec<Answer>,
    pub(super) transformer: BTreeMap<Partition, Offset>,
    pub(super) sink: BTreeMap<Partition, Offset>,
    pub(super) receipts_kept: bool,
    /// First raw offset of each partition that belongs to the requested delivery; `None` to include all deliveries.
    pub(super) delivered_from: Option<BTreeMap<Partition, Offset>>,
}
