//! The history of an event, from the topics.
//!
//! `search` reads the topics, `timeline` puts the history together, `watch` looks again until the event has ended
//! (`end`), `stored` reads one of the records of a history with its value.

mod end;
mod found;
mod request;
mod search;
mod stored;
mod timeline;
mod watch;

pub use end::{End, end_of_all};
pub use request::{FindScope, Wanted};
pub use search::{raw_ends, run};
pub use stored::{StoredRecord, StoredValue, StoredWebhook, stored};
pub use timeline::{State, Step, StepKind, StepRecord, Timeline};
pub use watch::{FIRST_LOOK, Watch};
