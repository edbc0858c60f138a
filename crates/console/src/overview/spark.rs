//! A line of the last hour, for an SVG that the server writes.

use std::fmt::Write;

use super::hour::{HOUR, Sample};

/// The size of the picture: a unit is five seconds, and a hundredth of the height.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 100.0;
/// Why writing a text succeeds.
const WRITTEN: &str = "a String takes everything";
/// Two samples that are further apart are not joined, in milliseconds.
const GAP: i64 = 45_000;

/// A line, and what it says in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spark {
    /// The title of the picture.
    pub(super) title: String,
    /// The `d` of a path; empty if there is nothing to draw.
    pub(super) line: String,
    /// The same, closed at the base line.
    pub(super) area: String,
}

impl Spark {
    /// `name` is what is measured, and `shown` writes one value.
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
    fn a_line_goes_from_left_to_right_and_its_title_says_the_same() {
        let found = spark(&[(HOUR - 20_000, 5.0), (HOUR - 10_000, 10.0), (HOUR, 0.0)]);
        assert_eq!(found.title, "Received in the last hour: now 0/s, highest 10/s");
        assert_eq!(found.line, "M716.0 50.0L718.0 4.0L720.0 96.0");
        assert_eq!(found.area, "M716.0 100L716.0 50.0L718.0 4.0L720.0 96.0L720.0 100Z");
    }

    #[test]
    fn a_time_without_samples_is_a_gap_and_no_samples_are_no_line() {
        assert_eq!(spark(&[(0, 1.0), (HOUR, 1.0)]).line, "M0.0 4.0M720.0 4.0");
        assert_eq!(spark(&[(HOUR, f64::NAN), (-1, 7.0)]).line, "");
        assert_eq!(spark(&[(HOUR, 0.0)]).line, "M720.0 96.0");
        assert!(spark(&[]).title.ends_with("no numbers yet"));
    }
}
