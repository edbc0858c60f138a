//! The counts of what was sent and of the responses.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of the sent events and of the responses.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Number of different events sent.
    pub(super) events: u64,
    /// Number of events that were acknowledged with a 2xx.
    pub(super) acknowledged: u64,
    /// Number of events that were sent twice on purpose.
    pub(super) duplicates: u64,
    /// Number of responses by HTTP status; `error` counts requests without a response.
    pub(super) answers: BTreeMap<String, u64>,
    /// Duration of the slowest acknowledged request, in milliseconds.
    pub(super) slowest_ms: u128,
    pub(super) seconds: f64,
}

impl Report {
    /// Returns true if every event was acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.acknowledged == self.events
    }

    pub(super) fn text(&self) -> String {
        let events = if self.events == 1 { "event" } else { "events" };
        format!(
            "{} {events}, {} acknowledged, {} sent twice, in {:.1} s; slowest acknowledgement {} ms; answers {:?}",
            self.events, self.acknowledged, self.duplicates, self.seconds, self.slowest_ms, self.answers
        )
    }

    /// A hint to the cause if events were not acknowledged.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let has = |answer: &str| self.answers.contains_key(answer);
        if self.is_complete() {
            None
        } else if has("401") {
            Some("401: the gateway does not have this signing key (CUSTOMERIO_SIGNING_KEYS), or the clocks differ")
        } else if has("404") {
            Some(
                "404: the gateway has no source at this path; it is /webhooks/customerio, or /webhooks/customerio/SOURCE",
            )
        } else if has("error") {
            Some("error: nothing answered at this URL in 4 s")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_with_unacknowledged_events_has_a_hint_to_the_cause() {
        let report = |answer: &str, acknowledged| Report {
            events: 1,
            acknowledged,
            answers: BTreeMap::from([(answer.to_owned(), 1)]),
            ..Report::default()
        };
        assert!(report("401", 0).hint().is_some_and(|hint| hint.contains("CUSTOMERIO_SIGNING_KEYS")));
        assert!(report("404", 0).hint().is_some_and(|hint| hint.contains("/webhooks/customerio")));
        assert_eq!((report("503", 0).hint(), report("401", 1).hint()), (None, None));
        assert!(report("202", 1).text().starts_with("1 event, 1 acknowledged"));
    }
}
