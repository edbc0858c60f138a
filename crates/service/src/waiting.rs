//! Reports failures of the external systems that a service waits for: in the log, in
//! `customerio_{service}_waiting{reason}`, and in `/readyz`.
//!
//! An [`Activity`] is one kind of work that depends on an external system, such as "asking the brokers" or "sending to
//! Platform". The code that does the work reports each success and failure. When the activity keeps failing, or a
//! request gets no response, one line is logged, then one every minute, and one at the end. The pure [`episode`] module
//! decides when to log.

mod episode;
mod trouble;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntGaugeVec, Registry};
use tokio_util::sync::CancellationToken;

use crate::{Readiness, Registrar};
use episode::{Episode, Line};

pub use trouble::{Reason, Trouble};

/// Interval between two checks of the activities.
const INTERVAL: Duration = Duration::from_millis(500);

/// A request without a response after this time counts as failed.
const UNANSWERED: Duration = Duration::from_secs(5);

/// If an activity that readiness depends on fails for this time, the service is not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(15);

/// The effect of a failing activity on `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The service is not ready while the activity fails.
    Depends,
    /// The service is not ready while the activity fails for a reason that [is permanent](Reason::is_permanent).
    DependsIfPermanent,
    /// The service stays ready, because another instance could not do the work either.
    Stays,
}

/// One kind of work that depends on an external system. Cheap to clone; all clones are the same activity.
#[derive(Clone)]
pub struct Activity(Arc<Inner>);

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Activity").field(&self.0.name).finish()
    }
}

struct Inner {
    name: String,
    ready: Ready,
    /// Remedy if no response arrives.
    unanswered: &'static str,
    /// Whether an episode exists; if not, a success needs no lock.
    fails: AtomicBool,
    next_request: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    episode: Option<Episode>,
    requests: Vec<(u64, Instant)>,
}

impl Activity {
    /// Reports a failure.
    pub fn failed(&self, trouble: Trouble) {
        self.failed_at(trouble, Instant::now());
    }

    fn failed_at(&self, trouble: Trouble, now: Instant) {
        self.failed_since(&mut self.state(), trouble, now, now);
    }

    /// Records a failure that was noticed at `now`, and that may have begun at `since`.
    fn failed_since(&self, state: &mut State, trouble: Trouble, since: Instant, now: Instant) {
        match &mut state.episode {
            Some(episode) => episode.failed(trouble, now),
            None => state.episode = Some(Episode::new(trouble, since, now)),
        }
        self.0.fails.store(true, Ordering::Relaxed);
    }

    /// Reports a failure that may only be a consequence of an earlier failure. While the earlier failure lasts, its
    /// cause is reported instead.
    pub fn failed_in_consequence(&self, trouble: Trouble) {
        let mut state = self.state();
        let earlier = state.episode.as_ref().and_then(|episode| episode.current().cloned());
        let now = Instant::now();
        self.failed_since(&mut state, earlier.unwrap_or(trouble), now, now);
    }

    /// Reports a success.
    pub fn succeeded(&self) {
        if self.0.fails.load(Ordering::Relaxed)
            && let Some(episode) = &mut self.state().episode
        {
            episode.succeeded(Instant::now());
        }
    }

    /// Starts a request, which counts as failed if it has no response for five seconds. Dropping the returned value
    /// ends the request.
    #[must_use = "if it is dropped at once, the request ends at once"]
    pub fn request(&self) -> Request {
        let number = self.0.next_request.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        self.state().requests.push((number, since));
        Request { activity: self.clone(), number, since }
    }

