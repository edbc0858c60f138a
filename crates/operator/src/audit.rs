//! Audit: checks that every raw and typed record of a range has an outcome, and reports each record that does not.
//!
//! `plan` decides which offsets to read, `reading` reads them, `fact` converts each record to a fact, and the crate
//! `reconcile` classifies the facts.

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
