//! The history of an event, from the topics.
//!
//! `search` reads the topics, `timeline` puts the history together, `watch` looks again until the event has ended
//! (`end`).

mod end;
mod found;
mod request;
mod search;
mod timeline;
mod watch;

pub use end::{End, end_of_all};
pub use request::{FindScope, Wanted};
pub use search::{raw_ends, run};
pub use timeline::{State, Step, StepKind, StepRecord, Timeline};
pub use watch::{FIRST_LOOK, Watch};