    /// Whether the activity fails now.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.state().episode.as_ref().is_some_and(|episode| episode.current().is_some())
    }

    /// Whether the activity fails for a reason that [is permanent](Reason::is_permanent).
    #[must_use]
    pub fn fails_permanently(&self) -> bool {
        self.state().episode.as_ref().is_some_and(Episode::is_permanent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the state, and returns the line to log now, if any.
    fn look(&self, now: Instant) -> Option<Line> {
        let mut state = self.state();
        let overdue = state.requests.iter().map(|(_, since)| now.saturating_duration_since(*since)).max();
        if let Some(waited) = overdue.filter(|waited| *waited >= UNANSWERED) {
            let cause = format!("no answer for {} s", waited.as_secs());
            let trouble = Trouble { reason: Reason::Timeout, cause, remedy: self.0.unanswered };
            match &mut state.episode {
                Some(episode) => episode.lasts(trouble, now),
                None => state.episode = Some(Episode::new(trouble, now - waited, now)),
            }
        }
        let line = state.episode.as_mut().and_then(|episode| episode.look(now));
        if state.episode.as_ref().is_some_and(|episode| episode.is_over(now)) {
            state.episode = None;
        }
        self.0.fails.store(state.episode.is_some(), Ordering::Relaxed);
        line
    }

    /// Returns the reason of the last reported failure, while the failure lasts.
    fn reported(&self) -> Option<Reason> {
        self.state().episode.as_ref().and_then(Episode::reported)
    }

    fn keeps_from_readiness(&self, now: Instant) -> bool {
        let state = self.state();
        let Some(episode) = &state.episode else { return false };
        match self.0.ready {
            Ready::Depends => episode.lasted(now) >= UNREADY_AFTER,
            Ready::DependsIfPermanent => episode.permanent(now) >= UNREADY_AFTER,
            Ready::Stays => false,
        }
    }
}

/// A request that has no response so far. Dropping it ends the request.
#[derive(Debug)]
pub struct Request {
    activity: Activity,
    number: u64,
    since: Instant,
}

impl Request {
    /// Reports that the request failed. The failure counts from the start of the request, so that the time in which a
    /// client waits for a response does not delay the report of an outage.
    pub fn failed(self, trouble: Trouble) {
        self.failed_at(trouble, Instant::now());
    }

    fn failed_at(self, trouble: Trouble, now: Instant) {
        self.activity.failed_since(&mut self.activity.state(), trouble, self.since, now);
    }

    /// Reports that the request succeeded.
    pub fn succeeded(self) {
        self.activity.succeeded();
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.activity.state().requests.retain(|(number, _)| *number != self.number);
    }
}

/// All activities of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waiting {
    activities: Arc<Mutex<Vec<Activity>>>,
    gauge: IntGaugeVec,
    readiness: Readiness,
}

impl Waiting {
    /// Registers `customerio_{service}_waiting`.
    ///
    /// # Errors
    /// If the metric's name is taken.
    pub fn register(service: &str, registry: &Registry, readiness: &Readiness) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let gauge = new.gauges(
            &format!("customerio_{service}_waiting"),
            "1 while the service waits for an external system, by reason; no record is lost",
            &["reason"],
        )?;
        for reason in Reason::ALL {
            gauge.with_label_values(&[reason.as_str()]).set(0);
        }
        Ok(Self { activities: Arc::default(), gauge, readiness: readiness.clone() })
    }

    /// Checks the activities twice per second until `stop` is cancelled.
    pub async fn watch(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.look(Instant::now());
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Creates an activity. `name` describes the work, as in "sending to Platform"; `unanswered` is the remedy if no
    /// response arrives.
    pub fn activity(&self, name: impl Into<String>, ready: Ready, unanswered: &'static str) -> Activity {
        let activity = Activity(Arc::new(Inner {
            name: name.into(),
            ready,
            unanswered,
            fails: AtomicBool::new(false),
            next_request: AtomicU64::new(0),
            state: Mutex::default(),
        }));
        self.activities.lock().unwrap_or_else(PoisonError::into_inner).push(activity.clone());
        activity
    }

    fn look(&self, now: Instant) {
        let activities = self.activities.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for activity in &activities {
            if let Some(line) = activity.look(now) {
                log(&activity.0.name, &line);
            }
        }
        let reported: Vec<Reason> = activities.iter().filter_map(Activity::reported).collect();
        for reason in Reason::ALL {
            self.gauge.with_label_values(&[reason.as_str()]).set(i64::from(reported.contains(&reason)));
        }
        self.readiness.set_waiting(activities.iter().any(|activity| activity.keeps_from_readiness(now)));
    }
}

