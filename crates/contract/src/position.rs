//! Position of a record in its topic: partition and offset.

use std::fmt;
use std::str::FromStr;

/// A partition number. Its `Debug` form is the bare number, as logs show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub i32);

impl Partition {
    /// All partitions of a topic that has `count` partitions. Kafka numbers them from 0.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..i32::try_from(count).unwrap_or(i32::MAX)).map(Self)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An offset in a partition. Its `Debug` form is the bare number, as logs show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of a record in its topic, written `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Partition of the record.
    pub partition: Partition,
    /// Offset of the record in the partition.
    pub offset: Offset,
}

impl Position {
    /// Creates a position from plain numbers.
    #[must_use]
    pub const fn new(partition: i32, offset: i64) -> Self {
        Self::of(Partition(partition), Offset(offset))
    }

    /// Creates a position from a [`Partition`] and an [`Offset`].
    #[must_use]
    pub const fn of(partition: Partition, offset: Offset) -> Self {
        Self { partition, offset }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(partition, offset)| {
            let (partition, offset) = (partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?);
            (partition >= 0 && offset >= 0).then_some(Self::new(partition, offset))
        });
        parsed.ok_or_else(|| "invalid position: expected PARTITION:OFFSET, for example 3:1042".to_owned())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_parsed_from_partition_colon_offset() {
        assert_eq!("3:1042".parse(), Ok(Position::new(3, 1042)));
        assert_eq!(Position::new(3, 1042).to_string(), "3:1042");
        for wrong in ["", "3", "3:", "3:x", "-1:5", "3:-5", "3:1:2"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_shows_partitions_and_offsets_as_numbers() {
        let partitions: Vec<Partition> = Partition::all(3).collect();
        assert_eq!(format!("{partitions:?} {:?} {}", Offset(7), Offset(7).next()), "[0, 1, 2] 7 8");
    }
}
