//! The records that an audit covers.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use contract::{Offset, Partition, Position, defaults};

use crate::pipeline::{Committed, Groups};

/// Range of an audit, and the settings of the services that the audit needs.
#[derive(Debug, Clone)]
pub struct AuditScope {
    /// Start of the range (inclusive): milliseconds since 1970.
    pub since: Option<i64>,
    /// End of the range (exclusive): milliseconds since 1970.
    pub until: Option<i64>,
    /// Restricts the audit to these raw offsets and the typed records that were mapped from them.
    pub offsets: Option<RawOffsets>,
    /// Time before which receipts were disabled: milliseconds since 1970.
    pub receipts_since: Option<i64>,
    /// Maximum time that a record may be ahead of its reader's committed offset; after this time it is late.
    pub late: Duration,
    /// Time range in which the transformer recognises duplicates.
    pub dedup_window: Duration,
    /// Maximum number of ids per partition in the transformer's dedup window.
    pub dedup_max_ids: u32,
    /// Maximum size of a body after decompression.
    pub max_body: usize,
    /// Maximum number of findings for which the audit reads the record again to get the event id.
    pub name_at_most: usize,
    /// Committed offsets of the services, or the groups that have them.
    pub committed: Committed,
}

/// Covers all retained records and uses the default settings of the services.
impl Default for AuditScope {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            offsets: None,
            receipts_since: None,
            late: Duration::from_secs(15 * 60),
            dedup_window: defaults::DEDUP_WINDOW_DURATION,
            dedup_max_ids: defaults::DEDUP_MAX_IDS,
            max_body: defaults::MAX_BODY_BYTES,
            name_at_most: 100,
            committed: Committed::Groups(Groups::default()),
        }
    }
}

/// A range of one partition's raw offsets, written `PARTITION:FROM-TO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOffsets {
    /// Partition of the raw topic.
    pub partition: Partition,
    /// Range of offsets; the end is exclusive.
    pub range: Range<Offset>,
}

impl FromStr for RawOffsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.parse::<Position>().ok()?, Offset(to.parse().ok()?));
            (from.offset < to).then_some(Self { partition: from.partition, range: from.offset..to })
        });
        parsed.ok_or_else(|| "invalid range of offsets: expected PARTITION:FROM-TO, for example 3:1000-2000".to_owned())
    }
}

impl fmt::Display for RawOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-{}", self.partition, self.range.start, self.range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_raw_offsets_needs_a_partition_and_a_start_before_its_end() {
        assert_eq!(
            "3:1000-2000".parse(),
            Ok(RawOffsets { partition: Partition(3), range: Offset(1000)..Offset(2000) })
        );
        for wrong in ["3:1000", "1000-2000", "3:5-5", "3:5-x", ""] {
            assert!(wrong.parse::<RawOffsets>().is_err(), "{wrong}");
        }
    }
}
