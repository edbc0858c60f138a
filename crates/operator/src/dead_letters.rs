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
mod selection;
mod show;
mod summary;
mod unresolved;
mod writing;

pub use body::Body;
pub use code::codes;
pub use discard::{DiscardRequest, DiscardSummary, Discarded, discard, discard_within};
pub use filter::Filter;
pub use index::IndexedDeadLetter;
pub use kafka::record::OwnedRecord;
pub use list::{count_unresolved, list};
pub use plan::SinkDeadLetters;
pub use replay::{Replay, ReplayRequest, replay};
pub use resolver::Resolving;
pub use selection::Bounds;
pub use show::{Shown, resolution_of, show, show_unresolved};
pub use summary::{Group, groups};
pub use unresolved::{Message, Unresolved, UnresolvedDeadLetter, groups_of, read_unresolved, unresolved_groups};
