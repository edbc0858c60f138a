//! Durations, sizes and times in the form in which people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

/// A duration as written in the configuration: `500ms`, `5s`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DurationArg(pub Duration);

impl fmt::Debug for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = "this is not a duration; write for example 500ms, 5s or 2h";
        let duration: jiff::SignedDuration = text.parse().map_err(|_| hint)?;
        Duration::try_from(duration).map(Self).map_err(|_| hint.to_owned())
    }
}

impl fmt::Display for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A number of bytes as written in the configuration: `900KiB`, `10MiB`, `1000`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub usize);

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = "this is not a size; write for example 900KiB, 10MiB or 1000";
        let size: bytesize::ByteSize = text.parse().map_err(|_| hint)?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| hint.to_owned())
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// A time as written in the configuration: `2026-11-24T09:30:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeArg(pub Timestamp);

impl TimeArg {
    /// Returns the duration until this time; zero if it has passed.
    #[must_use]
    pub fn from_now(self) -> Duration {
        Duration::try_from(self.0.duration_since(Timestamp::now())).unwrap_or_default()
    }
}

impl fmt::Display for TimeArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "this is not a time; write it like 2026-11-24T09:30:00Z, with the time zone".to_owned())
    }
}

/// Parses the start or end of a time range, and returns milliseconds since 1970. `text` is a time, a number of
/// milliseconds, a day (which means its beginning in UTC), or a duration before `now`.
///
/// # Errors
/// A message with the accepted forms.
pub fn parse_bound(text: &str, now: i64) -> Result<i64, String> {
    let time = || text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let day = || {
        let beginning = format!("{}T00:00:00Z", text.parse::<Date>().ok()?);
        beginning.parse().ok().map(Timestamp::as_millisecond)
    };
    let ago = || {
        let ago = text.parse::<DurationArg>().ok()?;
        Some(now.saturating_sub(i64::try_from(ago.0.as_millis()).unwrap_or(i64::MAX)))
    };
    text.parse().ok().or_else(time).or_else(day).or_else(ago).ok_or_else(|| {
        "this is not a time; write 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_parsed_with_their_units() {
        assert_eq!("500ms".parse::<DurationArg>().unwrap().0, Duration::from_millis(500));
        assert_eq!("2h".parse::<DurationArg>().unwrap().0, Duration::from_secs(7200));
        assert!("-5s".parse::<DurationArg>().unwrap_err().contains("500ms"));
        assert!("5".parse::<DurationArg>().is_err());
        assert_eq!("900KiB".parse::<ByteCount>().unwrap().0, 900 * 1024);
        assert_eq!("1000".parse::<ByteCount>().unwrap().0, 1000);
        assert!("many".parse::<ByteCount>().unwrap_err().contains("10MiB"));
    }

    #[test]
    fn the_text_of_each_shared_default_has_the_value_of_its_constant() {
        use contract::defaults;
        assert_eq!(defaults::MAX_BODY.parse::<ByteCount>().unwrap().0, defaults::MAX_BODY_BYTES);
        assert_eq!(defaults::DEDUP_WINDOW.parse::<DurationArg>().unwrap().0, defaults::DEDUP_WINDOW_DURATION);
    }

    #[test]
    fn a_time_without_a_time_zone_is_refused() {
        assert_eq!("2026-11-24T09:30:00+01:00".parse::<TimeArg>().unwrap().0.as_second(), 1_795_509_000);
        assert_eq!("2020-01-01T00:00:00Z".parse::<TimeArg>().unwrap().from_now(), Duration::ZERO);
        assert!("2999-01-01T00:00:00Z".parse::<TimeArg>().unwrap().from_now() > Duration::from_secs(3600));
        for text in ["2026-11-24T09:30:00", "2026-11-24", "1795509000", "soon"] {
            assert!(text.parse::<TimeArg>().unwrap_err().contains("2026-11-24T09:30:00Z"), "{text}");
        }
    }
}
