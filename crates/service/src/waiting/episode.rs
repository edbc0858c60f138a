//! Decides when to report that an activity fails, still fails, or works again. The functions are pure: the time is an
//! argument.

use std::time::{Duration, Instant};

use super::trouble::{Reason, Trouble};

/// A failure that ends within this time is not reported.
const REPORT_AFTER: Duration = Duration::from_secs(3);

/// Interval between two reports of a failure that lasts.
const REMIND_AFTER: Duration = Duration::from_secs(60);

/// An activity works again if it has succeeded and not failed for this time.
const QUIET: Duration = Duration::from_secs(5);

/// If no attempt follows a failure, the failure counts as over after this time, because the state of the activity is
/// then unknown.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A line to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The activity fails, or still fails.
    Fails { trouble: Trouble, failures: u64, lasted: Duration },
    /// The activity succeeds again, or has not been tried for a long time.
    Over { failures: u64, lasted: Duration, succeeded: bool },
}

/// A period in which an activity fails.
#[derive(Debug)]
pub(super) struct Episode {
    trouble: Trouble,
    first: Instant,
    last: Instant,
    succeeded: Option<Instant>,
    failures: u64,
    /// Time since which every failure has had a permanent reason.
    permanent_since: Option<Instant>,
    reported: Option<(Reason, Instant)>,
}

impl Episode {
    /// Starts an episode with this failure, which was noticed at `now` and may have begun at `since`.
    pub(super) fn new(trouble: Trouble, since: Instant, now: Instant) -> Self {
        let permanent_since = trouble.reason.is_permanent().then_some(now);
        Self { trouble, first: since, last: now, succeeded: None, failures: 1, permanent_since, reported: None }
    }

    /// Records another failure.
    pub(super) fn failed(&mut self, trouble: Trouble, now: Instant) {
        self.failures += 1;
        self.lasts(trouble, now);
    }

    /// Records that the activity still fails, without counting another failure.
    pub(super) fn lasts(&mut self, trouble: Trouble, now: Instant) {
        self.permanent_since = trouble.reason.is_permanent().then(|| self.permanent_since.unwrap_or(now));
        self.trouble = trouble;
        self.last = self.last.max(now);
        // The success before this failure does not count: an activity that fails from time to time has not recovered.
        self.succeeded = None;
    }

