//! Rules of the App API for the body of a webhook, as pure functions.

use customerio::catalogue::CATALOGUE;
use serde_json::{Map, Value, json};

use super::problem::FieldError;

/// Fields that a request may contain.
const WRITABLE: [&str; 6] = ["name", "endpoint", "disabled", "full_resolution", "with_content", "events"];
/// Fields that the API assigns.
const READ_ONLY: [&str; 2] = ["id", "type"];
/// Event that Customer.io's catalogue of payloads contains, but the App API's list of event names does not.
const NOT_IN_THE_LIST: &str = "slack_undeliverable";

/// Fields of a webhook, as the API returns them.
pub(super) type Fields = Map<String, Value>;

/// Checks the body of a create, or of an update of `existing`. An update replaces all fields, so fields that are
/// missing from the body are reset.
///
/// An existing webhook can have undocumented fields and events, like in a later version of the API. An update may
/// contain these fields and events.
pub(super) fn checked(body: &[u8], id: u64, existing: Option<&Fields>) -> Result<Fields, Vec<FieldError>> {
    let Ok(Value::Object(given)) = serde_json::from_slice(body) else {
        return Err(vec![FieldError::new("/", "the body is not a JSON object")]);
    };
    let is_extra = |name: &str| !WRITABLE.contains(&name) && !READ_ONLY.contains(&name);
    let is_known = |name: &str| {
        WRITABLE.contains(&name) || existing.is_some_and(|existing| is_extra(name) && existing.contains_key(name))
    };
    let mut errors: Vec<FieldError> = Vec::new();
    for name in given.keys().filter(|name| !is_known(name)) {
        let detail = if READ_ONLY.contains(&name.as_str()) { "is read-only" } else { "unknown field" };
        errors.push(FieldError::new(format!("/{name}"), detail));
    }
    if given.get("name").and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        errors.push(FieldError::new("/name", "is required and must be a text"));
    }
    if !given.get("endpoint").and_then(Value::as_str).is_some_and(is_http_url) {
        errors.push(FieldError::new("/endpoint", "is required and must be a URL"));
    }
    for name in ["disabled", "full_resolution", "with_content"] {
        if given.get(name).is_some_and(|value| !value.is_boolean()) {
            errors.push(FieldError::new(format!("/{name}"), "must be true or false"));
        }
    }
    check_events(given.get("events"), existing, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let value = |name: &str| given.get(name).cloned().unwrap_or(Value::Bool(false));
    let kind = existing.and_then(|existing| existing.get("type")).cloned().unwrap_or_else(|| "webhook".into());
    let mut fields = Fields::new();
    fields.insert("name".to_owned(), value("name"));
    fields.insert("id".to_owned(), json!(id));
    fields.insert("type".to_owned(), kind);
    for name in &WRITABLE[1..] {
        fields.insert((*name).to_owned(), value(name));
    }
    fields.extend(given.into_iter().filter(|(name, _)| is_extra(name)));
    Ok(fields)
}

fn check_events(events: Option<&Value>, existing: Option<&Fields>, errors: &mut Vec<FieldError>) {
    let Some(events) = events.and_then(Value::as_array).filter(|events| !events.is_empty()) else {
        errors.push(FieldError::new("/events", "is required and must have at least one event"));
        return;
    };
    let old = existing.and_then(|existing| existing["events"].as_array()).map(Vec::as_slice).unwrap_or_default();
    for (place, event) in events.iter().enumerate() {
        let is_listed = event
            .as_str()
            .is_some_and(|name| name != NOT_IN_THE_LIST && CATALOGUE.iter().any(|known| known.subscription == name));
        if !is_listed && !old.contains(event) {
            errors.push(FieldError::new(format!("/events/{place}"), "is not an event"));
        }
    }
}

fn is_http_url(text: &str) -> bool {
    text.parse::<reqwest::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Whether this webhook is enabled and subscribed to this event.
pub(super) fn takes(fields: &Fields, event: &str) -> bool {
    let is_on = fields.get("disabled").and_then(Value::as_bool) == Some(false);
    let events = fields.get("events").and_then(Value::as_array);
    is_on && events.is_some_and(|events| events.iter().any(|name| name.as_str() == Some(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: &[(&str, Value)]) -> Vec<u8> {
        let mut body = json!({"name": "a", "endpoint": "https://x.example/hook", "events": ["email_sent"]});
        for (name, value) in change {
            body[name] = value.clone();
        }
        body.to_string().into_bytes()
    }

    fn pointers(change: &[(&str, Value)]) -> Vec<String> {
        let errors = checked(&body(change), 4, None).unwrap_err();
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_created_webhook_has_the_documented_fields_and_defaults() {
        let fields = checked(&body(&[]), 4, None).unwrap();
        let expected = json!({
            "name": "a", "id": 4, "type": "webhook", "endpoint": "https://x.example/hook", "disabled": false,
            "full_resolution": false, "with_content": false, "events": ["email_sent"],
        });
        assert_eq!(Value::Object(fields), expected);
    }

    #[test]
    fn an_invalid_member_is_refused_with_a_pointer_to_it() {
        assert_eq!(pointers(&[("dissabled", json!(true))]), ["/dissabled"]);
        assert_eq!(pointers(&[("id", json!(4)), ("type", json!("js"))]), ["/id", "/type"]);
        assert_eq!(pointers(&[("name", json!(" ")), ("endpoint", json!("x"))]), ["/name", "/endpoint"]);
        assert_eq!(pointers(&[("endpoint", json!("ftp://x/hook"))]), ["/endpoint"]);
        assert_eq!(
            pointers(&[("disabled", json!("true")), ("with_content", Value::Null)]),
            ["/disabled", "/with_content"]
        );
        assert_eq!(pointers(&[("events", json!([]))]), ["/events"]);
        assert_eq!(pointers(&[("events", json!("email_sent"))]), ["/events"]);
        let events = json!(["email_sent", "Email_Sent", "slack_undeliverable", 3]);
        assert_eq!(pointers(&[("events", events)]), ["/events/1", "/events/2", "/events/3"]);
        assert!(checked(b"{", 4, None).is_err() && checked(b"[]", 4, None).is_err());
    }

    #[test]
    fn an_update_resets_missing_fields_and_may_contain_existing_extra_fields() {
        let mut existing =
            checked(&body(&[("disabled", json!(true)), ("with_content", json!(true))]), 4, None).unwrap();
        existing.insert("batching".to_owned(), json!({"size": 10}));
        existing.insert("events".to_owned(), json!(["email_sent", "line_sent"]));
        let reset = checked(&body(&[]), 4, Some(&existing)).unwrap();
        assert_eq!((&reset["disabled"], &reset["with_content"]), (&json!(false), &json!(false)));
        assert!(!reset.contains_key("batching"));
        let change = [("batching", json!({"size": 10})), ("events", json!(["line_sent"]))];
        let kept = checked(&body(&change), 4, Some(&existing)).unwrap();
        assert_eq!((&kept["batching"]["size"], &kept["events"]), (&json!(10), &json!(["line_sent"])));
        assert_eq!(pointers(&change), ["/batching", "/events/0"]);
    }

    #[test]
    fn only_an_enabled_webhook_gets_the_events_that_it_subscribes_to() {
        let on = checked(&body(&[]), 4, None).unwrap();
        assert!(takes(&on, "email_sent") && !takes(&on, "email_opened"));
        assert!(!takes(&checked(&body(&[("disabled", json!(true))]), 4, None).unwrap(), "email_sent"));
    }
}
