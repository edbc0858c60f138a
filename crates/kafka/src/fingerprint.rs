//! Fingerprints of processed records, which show whether a partition's log is still the one that was read.
//!
//! Offsets alone do not show this. A topic that was deleted and created again has the same offsets with other records,
//! and after an unclean leader election, new records get the offsets of removed ones. rdkafka exposes neither topic ids
//! nor leader epochs, so the last processed record itself is looked up again
//! (docs/adr/0009-fingerprints-of-processed-records.md).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use contract::Offset;

use crate::record::Record;

/// Identifies a processed record. Its text form is stored in the metadata of the committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) offset: Offset,
    /// Timestamp of the record in milliseconds since 1970; -1 if the record has none.
    pub(crate) timestamp: i64,
    /// Size of the record's value in bytes.
    pub(crate) bytes: usize,
}

/// After a log was replaced, records that are up to this much older than the last processed one are read again: the
/// writers' clocks differ, and the records of one partition are not in the order of their timestamps.
pub(crate) const OVERLAP: Duration = Duration::from_secs(60);

impl Fingerprint {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let timestamp = record.timestamp().unwrap_or(-1);
        Self { offset: record.offset(), timestamp, bytes: record.value().len() }
    }

    /// Timestamp, in milliseconds since 1970, from which reading continues in a replaced log.
    pub(crate) fn resume_millis(&self) -> i64 {
        let overlap = i64::try_from(OVERLAP.as_millis()).unwrap_or(i64::MAX);
        self.timestamp.saturating_sub(overlap).max(0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last-record {} {} {}", self.offset, self.timestamp, self.bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.strip_prefix("last-record ").ok_or(())?.split(' ');
        let mut next = || words.next().ok_or(());
        let (offset, timestamp, bytes) = (next()?, next()?, next()?);
        let parsed = (offset.parse(), timestamp.parse(), bytes.parse());
        let (Ok(offset), Ok(timestamp), Ok(bytes)) = parsed else { return Err(()) };
        Ok(Self { offset: Offset(offset), timestamp, bytes })
    }
}

/// The result of looking up the record of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookUp {
    /// The record that the log has at the offset.
    Record(Fingerprint),
    /// The log starts after the offset: the record has expired.
    Expired,
    /// The log ends at or before the offset.
    BeyondEnd,
    /// The log reaches past the offset, but has no record at it.
    NoRecord,
}

/// Whether a log is the one that a fingerprint was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Same,
    /// The record has expired, so the log cannot be compared.
    Expired,
    Replaced,
}

/// Compares a fingerprint with the current record at its offset.
pub(crate) fn compare(fingerprint: &Fingerprint, found: LookUp) -> Log {
    match found {
        LookUp::Record(found) if found == *fingerprint => Log::Same,
        LookUp::Record(_) | LookUp::BeyondEnd | LookUp::NoRecord => Log::Replaced,
        LookUp::Expired => Log::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Fingerprint = Fingerprint { offset: Offset(7), timestamp: 1_700_000_000_000, bytes: 512 };

    #[test]
    fn a_fingerprint_is_parsed_only_from_its_text_form() {
        assert_eq!(LAST.to_string().parse(), Ok(LAST));
        for other in ["", "note of an operator", "last-record 7", "last-record a b c"] {
            assert_eq!(other.parse::<Fingerprint>(), Err(()), "{other}");
        }
    }

    #[test]
    fn a_log_is_the_same_only_if_it_has_the_same_record_at_the_offset() {
        assert_eq!(compare(&LAST, LookUp::Record(LAST)), Log::Same);
        assert_eq!(compare(&LAST, LookUp::Expired), Log::Expired);
        let later = Fingerprint { timestamp: LAST.timestamp + 1, ..LAST };
        for found in [LookUp::Record(later), LookUp::BeyondEnd, LookUp::NoRecord] {
            assert_eq!(compare(&LAST, found), Log::Replaced, "{found:?}");
        }
    }

    #[test]
    fn a_replaced_log_is_read_from_a_minute_before_the_last_record() {
        assert_eq!(LAST.resume_millis(), LAST.timestamp - 60_000);
        assert_eq!(Fingerprint { timestamp: -1, ..LAST }.resume_millis(), 0);
    }
}
