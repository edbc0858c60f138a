//! Finds out where every event is: takes facts from the topics, and returns a classification that covers every record.
//!
//! It consists of pure values. Callers read the facts, find the event id of a body, and word the result.
//! [`Reconciliation`] takes the facts in any order, and [`Reconciliation::classify`] classifies them:
//!
//! - each **raw record** of the range is exactly one of typed, dead-lettered by the transformer, a duplicate of an earlier
//!   one, ahead of the transformer's committed offset, unverifiable, or *unexplained*;
//! - each **typed record** of the range is exactly one of accepted (there is a receipt), accepted as the sink's committed
//!   offset implies, rejected by Platform after acceptance, dead-lettered by the sink, ahead of that offset, unverifiable,
//!   or *unexplained*.
//!
//! Gaps between offsets are not records: they are transaction markers, or records of aborted transactions.

mod classify;
mod fact;
mod reconciliation;
mod repeats;
mod report;

pub use fact::{
    DeadLetter, DeadLetterOrigin, DedupReach, IdHash, KeyHash, PartitionScope, RawRecord, Receipt, Receipts,
    Resolution, Retained, TypedRecord,
};
pub use reconciliation::Reconciliation;
pub use report::{DeadLetterCounts, DeadLetters, Finding, FindingKind, RawColumns, Report, Topic, TypedColumns};
