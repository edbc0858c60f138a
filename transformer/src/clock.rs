//! Detects that the gateway's clock is ahead of this machine's: one of the two is wrong.

use service::{Activity, Reason, Trouble};

/// How far ahead a time of receipt may be, in milliseconds.
const DIFFERENCE: i64 = 60_000;

/// Compares the times of receipt with this machine's clock, once for each transaction.
#[derive(Debug)]
pub(crate) struct Clock {
    comparing: Activity,
    newest: i64,
}

impl Clock {
    pub(crate) fn new(comparing: Activity) -> Self {
        Self { comparing, newest: i64::MIN }
    }

    /// A record was received at this time, by the gateway's clock, in Unix milliseconds.
    pub(crate) fn received(&mut self, at: i64) {
        self.newest = self.newest.max(at);
    }

    /// Checks whether the newest time of receipt can be right; `now` is in Unix milliseconds.
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
    fn only_a_time_of_receipt_in_the_future_reports_a_wrong_clock() {
        assert_eq!(trouble(i64::MIN), None, "nothing was received");
        assert_eq!(trouble(-7 * 24 * 3600 * 1000), None, "a backlog");
        assert_eq!(trouble(59_000), None);
        assert!(trouble(61_000).unwrap().cause.contains("61 s ahead"));
    }
}
