//! Stores the events of profiles.

use serde_json::{Value, json};
use tokio::time::Instant;

/// Maximum number of events that are stored for a sandbox.
const KEPT: usize = 10_000;

/// An event of a profile.
#[derive(Debug, Clone)]
pub(crate) struct ProfileEvent {
    id: String,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    event: Value,
    pub(crate) stored: Instant,
}

impl ProfileEvent {
    /// Whether the event has an identity with this namespace and value.
    pub(crate) fn is_of(&self, namespace: &str, value: &str) -> bool {
        let identities = self.event.pointer("/identityMap").and_then(|map| map.get(namespace)?.as_array());
        identities.is_some_and(|found| found.iter().any(|identity| identity["id"].as_str() == Some(value)))
    }

    pub(crate) fn shown(&self, value: &str) -> Value {
        json!({"relatedEntityId": value, "entityId": self.id, "timestamp": self.timestamp, "entity": self.event})
    }
}

/// Stores an event on the conditions of Profile: it has an identity, and no event with its id is stored yet.
pub(crate) fn keep(kept: &mut Vec<ProfileEvent>, id: &str, event: &Value) {
    let has_identity = event.get("identityMap").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    if !has_identity || kept.len() >= KEPT || kept.iter().any(|known| known.id == id) {
        return;
    }
    let timestamp = event["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let timestamp = timestamp.map(jiff::Timestamp::as_millisecond).unwrap_or_default();
    kept.push(ProfileEvent { id: id.to_owned(), timestamp, event: event.clone(), stored: Instant::now() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_stores_only_events_that_have_an_identity_and_a_new_id() {
        let event = |map: Value| json!({"timestamp": "2026-01-01T00:00:00.000Z", "identityMap": map});
        let mut kept = Vec::new();
        keep(&mut kept, "a", &event(json!({"Email": [{"id": "x@example.com"}]})));
        keep(&mut kept, "a", &event(json!({"Email": [{"id": "y@example.com"}]})));
        keep(&mut kept, "b", &event(json!({})));
        keep(&mut kept, "c", &json!({}));
        assert_eq!(kept.len(), 1);
        assert!(kept[0].is_of("Email", "x@example.com") && !kept[0].is_of("Phone", "x@example.com"));
        assert_eq!(kept[0].timestamp, 1_767_225_600_000);
    }
}
