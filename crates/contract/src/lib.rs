//! The contract of the topics: topic names, headers, positions, and the records that several crates read or write. All
//! functions are pure: they turn bytes into values and values into bytes.

pub mod dead_letter;
pub mod defaults;
pub mod header;
pub mod limits;
mod position;
pub mod raw;
pub mod receipt;
pub mod remedy;
mod topic;
pub mod typed;

pub use header::Header;
pub use position::{Offset, Partition, Position};
pub use raw::RawRecord;
pub use topic::{OptionalTopic, PipelineTopics, Topic, TopicName};
pub use typed::TypedRecord;
