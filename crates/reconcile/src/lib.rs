//! Classification of every record for the audit: takes facts from the topics, and returns one outcome for each record.
//!
//! This crate does no I/O. Its callers read the facts, find the event id of each body, and format the result.
//! [`Reconciliation`] takes the facts in any order, and [`Reconciliation::classify`] classifies them:
//!
//! - Each **raw record** in the range has exactly one outcome: typed, dead-lettered by the transformer, a duplicate of
//!   an earlier record, a body of `customerio-aep check`, ahead of the transformer's committed offset, unverifiable, or
//!   *unexplained*.
//! - Each **typed record** in the range has exactly one outcome: accepted (there is a receipt), inferred to be accepted
//!   from the sink's committed offset, rejected by Platform after acceptance, dead-lettered by the sink, ahead of the
//!   sink's committed offset, unverifiable, or *unexplained*.
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
