//! Checks that every raw and every typed record of a range is where it should be, and finds each one that is not.
//!
//! `plan` decides what to read, `reading` reads it, `fact` turns a record into a fact, and `reconcile` classifies.

mod fact;
mod json;
mod note;
mod plan;
mod reading;
mod result;
mod scope;
mod view;

pub use json::{as_json, finding_code};
pub use note::Note;
pub use plan::run;
pub use result::{Audit, MissingReader, NamedFinding};
pub use scope::{AuditScope, RawOffsets};
