//! The two ways to write a webhook: create a new one, or replace an existing one completely.

use std::collections::BTreeSet;
use std::fmt;

use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::event_name::{EventName, EventSelection};
use crate::webhook::{MessageContent, READ_ONLY, Resolution, WRITABLE, Webhook, WebhookId, shown_url};

/// The fields of a webhook to create. The webhook is always created disabled. Until the receiver knows the signing key,
/// the receiver refuses each event, and Customer.io repeats a refused event only after an hour.
///
/// This type is not `Clone`, so a create with an unknown outcome cannot be repeated without a check: only
/// [`UnconfirmedCreate::look_in`](crate::UnconfirmedCreate::look_in) returns the value.
pub struct NewWebhook {
    /// Name that Customer.io shows.
    pub name: String,
    /// URL to which Customer.io posts events.
    pub endpoint: Url,
    /// Events to subscribe to.
    pub events: EventSelection,
    /// Reporting of opens and clicks: every one, or only the first of a message.
    pub resolution: Resolution,
    /// Reporting of message bodies: included or omitted.
    pub content: MessageContent,
}

impl NewWebhook {
    pub(crate) fn body(&self) -> Value {
        json!({
            "name": self.name,
            "endpoint": self.endpoint.as_str(),
            "disabled": true,
            "full_resolution": self.resolution == Resolution::Every,
            "with_content": self.content == MessageContent::Included,
            "events": self.events.iter().map(|event| event.as_str()).collect::<Vec<_>>(),
        })
    }

    /// Returns true if `webhook` has the same name and endpoint, so that it may be the result of this create.
    pub(crate) fn may_be(&self, webhook: &Webhook) -> bool {
        webhook.name().trim() == self.name.trim()
            && webhook.endpoint().parse().is_ok_and(|url: Url| url == self.endpoint)
    }
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("name", &self.name)
            .field("endpoint", &shown_url(self.endpoint.as_str()))
            .field("resolution", &self.resolution)
            .field("content", &self.content)
            .field("events", &self.events.iter().map(|event| event.as_str()).collect::<Vec<_>>())
            .finish()
    }
}

/// An update of an existing webhook. The API replaces the whole webhook, so the update starts from all fields that the
/// API returned.
///
/// Fields that this version does not know are sent back as they were received. It is not documented that the API
/// accepts them. If it refuses one, the error contains the name of the field, and nothing has changed. Leaving such
/// fields out would reset them silently. Only the documented read-only fields (`id`, `type`) are left out.
#[derive(Clone, PartialEq)]
pub struct WebhookUpdate {
    before: Webhook,
    after: Map<String, Value>,
}

/// A field that an update changes.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Name of the field in the API.
    pub field: &'static str,
    /// Value before the update; null if the API returned none.
    pub before: Value,
    /// Value after the update.
    pub after: Value,
}

impl WebhookUpdate {
    /// An update that changes nothing yet.
    #[must_use]
    pub fn of(webhook: &Webhook) -> Self {
        let mut after = webhook.fields().clone();
        after.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        Self { before: webhook.clone(), after }
    }

    /// Renames the webhook.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.set("name", name.into())
    }

    /// Changes the URL to which Customer.io posts events.
    #[must_use]
    pub fn endpoint(self, endpoint: &Url) -> Self {
        self.set("endpoint", endpoint.as_str().into())
    }

    /// Enables the webhook: Customer.io sends events.
    #[must_use]
    pub fn enable(self) -> Self {
        self.set("disabled", false.into())
    }

    /// Disables the webhook: Customer.io sends no events.
    #[must_use]
    pub fn disable(self) -> Self {
        self.set("disabled", true.into())
    }

    /// Changes how often opens and clicks are reported.
    #[must_use]
    pub fn resolution(self, resolution: Resolution) -> Self {
        self.set("full_resolution", (resolution == Resolution::Every).into())
    }

    /// Changes whether message bodies are reported.
    #[must_use]
    pub fn content(self, content: MessageContent) -> Self {
        self.set("with_content", (content == MessageContent::Included).into())
    }

    /// Subscribes to exactly these events of the App API's list. Subscriptions with names outside of that list are
    /// kept.
    #[must_use]
    pub fn events(self, selection: &EventSelection) -> Self {
        let wanted = |name: &&EventName| name.subscribable().is_none_or(|event| selection.contains(event));
        let mut names: Vec<&str> = self.before.events().iter().filter(wanted).map(EventName::as_str).collect();
        for event in selection.iter() {
            if !names.contains(&event.as_str()) {
                names.push(event.as_str());
            }
        }
        let names = names.into();
        self.set("events", names)
    }

    fn set(mut self, field: &'static str, value: Value) -> Self {
        self.after.insert(field.to_owned(), value);
        self
    }

    /// The id of the webhook to update.
    #[must_use]
    pub fn id(&self) -> WebhookId {
        self.before.id()
    }

    /// The fields whose values differ. The order of events and the spelling of the endpoint URL do not matter, and a
    /// missing boolean field counts as false.
    #[must_use]
    pub fn changes(&self) -> Vec<FieldChange> {
        let value = |fields: &Map<String, Value>, field| fields.get(field).cloned().unwrap_or_default();
        let change = |field: &'static str| FieldChange {
            field,
            before: value(self.before.fields(), field),
            after: value(&self.after, field),
        };
        let differs = |change: &FieldChange| match change.field {
            "events" => names(&change.before) != names(&change.after),
            "disabled" | "full_resolution" | "with_content" => {
                change.before.as_bool().unwrap_or_default() != change.after.as_bool().unwrap_or_default()
            }
            "endpoint" => url(&change.before).is_none() || url(&change.before) != url(&change.after),
            _ => change.before != change.after,
        };
        WRITABLE.into_iter().map(change).filter(differs).collect()
    }

    /// Names of the fields that this version does not know and sends back unchanged.
    #[must_use]
    pub fn unknown_fields(&self) -> Vec<String> {
        self.before.unknown_fields().map(str::to_owned).collect()
    }

    pub(crate) fn body(&self) -> Value {
        Value::Object(self.after.clone())
    }
}

