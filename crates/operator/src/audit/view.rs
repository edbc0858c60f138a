//! The parts of the topics that an audit reads.

use std::collections::BTreeMap;

use contract::{Offset, Partition, PipelineTopics};
use kafka::reader::OffsetRange;
use kafka::{TopicName, Watermarks};
use reconcile::Retained;

/// For each partition of a topic: its watermarks, the first offset to read, and the time since which it is complete.
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

/// The offsets to read from each topic.
pub(super) struct Views {
    pub(super) raw: View,
    pub(super) typed: View,
    pub(super) dead_letters: View,
    /// The view, and the time since which the receipts are complete; `None` if there is no receipts topic.
    pub(super) receipts: Option<(View, Retained)>,
}

impl Views {
    /// Returns the offset ranges that the audit reads, by topic. `raw` has those of the raw topic.
    pub(super) fn read<'t>(
        &self,
        topics: &'t PipelineTopics,
        raw: Vec<OffsetRange>,
    ) -> Vec<(&'t TopicName, Vec<OffsetRange>)> {
        let mut read = vec![
            (&topics.raw, raw),
            (&topics.typed, self.typed.offset_ranges()),
            (&topics.dead_letters, self.dead_letters.offset_ranges()),
        ];
        if let (Some((view, _)), Some(topic)) = (&self.receipts, &topics.receipts) {
            read.push((topic, view.offset_ranges()));
        }
        read
    }

    /// Whether records have expired from a topic that contains outcomes: typed records, dead letters or receipts.
    pub(super) fn outcomes_expired(&self) -> bool {
        let expired = |view: &View| view.watermarks.values().any(|watermarks| watermarks.low > Offset(0));
        let receipts = self.receipts.as_ref().map(|(view, _)| view);
        [&self.typed, &self.dead_letters].into_iter().chain(receipts).any(expired)
    }
}
