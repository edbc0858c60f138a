//! What to search for, and where.

use std::collections::BTreeMap;

use contract::{Offset, Partition};
use customerio::PersonKey;

use crate::pipeline::Committed;

/// What to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The event with this id, or the events of the message with this delivery id.
    Id(String),
    /// An event, by its id.
    Event(String),
    /// The events of a message, by its delivery id.
    Delivery(String),
    /// The events of a person, by the key of their records.
    Person(PersonKey),
    /// The webhooks with exactly this body, which names no event.
    Body(Vec<u8>),
}

/// Where to search.
#[derive(Debug, Clone)]
pub struct FindScope {
    /// Search every partition, although a person's events are in one: partitions may have been added.
    pub all_partitions: bool,
    /// Only records received at this time or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// Tell the fate of what was delivered from these offsets of the raw topic's partitions on, not of the same events
    /// before: see [`raw_ends`](super::raw_ends).
    pub delivered_from: Option<BTreeMap<Partition, Offset>>,
    /// Where the services' committed offsets come from, which show the progress of an event.
    pub committed: Committed,
}
