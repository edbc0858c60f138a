//! The request rate and the retry rule, without a clock: callers pass in the current time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::request::Repeat;

/// Time between two requests. Customer.io allows 10 requests per second. Requests do not arrive as evenly as they are
/// sent, so this is a little more than a tenth of a second.
const SPACING: Duration = Duration::from_millis(110);

/// The request rate that Customer.io allows, shared by all clones of one budget.
///
/// It is not documented whether Customer.io counts by key, by workspace or by account, so one process uses one budget
/// for all its workspaces. A 429 response does not contain a time to wait: the whole budget then pauses for an
/// increasing time.
#[derive(Debug, Clone, Default)]
pub struct RequestBudget(Arc<Mutex<Slots>>);

impl RequestBudget {
    /// The time at which the caller may send its next request.
    pub(crate) fn reserve(&self, now: Instant) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reserve(now)
    }

    /// Delays all further requests until `until` at the earliest.
    pub(crate) fn pause(&self, until: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pause(until);
    }
}

#[derive(Debug, Default)]
struct Slots {
    next: Option<Instant>,
}

impl Slots {
    fn reserve(&mut self, now: Instant) -> Instant {
        let at = self.next.map_or(now, |next| next.max(now));
        self.next = Some(at + SPACING);
        at
    }

    fn pause(&mut self, until: Instant) {
        self.next = Some(self.next.map_or(until, |next| next.max(until)));
    }
}

/// The number of attempts and the waits between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The maximum number of attempts for a request; with 1, no request is repeated.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each further attempt.
    pub first_wait: Duration,
    /// Upper limit of the wait between two attempts.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Five attempts, with waits of 15 seconds in total.
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(8) }
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// A response with this status arrived.
    Answered(u16),
    /// No connection was established, so nothing was sent.
    NotSent,
    /// No response arrived; the request may have taken effect.
    NoAnswer,
}

impl Ended {
    /// Returns true if the request may have taken effect although no response confirms it.
    pub(crate) fn is_unknown(self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::NotSent => false,
            Self::Answered(status) => matches!(status, 303 | 408) || !(200..500).contains(&status),
        }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt after `attempts` attempts (at least 1); `None` if the request must not be
    /// repeated.
    pub(crate) fn wait_after(&self, attempts: u32, repeat: Repeat, ended: Ended) -> Option<Duration> {
        let can_pass = match ended {
            // The request had no effect.
            Ended::Answered(429) | Ended::NotSent => true,
            Ended::Answered(408 | 500 | 502 | 503 | 504) | Ended::NoAnswer => repeat == Repeat::Safe,
            Ended::Answered(_) => false,
        };
        if !can_pass || attempts >= self.attempts {
            return None;
        }
        Some(self.wait(attempts))
    }

    /// The wait after `attempts` attempts (at least 1).
    pub(crate) fn wait(&self, attempts: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first_wait.saturating_mul(factor).min(self.longest_wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unsafe_request_is_repeated_only_if_it_certainly_had_no_effect() {
        let policy = RetryPolicy::default();
        let repeats = |repeat, ended| policy.wait_after(1, repeat, ended).is_some();
        for ended in [Ended::Answered(429), Ended::NotSent] {
            assert!(repeats(Repeat::Unsafe, ended) && repeats(Repeat::Safe, ended), "{ended:?}");
            assert!(!ended.is_unknown(), "{ended:?}");
        }
        for ended in [408, 500, 502, 503, 504].map(Ended::Answered).into_iter().chain([Ended::NoAnswer]) {
            assert!(!repeats(Repeat::Unsafe, ended) && repeats(Repeat::Safe, ended), "{ended:?}");
            assert!(ended.is_unknown(), "{ended:?}");
        }
        for status in [200, 302, 400, 401, 403, 404, 422, 501] {
            assert!(!repeats(Repeat::Safe, Ended::Answered(status)), "{status}");
        }
        for status in [302, 400, 401, 403, 404, 409, 422] {
            assert!(!Ended::Answered(status).is_unknown(), "{status}");
        }
    }

    #[test]
    fn waits_double_up_to_the_limit_and_stop_after_the_last_attempt() {
        let policy = RetryPolicy { attempts: 6, ..RetryPolicy::default() };
        let wait =
            |attempts| policy.wait_after(attempts, Repeat::Safe, Ended::Answered(429)).map(|wait| wait.as_secs());
        assert_eq!([1, 2, 3, 4, 5, 6].map(wait), [Some(1), Some(2), Some(4), Some(8), Some(8), None]);
        let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        assert_eq!(once.wait_after(1, Repeat::Safe, Ended::NotSent), None);
        assert!(
            RetryPolicy { attempts: u32::MAX, ..policy }
                .wait_after(u32::MAX - 1, Repeat::Safe, Ended::NotSent)
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn at_most_ten_requests_are_sent_in_any_second(gaps in proptest::collection::vec((0..400_u64, prop::bool::weighted(0.1)), 1..80)) {
            let budget = RequestBudget::default();
            let other = budget.clone();
            let start = Instant::now();
            let (mut now, mut sent, mut earliest) = (start, Vec::new(), start);
            for (gap, refused) in gaps {
                now += Duration::from_millis(gap);
                let at = if gap % 2 == 0 { budget.reserve(now) } else { other.reserve(now) };
                prop_assert!(at >= now && at >= earliest, "a pause was not kept");
                sent.push(at);
                if refused {
                    earliest = now + Duration::from_secs(2);
                    budget.pause(earliest);
                }
            }
            for (first, eleventh) in sent.iter().zip(sent.iter().skip(10)) {
                prop_assert!(*eleventh - *first > Duration::from_secs(1));
            }
        }
    }
}