fn names(events: &Value) -> BTreeSet<&str> {
    events.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Parses the endpoint, so that different spellings of one URL compare as equal.
fn url(value: &Value) -> Option<Url> {
    value.as_str()?.parse().ok()
}

impl fmt::Debug for WebhookUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed: Vec<_> = self.changes().into_iter().map(|change| change.field).collect();
        f.debug_struct("WebhookUpdate").field("before", &self.before).field("changed", &changed).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event_name::SubscribableEvent;

    fn webhook(extra: Value) -> Webhook {
        let mut value = json!({
            "name": "a", "id": 4, "type": "webhook", "endpoint": "https://example.com/webhook", "disabled": true,
            "full_resolution": true, "with_content": true, "events": ["email_failed", "line_sent", "slack_undeliverable"],
        });
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Webhook::parse(&value).unwrap()
    }

    fn events(names: &[&str]) -> EventSelection {
        EventSelection::new(names.iter().map(|name| name.parse::<SubscribableEvent>().unwrap())).unwrap()
    }

    #[test]
    fn a_new_webhook_is_created_disabled() {
        let new = NewWebhook {
            name: "ours".to_owned(),
            endpoint: "https://x.example/webhooks/customerio?key=topsecret".parse().unwrap(),
            events: events(&["email_sent", "customer_subscribed"]),
            resolution: Resolution::FirstOnly,
            content: MessageContent::Included,
        };
        let body = json!({
            "name": "ours", "endpoint": "https://x.example/webhooks/customerio?key=topsecret", "disabled": true,
            "full_resolution": false, "with_content": true, "events": ["customer_subscribed", "email_sent"],
        });
        assert_eq!(new.body(), body);
        assert!(!format!("{new:?}").contains("topsecret"));
    }

    #[test]
    fn an_update_sends_back_every_received_field_except_read_only_ones() {
        let webhook = webhook(json!({"batching": {"size": 10}, "tags": ["x"]}));
        let update = WebhookUpdate::of(&webhook).enable();
        let body = json!({
            "name": "a", "endpoint": "https://example.com/webhook", "disabled": false, "full_resolution": true,
            "with_content": true, "events": ["email_failed", "line_sent", "slack_undeliverable"],
            "batching": {"size": 10}, "tags": ["x"],
        });
        assert_eq!(update.body(), body);
        assert_eq!(update.unknown_fields(), ["batching", "tags"]);
        let changes = [FieldChange { field: "disabled", before: true.into(), after: false.into() }];
        assert_eq!(update.changes(), changes);
    }

    #[test]
    fn selecting_events_keeps_subscriptions_outside_the_app_api_list() {
        let update = WebhookUpdate::of(&webhook(json!({}))).events(&events(&["email_sent"]));
        assert_eq!(update.body()["events"], json!(["line_sent", "slack_undeliverable", "email_sent"]));
        let same = WebhookUpdate::of(&webhook(json!({"events": ["email_sent", "email_failed"]})))
            .events(&events(&["email_failed", "email_sent"]));
        assert_eq!(same.changes(), []);
    }

    #[test]
    fn setting_a_value_that_is_already_set_changes_nothing() {
        let webhook = webhook(json!({"full_resolution": null, "endpoint": "https://example.com"}));
        let update = WebhookUpdate::of(&webhook)
            .disable()
            .name("a")
            .endpoint(&"https://EXAMPLE.com/".parse().unwrap())
            .resolution(Resolution::FirstOnly)
            .content(MessageContent::Included);
        assert_eq!(update.changes(), []);
    }

    proptest! {
        #[test]
        fn no_sequence_of_changes_drops_an_unknown_field(
            extra in proptest::collection::btree_map("[a-z]{8,12}", 0..100_u64, 0..6),
            steps in proptest::collection::vec(0..6_u8, 0..8),
        ) {
            let extra: Map<String, Value> = extra.into_iter().map(|(name, value)| (name, value.into())).collect();
            let webhook = webhook(Value::Object(extra.clone()));
            let update = steps.iter().fold(WebhookUpdate::of(&webhook), |update, step| match step {
                0 => update.enable(),
                1 => update.disable(),
                2 => update.name("b"),
                3 => update.resolution(Resolution::FirstOnly),
                4 => update.content(MessageContent::Omitted),
                _ => update.events(&EventSelection::all()),
            });
            let body = update.body();
            for (name, value) in &extra {
                if !WRITABLE.contains(&name.as_str()) {
                    prop_assert_eq!(&body[name], value);
                }
            }
            prop_assert!(body.get("id").is_none() && body.get("type").is_none());
            let kept = ["line_sent", "slack_undeliverable"].map(|name| body["events"].as_array().unwrap().contains(&name.into()));
            prop_assert_eq!(kept, [true, true]);
        }
    }
}