    /// Records a success.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.succeeded.get_or_insert(now);
    }

    /// Returns the line to log now, if any.
    pub(super) fn look(&mut self, now: Instant) -> Option<Line> {
        let lasted = self.lasted(now);
        if self.is_over(now) {
            let lasted = self.last.saturating_duration_since(self.first);
            let succeeded = self.succeeded.is_some();
            return self.reported.take().map(|_| Line::Over { failures: self.failures, lasted, succeeded });
        }
        let fails = self.succeeded.is_none() && lasted >= REPORT_AFTER;
        // The activity also succeeds in between, but its failures span at least [`REPORT_AFTER`].
        let keeps_failing = self.last.saturating_duration_since(self.first) >= REPORT_AFTER;
        let due = match self.reported {
            // A new reason is reported at once.
            Some((reason, _)) if reason != self.trouble.reason => true,
            Some((_, at)) => now.saturating_duration_since(at) >= REMIND_AFTER,
            None => self.trouble.reason.is_permanent() || fails || keeps_failing,
        };
        due.then(|| {
            self.reported = Some((self.trouble.reason, now));
            Line::Fails { trouble: self.trouble.clone(), failures: self.failures, lasted }
        })
    }

    /// Whether the last failure was followed by a success at least [`QUIET`] ago, or by no attempt for [`FORGOTTEN`].
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let since = |instant| now.saturating_duration_since(instant);
        self.succeeded.map_or(since(self.last) >= FORGOTTEN, |succeeded| since(succeeded) >= QUIET)
    }

    /// Returns the last failure, unless the activity has succeeded since then.
    pub(super) fn current(&self) -> Option<&Trouble> {
        self.succeeded.is_none().then_some(&self.trouble)
    }

    /// Returns the duration of failures with permanent reasons. After a success, this duration ends with the last
    /// failure.
    pub(super) fn permanent(&self, now: Instant) -> Duration {
        let until = self.succeeded.map_or(now, |_| self.last);
        self.permanent_since.map_or(Duration::ZERO, |since| until.saturating_duration_since(since))
    }

    /// Whether the activity fails now, for a permanent reason.
    pub(super) fn is_permanent(&self) -> bool {
        self.succeeded.is_none() && self.trouble.reason.is_permanent()
    }

    /// Returns the reason of the last report.
    pub(super) fn reported(&self) -> Option<Reason> {
        self.reported.map(|(reason, _)| reason)
    }

    /// Returns the time since the first failure. After a success, this time ends with the last failure.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        let until = self.succeeded.map_or(now, |_| self.last);
        until.saturating_duration_since(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(reason: Reason) -> Trouble {
        Trouble { reason, cause: "cause".to_owned(), remedy: "remedy" }
    }

    /// Simulates `seconds` seconds, one after the other, and returns the reports. `fails` returns `Some(true)` for a
    /// second with a failure, `Some(false)` for a success, `None` for no attempt.
    fn lines(reason: Reason, seconds: u64, fails: impl Fn(u64) -> Option<bool>) -> Vec<(u64, &'static str)> {
        let start = Instant::now();
        let mut episode: Option<Episode> = None;
        let mut reports = Vec::new();
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            match (fails(second), &mut episode) {
                (Some(true), Some(episode)) => episode.failed(trouble(reason), now),
                (Some(true), none) => *none = Some(Episode::new(trouble(reason), now, now)),
                (Some(false), Some(episode)) => episode.succeeded(now),
                (Some(false), None) | (None, _) => {}
            }
            let line = episode.as_mut().and_then(|episode| episode.look(now));
            reports.extend(line.map(|line| match line {
                Line::Fails { .. } => (second, "fails"),
                Line::Over { .. } => (second, "over"),
            }));
            if episode.as_ref().is_some_and(|episode| episode.is_over(now)) {
                episode = None;
            }
        }
        reports
    }

    #[test]
    fn an_outage_is_reported_after_3_seconds_every_minute_and_at_its_end() {
        let outage = lines(Reason::Unavailable, 200, |second| Some(second < 130));
        assert_eq!(outage, [(3, "fails"), (63, "fails"), (123, "fails"), (135, "over")]);
    }

    #[test]
    fn a_failure_without_another_attempt_counts_as_over_after_ten_minutes() {
        let reports = lines(Reason::Timeout, 700, |second| (second == 0).then_some(true));
        assert_eq!(reports[..2], [(3, "fails"), (63, "fails")]);
        assert_eq!(reports.last(), Some(&(600, "over")));
    }

    #[test]
    fn a_failure_that_is_followed_by_a_success_within_3_seconds_is_not_reported() {
        assert_eq!(lines(Reason::Unavailable, 30, |second| Some(second == 0 || second == 2)), []);
    }

    #[test]
    fn failures_of_every_other_attempt_are_reported_until_they_stop() {
        let mixed = lines(Reason::Throttled, 100, |second| Some(second < 50 && second % 2 == 0));
        assert_eq!(mixed, [(4, "fails"), (54, "over")]);
    }

    #[test]
    fn repeated_failures_are_reported_although_a_success_precedes_every_check() {
        let start = Instant::now();
        let mut episode = Episode::new(trouble(Reason::Throttled), start, start);
        let reports = (0..20).filter(|&second| {
            let now = start + Duration::from_secs(second);
            episode.failed(trouble(Reason::Throttled), now);
            episode.succeeded(now);
            episode.look(now).is_some()
        });
        assert_eq!(reports.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_permanent_failure_is_reported_at_once() {
        assert_eq!(lines(Reason::Unauthorized, 2, |_| Some(true)), [(0, "fails")]);
    }
}
