//! A reporting webhook as the API returns it.

use std::fmt;

use reqwest::Url;
use serde_json::{Map, Value};

use crate::event_name::EventName;

/// The id of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId(pub u64);

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The field `type` of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookKind {
    /// `webhook`: Customer.io posts a request for each event.
    Webhook,
    /// `js`: a JavaScript webhook. Its requests are not documented.
    Js,
    /// Another text, or an empty one if the field is missing.
    Other(String),
}

/// Reporting of repeated opens and clicks of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Only the first open and the first click of a message (`full_resolution: false`).
    FirstOnly,
    /// Every open and click (`full_resolution: true`).
    Every,
}

/// Reporting of bodies and headers of messages in `sent` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageContent {
    /// Bodies and headers are left out (`with_content: false`). Events about changed preferences then do not contain
    /// the new preferences.
    Omitted,
    /// Bodies and headers are included.
    Included,
}

/// An existing webhook.
///
/// The value keeps every field that the API returned, including fields that this version does not know. An update
/// replaces the whole webhook, so [`WebhookUpdate`](crate::WebhookUpdate) starts from this value.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    id: WebhookId,
    name: String,
    endpoint: String,
    kind: WebhookKind,
    disabled: bool,
    resolution: Resolution,
    content: MessageContent,
    events: Vec<EventName>,
    fields: Map<String, Value>,
}

/// Fields that the API assigns; they are not part of a request.
pub(crate) const READ_ONLY: [&str; 2] = ["id", "type"];
/// Fields that this version sets.
pub(crate) const WRITABLE: [&str; 6] = ["name", "endpoint", "disabled", "full_resolution", "with_content", "events"];

impl Webhook {
    /// Parses one webhook.
    ///
    /// # Errors
    /// [`UnreadableWebhook`], which contains the name of the wrong field.
    pub fn parse(value: &Value) -> Result<Self, UnreadableWebhook> {
        let Some(fields) = value.as_object() else {
            return Err(UnreadableWebhook { id: None, name: None, problem: "it is not a JSON object".to_owned() });
        };
        let id = fields.get("id").and_then(id_of);
        let read = || {
            Ok(Self {
                id: id.ok_or("`id` is missing or not a positive integer")?,
                name: text(fields, "name", "`name` is missing or not a text")?.to_owned(),
                endpoint: text(fields, "endpoint", "`endpoint` is missing or not a text")?.to_owned(),
                kind: kind(fields)?,
                disabled: flag(fields, "disabled", "`disabled` is neither true nor false")?,
                resolution: match flag(fields, "full_resolution", "`full_resolution` is neither true nor false")? {
                    true => Resolution::Every,
                    false => Resolution::FirstOnly,
                },
                content: match flag(fields, "with_content", "`with_content` is neither true nor false")? {
                    true => MessageContent::Included,
                    false => MessageContent::Omitted,
                },
                events: events(fields)?,
                fields: fields.clone(),
            })
        };
        read().map_err(|problem: &str| UnreadableWebhook {
            id,
            name: fields.get("name").and_then(Value::as_str).map(str::to_owned),
            problem: problem.to_owned(),
        })
    }

    /// The id of the webhook.
    #[must_use]
    pub fn id(&self) -> WebhookId {
        self.id
    }

    /// The name that Customer.io shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The complete URL to which events are posted. Its query may contain a secret of another receiver, so print
    /// [`Self::shown_endpoint`] instead.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The endpoint URL without user name, password, query and fragment.
    #[must_use]
    pub fn shown_endpoint(&self) -> String {
        shown_url(&self.endpoint)
    }

    /// The host of the endpoint URL; `None` if the endpoint is not a URL.
    #[must_use]
    pub fn endpoint_host(&self) -> Option<String> {
        self.endpoint.parse::<Url>().ok()?.host_str().map(str::to_owned)
    }

    /// The kind of the webhook.
    #[must_use]
    pub fn kind(&self) -> &WebhookKind {
        &self.kind
    }

