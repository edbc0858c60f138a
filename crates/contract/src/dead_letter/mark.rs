//! Marks: records of the dead-letter topic by which sinks remember their own progress. A mark has no key and an empty
//! value, and does not refer to any event.

use super::header;
use crate::position::Partition;

/// Progress of the sinks, as one header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A sink without a receipts topic has delivered records of this input topic. If the brokers have lost the group's
    /// offsets, the mark shows the sink that it does not start for the first time.
    DeliveredFrom(String),
    /// Platform's failed batches were read up to this time: milliseconds since 1970.
    FailedBatchesCheckedTo(i64),
}

impl Mark {
    /// The partition that marks are written to.
    pub const PARTITION: Partition = Partition(0);

    /// Headers of the mark.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![match self {
            Self::DeliveredFrom(topic) => (header::DELIVERED_FROM, topic.clone()),
            Self::FailedBatchesCheckedTo(to) => (header::CHECKED_TO, to.to_string()),
        }]
    }
}