fn log(activity: &str, line: &Line) {
    match line {
        Line::Fails { trouble, failures, lasted } => {
            let Trouble { reason, cause, remedy } = trouble;
            let (reason, seconds) = (reason.as_str(), lasted.as_secs());
            if trouble.reason.is_permanent() {
                tracing::error!(
                    activity,
                    reason,
                    cause,
                    remedy,
                    failures,
                    seconds,
                    "waiting: a person must change this; no record is lost"
                );
            } else {
                tracing::warn!(activity, reason, cause, remedy, failures, seconds, "waiting; no record is lost");
            }
        }
        Line::Over { failures, lasted, succeeded: true } => {
            tracing::info!(
                activity,
                failures,
                seconds = lasted.as_secs(),
                "no longer waiting: the activity succeeds again"
            );
        }
        Line::Over { failures, lasted, succeeded: false } => {
            tracing::info!(
                activity,
                failures,
                seconds = lasted.as_secs(),
                "no longer waiting: the activity was not tried again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Waiting, Readiness) {
        let readiness = Readiness::default();
        readiness.set_ready();
        (Waiting::register("test", &Registry::new(), &readiness).unwrap(), readiness)
    }

    fn refused() -> Trouble {
        Trouble { reason: Reason::Unavailable, cause: "connection refused".to_owned(), remedy: "start it" }
    }

    fn shows(waiting: &Waiting, reason: Reason) -> bool {
        waiting.gauge.with_label_values(&[reason.as_str()]).get() == 1
    }

    #[test]
    fn the_gauge_is_1_while_an_outage_is_logged_and_0_for_a_short_failure() {
        let (waiting, _) = waiting();
        let sending = waiting.activity("sending", Ready::Stays, "wait");
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        sending.failed_at(refused(), at(0));
        waiting.look(at(1));
        assert!(!shows(&waiting, Reason::Unavailable), "one failure is not an outage yet");
        waiting.look(at(4));
        assert!(shows(&waiting, Reason::Unavailable));
        sending.state().episode.as_mut().unwrap().succeeded(at(5));
        waiting.look(at(11));
        assert!(!shows(&waiting, Reason::Unavailable));
        assert!(!sending.0.fails.load(Ordering::Relaxed));
    }

    #[test]
    fn a_request_without_a_response_is_a_timeout_after_five_seconds() {
        let (waiting, _) = waiting();
        let sending = waiting.activity("sending", Ready::Stays, "wait");
        let request = sending.request();
        let now = Instant::now();
        waiting.look(now + Duration::from_secs(4));
        assert!(!shows(&waiting, Reason::Timeout));
        waiting.look(now + Duration::from_secs(6));
        assert!(shows(&waiting, Reason::Timeout));
        drop(request);
        sending.succeeded();
        waiting.look(now + Duration::from_secs(60));
        assert!(!shows(&waiting, Reason::Timeout));
    }

    #[test]
    fn a_failed_request_counts_as_a_failure_since_its_start() {
        let (waiting, _) = waiting();
        let asking = waiting.activity("asking the brokers", Ready::Stays, "wait");
        let request = asking.request();
        let failed = request.since + Duration::from_millis(4_900);
        request.failed_at(refused(), failed);
        waiting.look(failed);
        assert!(shows(&waiting, Reason::Unavailable), "4.9 s without a success are reported");
    }

    #[test]
    fn a_failing_activity_affects_readiness_only_if_readiness_depends_on_it() {
        let (waiting, readiness) = waiting();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let platform = waiting.activity("sending to Platform", Ready::Stays, "wait");
        let kafka = waiting.activity("asking the brokers", Ready::Depends, "wait");
        for seconds in 0..40 {
            platform.failed_at(refused(), at(seconds));
        }
        waiting.look(at(40));
        assert_eq!(readiness.unready_reason(), None);
        for seconds in 0..=16 {
            kafka.failed_at(refused(), at(seconds));
        }
        waiting.look(at(14));
        assert_eq!(readiness.unready_reason(), None);
        waiting.look(at(16));
        assert!(readiness.unready_reason().is_some());
        kafka.state().episode.as_mut().unwrap().succeeded(at(17));
        waiting.look(at(23));
        assert_eq!(readiness.unready_reason(), None);
    }

    #[test]
    fn with_depends_if_permanent_a_temporary_failure_does_not_affect_readiness() {
        for (reason, is_ready) in [(Reason::Unavailable, true), (Reason::Unauthorized, false)] {
            let (waiting, readiness) = waiting();
            let writing = waiting.activity("writing", Ready::DependsIfPermanent, "wait");
            let start = Instant::now();
            for seconds in 0..=16 {
                writing.failed_at(Trouble { reason, ..refused() }, start + Duration::from_secs(seconds));
            }
            waiting.look(start + Duration::from_secs(16));
            assert_eq!(readiness.unready_reason().is_none(), is_ready, "{reason}");
        }
    }
}
