//! Detects that the gateway's clock is ahead of this machine's clock. One of the two clocks is then wrong.

use service::{Activity, Reason, Trouble};

/// Maximum time by which a receive time (`received-at`) may be in the future, in milliseconds.
const DIFFERENCE: i64 = 60_000;

/// Compares the receive times of records with this machine's clock, once per transaction.
#[derive(Debug)]
pub(crate) struct Clock {
    comparing: Activity,
    newest: i64,
}

impl Clock {
    pub(crate) fn new(comparing: Activity) -> Self {
        Self { comparing, newest: i64::MIN }
    }

    /// Notes the receive time of a record, by the gateway's clock, in Unix milliseconds.
    pub(crate) fn received(&mut self, at: i64) {
        self.newest = self.newest.max(at);
    }

    /// Compares the newest receive time with `now`, in Unix milliseconds, and reports whether it is in the future.
    pub(crate) fn compare(&mut self, now: i64) {
        let ahead = std::mem::replace(&mut self.newest, i64::MIN).saturating_sub(now);
        match trouble(ahead) {
            Some(trouble) => self.comparing.failed(trouble),
            None => self.comparing.succeeded(),
        }
    }
}

fn trouble(ahead: i64) -> Option<Trouble> {
    (ahead > DIFFERENCE).then(|| Trouble {
        reason: Reason::Clock,
        cause: format!("the gateway's clock is {} s ahead of this machine's", ahead / 1000),
        remedy: "set the clocks of both machines (NTP): the dedup window and the times of events depend on them",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_receive_time_over_a_minute_in_the_future_reports_a_wrong_clock() {
        assert_eq!(trouble(i64::MIN), None, "nothing was received");
        assert_eq!(trouble(-7 * 24 * 3600 * 1000), None, "a backlog");
        assert_eq!(trouble(59_000), None);
        assert!(trouble(61_000).unwrap().cause.contains("61 s ahead"));
    }
}
