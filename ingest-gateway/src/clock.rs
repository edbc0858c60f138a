//! Detects that this machine's clock is behind Customer.io's clock.

use customerio::SignatureTimestamp;
use service::{Activity, Reason, Trouble};

/// Maximum time by which the timestamp of an authentic signature may be in the future, in milliseconds.
const DIFFERENCE: i64 = 60_000;

/// Compares the timestamps of authentic signatures with this machine's clock. An old timestamp does not indicate a
/// wrong clock: Customer.io does not document whether it signs a retry again, so a retry may have the old timestamp.
#[derive(Debug)]
pub(crate) struct SenderClock(pub(crate) Activity);

impl SenderClock {
    /// Compares the timestamp of an authentic request with its receive time `arrival`, in Unix milliseconds.
    pub(crate) fn signed(&self, timestamp: SignatureTimestamp<'_>, arrival: i64) {
        let ahead = timestamp.seconds().unwrap_or_default().saturating_mul(1000).saturating_sub(arrival);
        match trouble(ahead) {
            Some(trouble) => self.0.failed(trouble),
            None => self.0.succeeded(),
        }
    }
}

fn trouble(ahead: i64) -> Option<Trouble> {
    (ahead > DIFFERENCE).then(|| Trouble {
        reason: Reason::Clock,
        cause: format!("this machine's clock is {} s behind Customer.io's", ahead / 1000),
        remedy: "set the clock (NTP): receive times depend on it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_timestamp_over_a_minute_in_the_future_reports_a_wrong_clock() {
        assert_eq!(trouble(-3_600_000), None);
        assert_eq!(trouble(60_000), None);
        assert!(trouble(90_000).unwrap().cause.contains("90 s behind"));
    }
}