    /// Returns true if Customer.io sends events. A webhook without the field `disabled` counts as enabled.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.disabled
    }

    /// The reporting of repeated opens and clicks.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// The reporting of message bodies and headers.
    #[must_use]
    pub fn content(&self) -> MessageContent {
        self.content
    }

    /// The events, in the order in which the API returned them.
    #[must_use]
    pub fn events(&self) -> &[EventName] {
        &self.events
    }

    /// The names of the fields that this version does not know.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        let known = |name: &&str| READ_ONLY.contains(name) || WRITABLE.contains(name);
        self.fields.keys().map(String::as_str).filter(move |name| !known(name))
    }

    /// All fields that the API returned.
    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

/// Shows the endpoint without its query, and unknown fields by name only.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id.0)
            .field("name", &self.name)
            .field("endpoint", &self.shown_endpoint())
            .field("kind", &self.kind)
            .field("disabled", &self.disabled)
            .field("resolution", &self.resolution)
            .field("content", &self.content)
            .field("events", &self.events.iter().map(EventName::as_str).collect::<Vec<_>>())
            .field("unknown_fields", &self.unknown_fields().collect::<Vec<_>>())
            .finish()
    }
}

/// A URL without its user name, password, query and fragment.
pub(crate) fn shown_url(text: &str) -> String {
    let Ok(mut url) = text.parse::<Url>() else { return "(not a URL)".to_owned() };
    let had_query = url.query().is_some();
    url.set_query(None);
    url.set_fragment(None);
    // Both calls fail only for a URL that cannot have a user name, such as `mailto:`. Then only the scheme is shown.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return format!("{}:…", url.scheme());
    }
    if had_query { format!("{url}?…") } else { url.into() }
}

/// A list entry that this version cannot read. It is reported, never dropped, because it may be a webhook that sends
/// events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableWebhook {
    /// Id of the webhook, if it can be read.
    pub id: Option<WebhookId>,
    /// Name of the webhook, if it can be read.
    pub name: Option<String>,
    /// Description of the wrong field, without its value.
    pub problem: String,
}

impl fmt::Display for UnreadableWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "webhook {id} cannot be read: {}", self.problem),
            None => write!(f, "a webhook without an id cannot be read: {}", self.problem),
        }
    }
}

/// All webhooks of a workspace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebhookList {
    /// The webhooks that this version can read.
    pub webhooks: Vec<Webhook>,
    /// The entries that this version cannot read.
    pub unreadable: Vec<UnreadableWebhook>,
}

impl WebhookList {
    /// Parses the response of `GET /v1/reporting_webhooks`. `{"reporting_webhooks": null}` is an empty list.
    ///
    /// # Errors
    /// A description of the problem with the response.
    pub fn parse(value: &Value) -> Result<Self, &'static str> {
        let member = value.get("reporting_webhooks").ok_or("it has no `reporting_webhooks`")?;
        let entries = match member {
            Value::Null => return Ok(Self::default()),
            Value::Array(entries) => entries,
            _ => return Err("`reporting_webhooks` is not a list"),
        };
        let mut list = Self::default();
        for entry in entries {
            match Webhook::parse(entry) {
                Ok(webhook) => list.webhooks.push(webhook),
                Err(unreadable) => list.unreadable.push(unreadable),
            }
        }
        Ok(list)
    }
}

fn id_of(value: &Value) -> Option<WebhookId> {
    match value {
        Value::Number(number) => number.as_u64().map(WebhookId),
        Value::String(text) => text.parse().ok().map(WebhookId),
        _ => None,
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str, problem: &'static str) -> Result<&'a str, &'static str> {
    fields.get(name).and_then(Value::as_str).ok_or(problem)
}

/// Reads a boolean field. A field that is absent or null counts as false, as in the API.
fn flag(fields: &Map<String, Value>, name: &str, problem: &'static str) -> Result<bool, &'static str> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or(problem),
    }
}

fn kind(fields: &Map<String, Value>) -> Result<WebhookKind, &'static str> {
    match fields.get("type") {
        None | Some(Value::Null) => Ok(WebhookKind::Other(String::new())),
        Some(value) => match value.as_str().ok_or("`type` is not a text")? {
            "webhook" => Ok(WebhookKind::Webhook),
            "js" => Ok(WebhookKind::Js),
            other => Ok(WebhookKind::Other(other.to_owned())),
        },
    }
}

