//! Test events: samples from the catalogue for a person who does not exist.

use customerio::catalogue::CATALOGUE;
use customerio::sample::{Person, Sample};

/// Invented person of all test events.
const PERSON: Person<'static> =
    Person { id: "customerio-aep-test", email: "customerio-aep-test@example.com", cio_id: "c0a9e7e57000" };

/// Returns the names of the events that can be sent, for example `email_opened`.
pub(super) fn names() -> Vec<String> {
    CATALOGUE.iter().map(|event| format!("{}_{}", event.object_type.as_str(), event.metric.as_str())).collect()
}

/// Returns the body of the event with this name; `None` if there is no such event. `now` is in milliseconds since 1970.
pub(super) fn body(name: &str, event_id: &str, now: i64) -> Option<String> {
    let event =
        CATALOGUE.iter().find(|event| name == format!("{}_{}", event.object_type.as_str(), event.metric.as_str()))?;
    let variant = *event.variants().first()?;
    let timestamp = now.div_euclid(1000);
    Some(Sample { event, variant, event_id, timestamp, person: PERSON, number: 1 }.body())
}

/// Returns the id of a new test event, with the same prefix as the test events of `customerio-aep check`.
pub(super) fn new_id(now: i64) -> String {
    format!("customerio-aep-test-{now}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_catalogue_event_has_a_test_body() {
        let names = names();
        assert!(names.len() > 60 && names.iter().any(|name| name == "email_opened"), "{names:?}");
        for name in &names {
            let body: serde_json::Value = serde_json::from_str(&body(name, &new_id(1), 1000).unwrap()).unwrap();
            assert_eq!(
                (body["event_id"].as_str(), body["timestamp"].as_i64()),
                (Some("customerio-aep-test-1"), Some(1))
            );
        }
        assert_eq!(body("email_invented", "x", 0), None);
    }
}
