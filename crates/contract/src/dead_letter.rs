//! Dead letters: original records, unchanged, with headers that name their origin and the reason. Also the resolutions
//! that resolve them.
//!
//! [`DeadLetter`] and [`Resolution`] are written and read by the same types. The services decide which records become
//! dead letters, and with which codes.

pub mod code;
mod cut;
mod entry;
pub mod header;
mod resolution;
mod stage;
mod written;

pub use cut::{Cut, CutValue, KEPT_BYTES};
pub use entry::{Entry, is_original};
pub use resolution::{Resolution, ResolutionKind};
pub use stage::Stage;
pub use written::{DeadLetter, MESSAGE_LIMIT, Origin};
