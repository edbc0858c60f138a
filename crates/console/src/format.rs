//! Formats numbers and times for pages.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;
pub(crate) use operator::thousands as count;

/// Formats a measured count as a whole number; returns [`UNKNOWN`] if there is no finite value.
pub(crate) fn measured(number: Option<f64>) -> String {
    match number.filter(|number| number.is_finite()) {
        Some(number) => count(whole(number)),
        None => UNKNOWN.to_owned(),
    }
}

/// Sign that pages show in place of an unknown number.
pub(crate) const UNKNOWN: &str = "–";

/// Rounds a measured number to a whole number; a negative number becomes 0.
pub(crate) fn whole(number: f64) -> u64 {
    format!("{:.0}", number.max(0.0)).parse().unwrap_or(u64::MAX)
}

/// Formats a rate in events per second.
pub(crate) fn rate(rate: Option<f64>) -> String {
    match rate.filter(|rate| rate.is_finite()) {
        None => UNKNOWN.to_owned(),
        Some(0.0) => "0/s".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}/s"),
        Some(rate) => format!("{}/s", count(whole(rate))),
    }
}

/// Formats a duration in seconds with a suitable unit, from ms to days.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        under if !under.is_finite() => UNKNOWN.to_owned(),
        under if under < 1.0 => format!("{:.0} ms", under.max(0.0) * 1000.0),
        under if under < 10.0 => format!("{under:.1} s"),
        under if under < 120.0 => format!("{under:.0} s"),
        under if under < 7200.0 => format!("{:.0} min", under / 60.0),
        under if under < 172_800.0 => format!("{:.0} h", under / 3600.0),
        more => format!("{} days", count(whole(more / 86400.0))),
    }
}

/// Formats the time since `at`, for example `3 min ago`. Both times are in milliseconds since 1970.
pub(crate) fn ago(at: i64, now: i64) -> String {
    let millis = now.saturating_sub(at).max(0);
    let whole_seconds = i32::try_from(millis / 1000).unwrap_or(i32::MAX);
    format!("{} ago", if whole_seconds < 1 { "less than 1 s".to_owned() } else { seconds(f64::from(whole_seconds)) })
}

/// A time that renders as the HTML element `time`, in UTC. JavaScript shows it in the time zone of the browser, with
/// UTC as the tooltip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(i64);

impl Moment {
    /// `millis` is in milliseconds since 1970.
    pub(crate) fn of_millis(millis: i64) -> Self {
        Self(millis)
    }
}

/// The HTML needs no escaping, because it consists of digits and constant texts.
impl HtmlSafe for Moment {}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = Timestamp::from_millisecond(self.0) else { return f.write_str("an impossible time") };
        let exact = format!("{time:.3}");
        let shown = exact.get(..19).unwrap_or_default().replace('T', " ");
        write!(f, "<time datetime=\"{exact}\" title=\"{exact}\">{shown} UTC</time>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators_and_durations_have_one_unit() {
        assert_eq!([Some(1234.4), None, Some(f64::NAN), Some(-1.0)].map(measured), ["1,234", "–", "–", "0"]);
        assert_eq!(
            [Some(0.0), Some(0.25), Some(12.4), Some(5000.0), None].map(rate),
            ["0/s", "0.2/s", "12/s", "5,000/s", "–"]
        );
        assert_eq!(
            [0.25, 2.0, 45.0, 180.0, 7200.0, 864_000.0].map(seconds),
            ["250 ms", "2.0 s", "45 s", "3 min", "2 h", "10 days"]
        );
        assert_eq!([ago(0, 500), ago(0, 90_000), ago(9, 0)], ["less than 1 s ago", "90 s ago", "less than 1 s ago"]);
    }

    #[test]
    fn a_moment_renders_as_a_time_element_in_utc() {
        assert_eq!(
            Moment::of_millis(1_700_000_001_480).to_string(),
            "<time datetime=\"2023-11-14T22:13:21.480Z\" title=\"2023-11-14T22:13:21.480Z\">2023-11-14 22:13:21 UTC</time>"
        );
        assert_eq!(Moment::of_millis(i64::MAX).to_string(), "an impossible time");
    }
}
