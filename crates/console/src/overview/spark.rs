//! Sparkline of the last hour, as paths for an SVG that the server renders.

use std::fmt::Write;

use super::hour::{HOUR, Sample};

/// Size of the SVG view box. A horizontal unit is five seconds.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 100.0;
/// Reason for which writing to a `String` cannot fail.
const WRITTEN: &str = "a String takes everything";
/// Maximum time between two samples that the line connects, in milliseconds.
const GAP: i64 = 45_000;

/// A sparkline with a title that describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spark {
    /// Title of the SVG.
    pub(super) title: String,
    /// Attribute `d` of the path of the line; empty without samples.
    pub(super) line: String,
    /// Attribute `d` of the area between the line and the base line.
    pub(super) area: String,
}

impl Spark {
    /// Creates the sparkline of one value of the samples. `name` is the name of the value, `value` reads it from a
    /// sample, and `shown` formats it.
    pub(super) fn of(
        name: &str,
        samples: &[Sample],
        now: i64,
        value: impl Fn(&Sample) -> Option<f64>,
        shown: impl Fn(f64) -> String,
    ) -> Self {
        let points: Vec<(i64, f64)> = samples
            .iter()
            .filter_map(|sample| Some((sample.at, value(sample).filter(|value| value.is_finite())?)))
            .filter(|(at, _)| (now - HOUR..=now).contains(at))
            .collect();
        let Some(highest) = points.iter().map(|(_, value)| *value).reduce(f64::max) else {
            return Self { title: format!("{name} in the last hour: no numbers yet"), ..Self::default() };
        };
        let last = points.last().map_or(0.0, |(_, value)| *value);
        let title = format!("{name} in the last hour: now {}, highest {}", shown(last), shown(highest));
        let (mut line, mut area, mut before) = (String::new(), String::new(), None::<(i64, f64)>);
        for &(at, value) in &points {
            let x = WIDTH - f64::from(i32::try_from((now - at) / 5).unwrap_or(i32::MAX)) / 1000.0;
            let y = HEIGHT - 4.0 - if highest > 0.0 { value / highest * (HEIGHT - 8.0) } else { 0.0 };
            match before {
                Some((last, _)) if at - last <= GAP => {
                    write!(line, "L{x:.1} {y:.1}").expect(WRITTEN);
                    write!(area, "L{x:.1} {y:.1}").expect(WRITTEN);
                }
                _ => {
                    close(&mut area, before);
                    write!(line, "M{x:.1} {y:.1}").expect(WRITTEN);
                    write!(area, "M{x:.1} {HEIGHT}L{x:.1} {y:.1}").expect(WRITTEN);
                }
            }
            before = Some((at, x));
        }
        close(&mut area, before);
        Self { title, line, area }
    }
}

fn close(area: &mut String, before: Option<(i64, f64)>) {
    if let Some((_, x)) = before {
        write!(area, "L{x:.1} {HEIGHT}Z").expect(WRITTEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spark(values: &[(i64, f64)]) -> Spark {
        let sample = |&(at, received): &(i64, f64)| Sample { at, received: Some(received), ..Sample::default() };
        let samples: Vec<Sample> = values.iter().map(sample).collect();
        Spark::of("Received", &samples, HOUR, |sample| sample.received, |value| format!("{value:.0}/s"))
    }

    #[test]
    fn a_sparkline_runs_up_to_now_and_its_title_has_the_current_and_highest_value() {
        let found = spark(&[(HOUR - 20_000, 5.0), (HOUR - 10_000, 10.0), (HOUR, 0.0)]);
        assert_eq!(found.title, "Received in the last hour: now 0/s, highest 10/s");
        assert_eq!(found.line, "M716.0 50.0L718.0 4.0L720.0 96.0");
        assert_eq!(found.area, "M716.0 100L716.0 50.0L718.0 4.0L720.0 96.0L720.0 100Z");
    }

    #[test]
    fn a_time_without_samples_is_a_gap_in_the_sparkline() {
        assert_eq!(spark(&[(0, 1.0), (HOUR, 1.0)]).line, "M0.0 4.0M720.0 4.0");
        assert_eq!(spark(&[(HOUR, f64::NAN), (-1, 7.0)]).line, "");
        assert_eq!(spark(&[(HOUR, 0.0)]).line, "M720.0 96.0");
        assert!(spark(&[]).title.ends_with("no numbers yet"));
    }
}
