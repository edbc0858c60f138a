//! The history of an event, from the topics.
//!
//! `search` reads the topics, `timeline` puts the history together.

mod found;
mod request;
mod search;
mod timeline;

pub use request::{FindScope, Wanted};
pub use search::run;
pub use timeline::{State, Step, StepKind, StepRecord, Timeline};