fn events(fields: &Map<String, Value>) -> Result<Vec<EventName>, &'static str> {
    let names = match fields.get("events") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or("`events` is not a list")?,
    };
    let name = |value: &Value| value.as_str().map(EventName::parse).ok_or("`events` has an entry that is not a text");
    names.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Value {
        json!({
            "name": "my cool webhook", "id": 4, "type": "webhook", "endpoint": "https://example.com/webhook",
            "disabled": false, "full_resolution": true, "with_content": false, "events": ["email_failed", "webhook_failed"],
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut webhook = example();
        webhook[name] = value;
        webhook
    }

    #[test]
    fn the_documented_example_of_a_webhook_is_read() {
        let webhook = Webhook::parse(&example()).unwrap();
        assert_eq!((webhook.id(), webhook.name(), webhook.is_enabled()), (WebhookId(4), "my cool webhook", true));
        assert_eq!((webhook.resolution(), webhook.content()), (Resolution::Every, MessageContent::Omitted));
        assert_eq!(webhook.kind(), &WebhookKind::Webhook);
        assert_eq!(webhook.endpoint_host().as_deref(), Some("example.com"));
        assert_eq!(
            webhook.events().iter().map(EventName::as_str).collect::<Vec<_>>(),
            ["email_failed", "webhook_failed"]
        );
        assert_eq!(webhook.unknown_fields().count(), 0);
    }

    #[test]
    fn a_list_keeps_unreadable_entries_next_to_readable_ones() {
        assert_eq!(WebhookList::parse(&json!({"reporting_webhooks": null})), Ok(WebhookList::default()));
        let list = json!({"reporting_webhooks": [with("type", json!("js")), {"id": 7, "name": "odd"}, 3]});
        let list = WebhookList::parse(&list).unwrap();
        assert_eq!(list.webhooks[0].kind(), &WebhookKind::Js);
        let ids: Vec<_> = list.unreadable.iter().map(|unreadable| unreadable.id).collect();
        assert_eq!(ids, [Some(WebhookId(7)), None]);
        assert_eq!(list.unreadable[0].to_string(), "webhook 7 cannot be read: `endpoint` is missing or not a text");
        for wrong in [json!({}), json!([]), json!({"reporting_webhooks": {}})] {
            assert!(WebhookList::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_error_for_a_field_of_the_wrong_type_contains_the_name_but_not_the_value() {
        for name in ["id", "name", "endpoint", "type", "disabled", "full_resolution", "with_content", "events"] {
            let error = Webhook::parse(&with(name, json!({"topsecret": 1}))).unwrap_err();
            assert!(error.problem.contains(&format!("`{name}`")) && !error.problem.contains("topsecret"), "{error:?}");
        }
        assert!(Webhook::parse(&with("events", json!([1]))).is_err());
        assert!(Webhook::parse(&with("events", Value::Null)).unwrap().events().is_empty());
    }

    #[test]
    fn unknown_events_and_fields_of_a_webhook_are_kept() {
        let mut value = with("events", json!(["email_sent", "line_sent"]));
        value["batching"] = json!({"size": 10});
        let webhook = Webhook::parse(&value).unwrap();
        assert_eq!(webhook.events()[1], EventName::Unknown("line_sent".to_owned()));
        assert_eq!(webhook.unknown_fields().collect::<Vec<_>>(), ["batching"]);
        assert_eq!(webhook.fields()["batching"]["size"], 10);
    }

    #[test]
    fn a_secret_in_the_endpoint_url_is_not_shown() {
        for url in
            ["https://x.example/a?token=topsecret", "https://me:topsecret@x.example/a", "https://x.example/a#topsecret"]
        {
            let webhook = Webhook::parse(&with("endpoint", json!(url))).unwrap();
            assert!(webhook.shown_endpoint().starts_with("https://x.example/a"), "{}", webhook.shown_endpoint());
            assert!(!format!("{webhook:?}{}", webhook.shown_endpoint()).contains("topsecret"));
        }
        assert_eq!(shown_url("topsecret"), "(not a URL)");
        assert!(!shown_url("mailto:topsecret@example.com?a=topsecret").contains("topsecret"));
    }
}
