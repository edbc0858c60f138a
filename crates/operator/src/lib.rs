//! Functions for operators: audit the topics, find an event, resolve dead letters, and show the status.
//!
//! Every function returns a value and reports its progress to a callback. No function prints or parses options. The
//! command line and the console show the same values. Functions that are not `async` block: an async caller uses
//! `tokio::task::block_in_place` or `spawn_blocking`.

pub mod audit;
pub mod dead_letters;
mod error;
pub mod find;
mod mapped_id;
mod numbers;
mod pipeline;
mod progress;
mod record;
pub mod sinks;
pub mod status;
pub mod tail;
mod time;
mod typed_event;

pub use contract::PipelineTopics;
pub use error::OperatorError;
pub use kafka::Connection;
pub use numbers::thousands;
pub use pipeline::{Committed, Groups, Pipeline, Positions};
pub use progress::{Observer, OnProgress, Progress};
pub use time::rfc3339;
pub use xdm::TenantId;
