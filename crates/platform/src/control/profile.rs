//! Reads events of Real-Time Customer Profile, to prove that an event has reached the profile of a person.

use serde::Deserialize;

use crate::control::answer::{Answer, Unreadable, number, or_default, text};
use crate::control::request::{Call, Request};

const ENTITIES: &str = "/data/core/ups/access/entities";
/// Maximum number of events that Platform returns on one page.
const LIMIT: &str = "100";

/// An event of a profile, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProfileEvent {
    /// The event's `_id`.
    #[serde(rename = "entityId", default, deserialize_with = "text")]
    pub id: Option<String>,
    /// The event's time, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub timestamp: Option<i64>,
}

/// Requests the newest events of the profile that has the identity `value` in `namespace`. `from` is the earliest time,
/// in milliseconds since 1970. If the profile does not exist, the response is 404.
#[must_use]
pub fn profile_events(namespace: &str, value: &str, from: i64) -> Call<Vec<ProfileEvent>> {
    let request = Request::get(ENTITIES)
        .query("schema.name", "_xdm.context.experienceevent")
        .query("relatedSchema.name", "_xdm.context.profile")
        .query("relatedEntityId", value)
        .query("relatedEntityIdNS", namespace)
        .query("startTime", &from.to_string())
        .query("orderby", "-timestamp")
        .query("limit", LIMIT);
    Call::new(request, read)
}

fn read(_: &Request, answer: &Answer) -> Result<Vec<ProfileEvent>, Unreadable> {
    #[derive(Deserialize)]
    struct Events {
        #[serde(default, deserialize_with = "or_default")]
        children: Vec<ProfileEvent>,
    }
    Ok(answer.json::<Events>()?.children)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: &serde_json::Value) -> Answer {
        Answer { status: 200, body: body.to_string().into(), ..Answer::default() }
    }

    #[test]
    fn profile_events_are_read_with_id_and_timestamp() {
        let call = profile_events("Email", "a+b@example.com", 12);
        let path = "/data/core/ups/access/entities?schema.name=_xdm.context.experienceevent\
            &relatedSchema.name=_xdm.context.profile&relatedEntityId=a%2Bb%40example.com&relatedEntityIdNS=Email\
            &startTime=12&orderby=-timestamp&limit=100";
        assert_eq!(call.request().path, path);
        assert!(call.request().is_repeatable());
        let body = json!({
            "_page": {"orderby": "timestamp", "start": "x", "count": 2, "next": ""},
            "children": [
                {"relatedEntityId": "r", "entityId": "id-1", "timestamp": 1_531_260_476_000_i64, "entity": {"email": "a"}},
                {"entityId": 7},
            ],
            "_links": {"next": {"href": ""}},
        });
        let events = call.read(&answer(&body)).unwrap();
        let ids: Vec<_> = events.iter().map(|event| (event.id.as_deref(), event.timestamp)).collect();
        assert_eq!(ids, [(Some("id-1"), Some(1_531_260_476_000)), (Some("7"), None)]);
        assert_eq!(call.read(&answer(&json!({"children": null}))).unwrap(), []);
        assert!(call.read(&answer(&json!("no object"))).is_err());
    }
}
