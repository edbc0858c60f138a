//! Dead letters: lists them, shows one with its value, replays and discards them.

mod body;
mod code;
mod discard;
mod filter;
mod index;
mod list;
mod plan;
mod replay;
mod resolver;
mod show;
mod summary;
mod writing;

pub use body::Body;
pub use code::codes;
pub use discard::{Discarded, discard};
pub use filter::Filter;
pub use index::IndexedDeadLetter;
pub use list::{count_unresolved, list, list_unresolved};
pub use plan::SinkDeadLetters;
pub use replay::{Replay, ReplayRequest, replay};
pub use resolver::Resolving;
pub use show::{Shown, show};
pub use summary::{Group, groups};
