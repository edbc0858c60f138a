//! Keeps a limited number of samples of the last hour.

use std::collections::VecDeque;

use operator::status::Status;

use crate::format::{self, Moment};

/// Time for which samples are kept, in milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
/// Minimum time between two samples, in milliseconds.
pub(super) const STEP: i64 = 10_000;
/// Time that one row of the table covers, in milliseconds.
const ROW: i64 = 300_000;

/// The numbers of a status that the charts show.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Time of the status: milliseconds since 1970.
    pub(crate) at: i64,
    /// Webhooks received per second.
    pub(crate) received: Option<f64>,
    pub(crate) mapped: Option<f64>,
    pub(crate) accepted: Option<f64>,
    pub(crate) dead_letters: Option<f64>,
    /// Number of records that wait for the transformer, plus those that wait for the sink.
    pub(crate) waiting: Option<f64>,
    /// 99th percentile of the event age when Platform accepted the event, in seconds.
    pub(crate) age_p99: Option<f64>,
}

impl Sample {
    pub(super) fn of(status: &Status) -> Self {
        let (raw, typed) = (status.raw.records, status.typed.records);
        Self {
            at: status.at,
            received: status.rates.received,
            mapped: status.rates.mapped,
            accepted: status.rates.accepted,
            dead_letters: status.rates.dead_letters,
            waiting: raw.or(typed).map(|_| raw.unwrap_or(0.0) + typed.unwrap_or(0.0)),
            // Without `seconds`, the age covers all events since the sinks started, so the sample does not include it.
            age_p99: status.event_age.filter(|age| age.seconds.is_some()).map(|age| age.p99),
        }
    }
}

/// The samples of the last hour.
#[derive(Debug, Default)]
pub(super) struct Hour(VecDeque<Sample>);

impl Hour {
    /// Adds a sample if the last one is at least [`STEP`] old, and removes samples that are more than an hour old.
    pub(super) fn add(&mut self, sample: Sample) {
        if self.0.back().is_some_and(|last| (0..STEP).contains(&(sample.at - last.at))) {
            return;
        }
        self.0.push_back(sample);
        // Also limit the number: after the clock was set back, old samples do not expire by their age.
        let most = usize::try_from(HOUR / STEP).unwrap_or(usize::MAX);
        while self.0.len() > most || self.0.front().is_some_and(|first| sample.at - first.at > HOUR) {
            self.0.pop_front();
        }
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.0.iter().copied().collect()
    }
}

/// A row of the table, which covers five minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HourRow {
    pub(super) from: Moment,
    pub(super) received: String,
    pub(super) accepted: String,
    pub(super) dead_letters: String,
    pub(super) waiting: String,
    pub(super) age_p99: String,
}

/// Returns the last hour in rows, the newest first. Rates are means; the backlog and the age are maxima.
pub(super) fn rows(samples: &[Sample], now: i64) -> Vec<HourRow> {
    let first = now - now.rem_euclid(ROW);
    let row = |back: i64| {
        let from = first - back * ROW;
        let within: Vec<&Sample> = samples.iter().filter(|sample| (from..from + ROW).contains(&sample.at)).collect();
        let values =
            |of: fn(&Sample) -> Option<f64>| within.iter().filter_map(|sample| of(sample)).collect::<Vec<f64>>();
        let mean = |of| {
            let values = values(of);
            let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
            Some(values.iter().sum::<f64>() / f64::from(count))
        };
        let highest = |of| values(of).into_iter().reduce(f64::max);
        (!within.is_empty()).then(|| HourRow {
            from: Moment::of_millis(from),
            received: format::rate(mean(|sample| sample.received)),
            accepted: format::rate(mean(|sample| sample.accepted)),
            dead_letters: format::rate(mean(|sample| sample.dead_letters)),
            waiting: format::measured(highest(|sample| sample.waiting)),
            age_p99: highest(|sample| sample.age_p99).map_or_else(|| format::UNKNOWN.to_owned(), format::seconds),
        })
    };
    (0..=HOUR / ROW).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, received: f64) -> Sample {
        Sample { at, received: Some(received), ..Sample::default() }
    }

    #[test]
    fn at_most_an_hour_of_samples_is_kept_even_if_the_clock_is_set_back() {
        let mut hour = Hour::default();
        for at in (0..3 * HOUR).step_by(2000) {
            hour.add(sample(at, 1.0));
        }
        let samples = hour.samples();
        assert_eq!(samples.len(), usize::try_from(HOUR / STEP).unwrap());
        assert!(samples.windows(2).all(|pair| pair[1].at - pair[0].at == STEP));
        for at in (0..HOUR).step_by(2000) {
            hour.add(sample(at, 1.0));
        }
        assert!(hour.samples().len() <= usize::try_from(HOUR / STEP).unwrap());
    }

    #[test]
    fn a_table_row_shows_the_mean_rate_of_its_five_minutes_and_needs_a_sample() {
        let rows = rows(&[sample(10_000, 2.0), sample(20_000, 4.0), sample(900_000, 7.0)], 910_000);
        let received: Vec<&str> = rows.iter().map(|row| row.received.as_str()).collect();
        assert_eq!(received, ["7.0/s", "3.0/s"]);
        assert_eq!((rows[0].from, rows[0].waiting.as_str()), (Moment::of_millis(900_000), "–"));
    }
}
