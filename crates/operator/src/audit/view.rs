//! The part of a topic that an audit reads.

use std::collections::BTreeMap;

use kafka::offsets::Extent;
use kafka::reader::OffsetRange;
use reconcile::Retained;

/// The offsets that a topic's partitions contain, and the first offset to read.
pub(super) struct View {
    pub(super) extents: BTreeMap<i32, Extent>,
    pub(super) from: BTreeMap<i32, i64>,
    pub(super) retained: BTreeMap<i32, Retained>,
}

impl View {
    pub(super) fn offset_ranges(&self) -> Vec<OffsetRange> {
        let offset_range = |(&partition, extent): (&i32, &Extent)| OffsetRange {
            partition,
            start: self.from.get(&partition).copied().unwrap_or(extent.start),
            end: extent.end,
        };
        self.extents.iter().map(offset_range).collect()
    }
}
