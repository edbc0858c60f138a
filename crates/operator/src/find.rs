//! Finds events and builds their histories from the topics.
//!
//! `search` reads the topics, `timeline` builds the histories, `watch` searches repeatedly until the events have ended
//! (`end`), and `stored` reads one record of a history with its value.

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
