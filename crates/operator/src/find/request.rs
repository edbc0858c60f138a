//! What to search for, and where.

use customerio::PersonKey;

use crate::pipeline::Groups;

/// What to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An event, by its id.
    Event(String),
    /// The events of a message, by its delivery id.
    Delivery(String),
    /// The events of a person, by the key of their records.
    Person(PersonKey),
}

/// Where to search.
#[derive(Debug, Clone)]
pub struct FindScope {
    /// Search every partition, although a person's events are in one: partitions may have been added.
    pub all_partitions: bool,
    /// Only records received at this time or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// The services' groups, whose committed offsets say how far an event is.
    pub groups: Groups,
}
