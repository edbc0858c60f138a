//! The topics and what is on them: names, headers, positions, and the records that several crates read or write. Pure:
//! bytes in, values out.

pub mod dead_letter;
pub mod header;
pub mod limits;
mod position;
pub mod raw;
pub mod receipt;
mod topic;
pub mod typed;

pub use header::Header;
pub use position::{Offset, Partition, Position};
pub use raw::RawRecord;
pub use topic::{OptionalTopic, Topic, TopicName};
pub use typed::TypedRecord;
