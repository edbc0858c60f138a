//! Parses Prometheus' text format, as far as the services use it.

use std::collections::BTreeMap;

/// The samples of one `/metrics` page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    samples: BTreeMap<String, Vec<Sample>>,
}

/// One sample of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Values of the labels, by name.
    pub labels: BTreeMap<String, String>,
    /// Value of the metric.
    pub value: f64,
}

/// Error for a line that is not in Prometheus' text format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not a sample in Prometheus' text format")]
pub struct NotASample {
    line: usize,
}

impl Sample {
    /// Returns the value of a label; an empty text if the sample does not have the label.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Exposition {
    /// Parses a page.
    ///
    /// # Errors
    /// Returns [`NotASample`] for the first line that is neither a comment nor a sample.
    pub fn parse(text: &str) -> Result<Self, NotASample> {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, sample) = sample(line).ok_or(NotASample { line: index + 1 })?;
            samples.entry(name.to_owned()).or_default().push(sample);
        }
        Ok(Self { samples })
    }

    /// Returns the samples of a metric.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the sum of the metric's samples that match; `None` if no sample matches.
    #[must_use]
    pub fn sum(&self, name: &str, matches: impl Fn(&Sample) -> bool) -> Option<f64> {
        let values: Vec<f64> =
            self.all(name).iter().filter(|sample| matches(sample)).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Returns the largest value of a metric; `None` without samples.
    #[must_use]
    pub fn max(&self, name: &str) -> Option<f64> {
        self.all(name).iter().map(|sample| sample.value).reduce(f64::max)
    }

    /// Returns a histogram that has no labels except `le`; `None` if it does not exist.
    #[must_use]
    pub fn histogram(&self, name: &str) -> Option<Histogram> {
        let bucket = |sample: &Sample| Some((number(sample.label("le"))?, sample.value));
        let buckets: Option<Vec<(f64, f64)>> = self.all(&format!("{name}_bucket")).iter().map(bucket).collect();
        let mut buckets = buckets.filter(|buckets| !buckets.is_empty())?;
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(Histogram { buckets })
    }
}

/// Buckets of a histogram, sorted by their upper bounds. Each bucket has the number of observations up to its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// Returns the number of observations.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Returns the observations of both histograms; `None` if the bounds of their buckets differ.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        self.each(other, |a, b| a + b)
    }

    /// Returns the observations since `earlier`; `None` if the process has restarted since then, or the bounds of the
    /// buckets differ.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        if self.count() < earlier.count() { None } else { self.each(earlier, |a, b| (a - b).max(0.0)) }
    }

    fn each(&self, other: &Self, of: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let is_alike = self.buckets.len() == other.buckets.len()
            && self.buckets.iter().zip(&other.buckets).all(|(a, b)| a.0.total_cmp(&b.0).is_eq());
        is_alike.then(|| Self {
            buckets: self.buckets.iter().zip(&other.buckets).map(|(a, b)| (a.0, of(a.1, b.1))).collect(),
        })
    }

    /// Returns the quantile as Prometheus estimates it, by interpolation within a bucket. If the quantile is above the
    /// largest finite bucket, the result is the upper bound of that bucket. Returns `None` without observations.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count();
        if self.count() <= 0.0 {
            return None;
        }
        let (mut below, mut lower) = (0.0, 0.0);
        for &(upper, count) in &self.buckets {
            if count >= rank && count > below {
                if upper.is_infinite() {
                    return Some(lower);
                }
                return Some(lower + (upper - lower) * ((rank - below) / (count - below)).clamp(0.0, 1.0));
            }
            (below, lower) = (count, upper);
        }
        None
    }
}

/// Parses a line of the form `name{label="value",…} value [timestamp]`.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = number(rest.split_whitespace().next()?)?;
    (!name.is_empty()).then_some((name, Sample { labels, value }))
}

/// Parses labels up to the closing brace; returns them and the text after the brace.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next()? {
                (index, '"') => break index,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
        rest = &after[end + 1..];
    }
}

/// Parses a number. Rust accepts `+Inf` and `NaN` as Prometheus writes them.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_labels_escapes_and_timestamps_are_parsed_and_other_lines_refused() {
        let text =
            "# HELP a b\n# TYPE a counter\na 5\nb{x=\"1\",y=\"a \\\"q\\\" \\\\ \\n{},\"} 2.5 1700000000\nb{} +Inf\n";
        let read = Exposition::parse(text).unwrap();
        assert_eq!(read.sum("a", |_| true), Some(5.0));
        assert_eq!(read.all("b")[0].label("y"), "a \"q\" \\ \n{},");
        assert_eq!((read.all("b")[0].value, read.max("b")), (2.5, Some(f64::INFINITY)));
        assert_eq!(read.sum("c", |_| true), None);
        assert_eq!(Exposition::parse("a 1\nb{x=\"1} 2\n"), Err(NotASample { line: 2 }));
        assert_eq!(Exposition::parse("<html>\n"), Err(NotASample { line: 1 }));
    }

    fn histogram(counts: &[(&str, f64)]) -> Histogram {
        let text: String = counts.iter().map(|(le, count)| format!("h_bucket{{le=\"{le}\"}} {count}\n")).collect();
        Exposition::parse(&text).unwrap().histogram("h").unwrap()
    }

    #[test]
    fn quantiles_are_interpolated_within_a_bucket_as_in_prometheus() {
        let age = histogram(&[("0.1", 0.0), ("0.5", 50.0), ("1", 99.0), ("+Inf", 100.0)]);
        let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-9;
        assert!(near(age.quantile(0.5), 0.5));
        assert!(near(age.quantile(0.25), 0.3));
        assert!(near(age.quantile(0.99), 1.0));
        assert!(near(age.quantile(1.0), 1.0));
        assert_eq!(histogram(&[("1", 0.0), ("+Inf", 0.0)]).quantile(0.5), None);
    }

    #[test]
    fn histograms_are_added_and_subtracted_if_their_buckets_are_equal() {
        let earlier = histogram(&[("1", 4.0), ("+Inf", 5.0)]);
        let now = histogram(&[("1", 10.0), ("+Inf", 12.0)]);
        assert_eq!(now.since(&earlier), Some(histogram(&[("1", 6.0), ("+Inf", 7.0)])));
        assert_eq!(now.plus(&earlier), Some(histogram(&[("1", 14.0), ("+Inf", 17.0)])));
        assert_eq!(earlier.since(&now), None);
        assert_eq!(now.since(&histogram(&[("2", 4.0), ("+Inf", 5.0)])), None);
    }
}
