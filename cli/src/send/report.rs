//! What became of everything that was sent.

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of everything that was sent.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Different events sent.
    pub(super) events: u64,
    /// Of these, acknowledged with a 2xx.
    pub(super) acknowledged: u64,
    /// Calls beyond the first for events that were sent twice on purpose.
    pub(super) duplicates: u64,
    /// Answers by HTTP status, `error` for none.
    pub(super) answers: BTreeMap<String, u64>,
    /// The slowest acknowledged request.
    pub(super) slowest_ms: u128,
    pub(super) seconds: f64,
}

impl Report {
    /// Whether everything was acknowledged.
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

    /// What to look at if events were not acknowledged.
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
    fn events_that_were_not_acknowledged_come_with_a_hint() {
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
