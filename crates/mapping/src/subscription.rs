//! Maps changes of a person's subscriptions. Customer.io sends topic and channel preferences as JSON inside a string,
//! and only if the webhook's option for body content is enabled.

use std::borrow::Cow;

use customerio::catalogue::Metric;
use customerio::webhook::{Data, Field};
use xdm::event::{Preference, Subscription};

use crate::{IgnoredFields, Kind};

/// Returns the change of subscriptions, for events about the person. Unreadable preferences are counted as unreadable,
/// and the content of a message is counted as withheld.
pub(crate) fn subscription(kind: Kind, data: &Data<'_>, ignored: &mut IgnoredFields) -> Option<Subscription<'static>> {
    if !kind.person || kind.metric != Some(Metric::PreferencesChanged) {
        ignored.withhold(data.content);
    }
    if !kind.person {
        return None;
    }
    let status = |status| Some(Subscription { status: Some(Cow::Borrowed(status)), ..Subscription::default() });
    match kind.metric {
        Some(Metric::Subscribed) => status("subscribed"),
        Some(Metric::Unsubscribed) => status("unsubscribed"),
        Some(Metric::PreferencesChanged) => {
            let found = preferences(data.content);
            ignored.note(data.content, found.is_some());
            found
        }
        _ => None,
    }
}

fn preferences(content: Field<'_>) -> Option<Subscription<'static>> {
    let text = content.text()?;
    let object = Field::parse(&text)?;
    let mut subscription = Subscription::default();
    for (key, value) in object.entries() {
        match key.as_ref() {
            "topics" => subscription.topics = booleans(value),
            "channels" => subscription.channels = booleans(value),
            _ => {}
        }
    }
    (subscription != Subscription::default()).then_some(subscription)
}

/// Returns the boolean members of an object, sorted by key. If a key is repeated, its last value is used.
fn booleans(object: Field<'_>) -> Vec<Preference<'static>> {
    let mut members = std::collections::BTreeMap::new();
    for (key, value) in object.entries() {
        if let Some(subscribed) = value.boolean() {
            members.insert(key.into_owned(), subscribed);
        }
    }
    members.into_iter().map(|(id, subscribed)| Preference { id: Cow::Owned(id), subscribed }).collect()
}
