//! Formats times as text.

use jiff::Timestamp;

/// Formats a time in milliseconds since 1970 as RFC 3339, in UTC.
#[must_use]
pub fn rfc3339(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_001_480), "2023-11-14T22:13:21.480Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
