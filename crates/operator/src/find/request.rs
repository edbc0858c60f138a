//! Request for a search: the events to find, and the records to read.

use std::collections::BTreeMap;

use contract::{Offset, Partition};
use customerio::PersonKey;

use crate::pipeline::Committed;

/// Events to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The event with this id, or the events of the message with this delivery id.
    Id(String),
    /// The event with this id.
    Event(String),
    /// The events of the message with this delivery id.
    Delivery(String),
    /// The events of the person with this key.
    Person(PersonKey),
    /// The webhooks with exactly this body, which contains no event id.
    Body(Vec<u8>),
}

/// Records to read in a search.
#[derive(Debug, Clone)]
pub struct FindScope {
    /// Whether a search for a person reads every partition. Otherwise it reads only the current partition of the
    /// person's key, and misses records from before partitions were added.
    pub all_partitions: bool,
    /// Start time of the search, in milliseconds since 1970; `None` reads all retained records.
    pub since: Option<i64>,
    /// Restricts the result to webhooks at or after these raw offsets, without earlier deliveries of the same events:
    /// see [`raw_ends`](super::raw_ends).
    pub delivered_from: Option<BTreeMap<Partition, Offset>>,
    /// Committed offsets of the services, or the groups that have them. They show the progress of an event.
    pub committed: Committed,
}
