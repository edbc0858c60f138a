//! What an operator does: audit the topics, find an event, resolve dead letters, and see the state of everything.
//!
//! Every function returns a value and reports its progress to a callback; nothing is printed and no option is parsed
//! here. The command line and the console show the same values. Calls that are not `async` block: an
//! async caller uses `tokio::task::block_in_place` or `spawn_blocking`.

pub mod audit;
pub mod dead_letters;
mod error;
pub mod find;
mod mapped_id;
mod pipeline;
mod progress;
mod record;
pub mod sinks;
pub mod status;
pub mod tail;
mod time;
mod typed_event;

pub use error::OperatorError;
pub use kafka::Connection;
pub use pipeline::{Groups, Pipeline, PipelineTopics};
pub use progress::{Observer, OnProgress, Progress};
pub use time::rfc3339;
pub use xdm::TenantId;
