//! The records that an audit covers.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use contract::{Offset, Partition, Position};

use crate::pipeline::{Committed, Groups};

/// What is audited, and what the audit has to know about the services.
#[derive(Debug, Clone)]
pub struct AuditScope {
    /// Only records written at this time or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// Only records written before this time.
    pub until: Option<i64>,
    /// Only these raw offsets, and their typed records.
    pub offsets: Option<RawOffsets>,
    /// The receipts were off before this time.
    pub receipts_since: Option<i64>,
    /// A record that has been ahead of its reader's committed offset for longer is late.
    pub late: Duration,
    /// How far back the transformer looks for duplicates.
    pub dedup_window: Duration,
    /// How many ids per partition the transformer keeps for that.
    pub dedup_max_ids: u32,
    /// Maximum size of a body after decompression.
    pub max_body: usize,
    /// How many findings get the id of their event, for which their records are read again.
    pub name_at_most: usize,
    /// How far the services have processed the topics.
    pub committed: Committed,
}

/// Everything that is retained, by the defaults of the services.
impl Default for AuditScope {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            offsets: None,
            receipts_since: None,
            late: Duration::from_secs(15 * 60),
            dedup_window: Duration::from_secs(2 * 60 * 60),
            dedup_max_ids: 200_000,
            max_body: 10 * 1024 * 1024,
            name_at_most: 100,
            committed: Committed::Groups(Groups::default()),
        }
    }
}

/// A range of one partition's raw offsets, written `PARTITION:FROM-TO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOffsets {
    /// The partition.
    pub partition: Partition,
    /// The offsets, without the end.
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
    fn a_range_of_offsets_has_a_partition_a_start_and_an_end() {
        assert_eq!(
            "3:1000-2000".parse(),
            Ok(RawOffsets { partition: Partition(3), range: Offset(1000)..Offset(2000) })
        );
        for wrong in ["3:1000", "1000-2000", "3:5-5", "3:5-x", ""] {
            assert!(wrong.parse::<RawOffsets>().is_err(), "{wrong}");
        }
    }
}
