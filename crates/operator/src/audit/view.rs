//! The part of a topic that an audit reads.

use std::collections::BTreeMap;

use contract::{Offset, Partition};
use kafka::Watermarks;
use kafka::reader::OffsetRange;
use reconcile::Retained;

/// Watermarks of a topic's partitions, the first offset to read in each, and since when each is complete.
pub(super) struct View {
    pub(super) watermarks: BTreeMap<Partition, Watermarks>,
    pub(super) from: BTreeMap<Partition, Offset>,
    pub(super) retained: BTreeMap<Partition, Retained>,
}

impl View {
    pub(super) fn offset_ranges(&self) -> Vec<OffsetRange> {
        let offset_range = |(&partition, watermarks): (&Partition, &Watermarks)| OffsetRange {
            partition,
            start: self.from.get(&partition).copied().unwrap_or(watermarks.low),
            end: watermarks.high,
        };
        self.watermarks.iter().map(offset_range).collect()
    }
}
