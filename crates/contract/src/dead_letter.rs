//! Dead letters: records that a stage could not process or deliver, with their original value and headers, plus headers
//! that contain the origin and the reason. The module also contains the resolutions that mark dead letters as resolved,
//! and the marks of sinks.
//!
//! [`DeadLetter`], [`Resolution`] and [`Mark`] are used for writing and for reading. The services decide which records
//! become dead letters, and with which codes.

pub mod code;
mod cut;
mod entry;
pub mod header;
mod mark;
mod resolution;
mod stage;
mod written;

pub use cut::{Cut, CutValue, KEPT_BYTES};
pub use entry::{Entry, is_original};
pub use mark::Mark;
pub use resolution::{Resolution, ResolutionKind};
pub use stage::Stage;
pub use written::{DeadLetter, MESSAGE_LIMIT, Origin};
