//! What an operator does with the topics: audit them, find an event, and resolve dead letters.
//!
//! Every function returns a value and reports its progress to a callback; nothing is printed and no option is parsed
//! here. The command line and the console show the same values. The calls block: an async caller uses
//! `tokio::task::block_in_place` or `spawn_blocking`.

pub mod audit;
pub mod dead_letters;
mod error;
pub mod find;
mod pipeline;
mod progress;
mod record;
mod time;

pub use error::OperatorError;
pub use pipeline::{Groups, Pipeline, PipelineTopics};
pub use progress::{OnProgress, Progress};
pub use time::rfc3339;
