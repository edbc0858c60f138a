//! Times as people write them.

use jiff::Timestamp;
use jiff::civil::Date;
use settings::DurationArg;

/// A time in milliseconds since 1970: RFC 3339, or the milliseconds.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let millis = text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    millis.ok_or_else(|| {
        "this is not a time; write it like 2026-11-24T09:30:00Z or as milliseconds since 1970".to_owned()
    })
}

/// The start or end of a range: a time, a day (its beginning in UTC), or a duration before now.
pub(crate) fn parse_bound(text: &str) -> Result<i64, String> {
    let day = || {
        let beginning = format!("{}T00:00:00Z", text.parse::<Date>().ok()?);
        beginning.parse().ok().map(Timestamp::as_millisecond)
    };
    let ago = || {
        let ago = text.parse::<DurationArg>().ok()?;
        Some(service::unix_millis().saturating_sub(i64::try_from(ago.0.as_millis()).unwrap_or(i64::MAX)))
    };
    parse_time(text).ok().or_else(day).or_else(ago).ok_or_else(|| {
        "this is not a time; write 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_either_form() {
        assert_eq!(parse_time("2023-11-14T22:13:21.480Z"), Ok(1_700_000_001_480));
        assert_eq!(parse_time("1700000001480"), Ok(1_700_000_001_480));
        assert!(parse_time("yesterday").unwrap_err().contains("2026-11-24T09:30:00Z"));
    }

    #[test]
    fn a_bound_may_also_be_a_day_or_a_duration_before_now() {
        assert_eq!(parse_bound("2023-11-14"), Ok(1_699_920_000_000));
        assert_eq!(parse_bound("2023-11-14T00:00:00Z"), Ok(1_699_920_000_000));
        let day = 24 * 60 * 60 * 1000;
        assert!((parse_bound("24h").unwrap() - (service::unix_millis() - day)).abs() < 5000);
        assert!(parse_bound("soon").unwrap_err().contains("24h"));
    }
}
