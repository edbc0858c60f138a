//! Parses and computes times.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A duration that means "never". On some platforms, tokio's clock cannot represent a time that is much later.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Returns the instant that is `time` after `moment`. A longer time than [`NEVER`] is shortened to [`NEVER`].
pub(crate) fn after(moment: Instant, time: Duration) -> Instant {
    moment + time.min(NEVER)
}

/// Parses a time, as RFC 3339 or as milliseconds since 1970, into milliseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let millis = text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    millis.ok_or_else(|| {
        "this is not a time; write it like 2026-11-24T09:30:00Z or as milliseconds since 1970".to_owned()
    })
}

/// Parses the start or end of a range: a time, a day (its start in UTC), or a duration before now.
pub(crate) fn parse_bound(text: &str) -> Result<i64, String> {
    settings::parse_bound(text, service::unix_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_long_duration_is_capped_without_overflow() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(60)) - now, Duration::from_secs(60));
        assert!(after(now, Duration::MAX) > after(now, Duration::from_secs(1_000_000)));
    }

    #[test]
    fn a_time_is_parsed_as_rfc_3339_or_as_milliseconds() {
        assert_eq!(parse_time("2023-11-14T22:13:21.480Z"), Ok(1_700_000_001_480));
        assert_eq!(parse_time("1700000001480"), Ok(1_700_000_001_480));
        assert!(parse_time("yesterday").unwrap_err().contains("2026-11-24T09:30:00Z"));
    }

    #[test]
    fn a_bound_is_parsed_as_a_day_a_time_or_a_duration_before_now() {
        assert_eq!(parse_bound("2023-11-14"), Ok(1_699_920_000_000));
        assert_eq!(parse_bound("2023-11-14T00:00:00Z"), Ok(1_699_920_000_000));
        let day = 24 * 60 * 60 * 1000;
        assert!((parse_bound("24h").unwrap() - (service::unix_millis() - day)).abs() < 5000);
        assert!(parse_bound("soon").unwrap_err().contains("24h"));
    }
}
