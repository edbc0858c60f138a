//! Where every event is: facts as the topics hold them go in, a classification in which nothing is left over comes out.
//!
//! Pure values. Who reads the facts, and how an event id comes out of a body, is somebody else's business; so is the
//! wording of the result. [`Books`] takes the facts in any order and [`Books::close`] classifies them:
//!
//! - each **raw record** of the range is exactly one of typed, dead-lettered by the transformer, a duplicate of an earlier
//!   one, ahead of the transformer's committed offset, beyond what the topics still can prove, or *unexplained*;
//! - each **typed record** of the range is exactly one of accepted (there is a receipt), accepted as the sink's committed
//!   offset implies, dead-lettered by the sink, ahead of that offset, beyond proof, or *unexplained*.
//!
//! Gaps between offsets are no records: transaction markers, records of aborted transactions.

mod books;
mod close;
mod fact;
mod repeats;
mod report;

pub use books::Books;
pub use fact::{
    DedupReach, Evidence, Frame, IdHash, KeyHash, Letter, LetterOrigin, Place, RawRecord, Receipt, Receipts,
    Resolution, ResolutionKind, Stage, TypedRecord, Verdict,
};
pub use report::{Finding, FindingKind, LetterCounts, Letters, RawColumns, Report, Topic, TypedColumns};
