//! Hides the values of events on the server: what a page does not contain, no one can find in it.
//!
//! A field is readable if it is in the tables below *and* its value has the form of an id or a code. Everything else is
//! masked: identifiers of people, addresses, numbers, subjects, the query of links, contents, and every field that is not
//! known. The tests compare the tables with the rules of the mapping.

use std::borrow::Cow;

use serde_json::Value;

/// What stands for a value that is not shown.
pub const MASK: &str = "•••";

/// Whether values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Only those that are readable for everyone.
    Masked,
    /// All: an investigator has asked for this event, which was logged.
    Revealed,
}

/// Which kind of JSON a field is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The webhook as Customer.io sends it.
    Webhook,
    /// The event in XDM, as Platform gets it.
    Xdm,
}

/// One field of an event, as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its path, with `[0]` for elements.
    pub path: String,
    /// The same with every name as it is, to find the field in a mapping. A page never shows it: a name can be a value.
    pub(crate) exact_path: String,
    /// Its value as text, or [`MASK`].
    pub value: String,
    /// Whether the value is not shown.
    pub is_masked: bool,
}

/// The most fields of one event that are shown.
const MOST_FIELDS: usize = 500;
/// The longest value that is shown, in characters.
pub(crate) const LONGEST_VALUE: usize = 4000;
/// The longest name of a field that is shown, in characters.
const LONGEST_NAME: usize = 200;
/// The deepest nesting that is shown.
const DEEPEST: usize = 20;

/// Fields of a webhook that everyone may read.
const READABLE_IN_WEBHOOK: &[&str] = &[
    "event_id",
    "timestamp",
    "object_type",
    "object_type_type",
    "metric",
    "data.delivery_id",
    "data.campaign_id",
    "data.broadcast_id",
    "data.newsletter_id",
    "data.transactional_message_id",
    "data.action_id",
    "data.parent_action_id",
    "data.content_id",
    "data.journey_id",
    "data.trigger_id",
    "data.trigger_event_id",
    "data.conversion_event_id",
    "data.inbound_event_id",
    "data.link_id",
    "data.machine",
    "data.prefetched",
    "data.proxied",
    "data.synthetic",
    "data.recipients[].device_platform",
];

/// Fields of an event in XDM that everyone may read. `*` is any one name, `_*` the name of the tenant.
const READABLE_IN_XDM: &[&str] = &[
    "_id",
    "timestamp",
    "eventType",
    "producedBy",
    "identityMap.*[].authenticatedState",
    "identityMap.*[].primary",
    "channel._id",
    "channel._type",
    "channel.typeAtSource",
    "directMarketing.messageID",
    "directMarketing.*.value",
    "pushNotificationTracking.pushProvider",
    "pushNotificationTracking.customAction.actionID",
    "_*.customerio.objectType",
    "_*.customerio.metric",
    "_*.customerio.workspaceID",
    "_*.customerio.deliveryID",
    "_*.customerio.campaignID",
    "_*.customerio.broadcastID",
    "_*.customerio.newsletterID",
    "_*.customerio.transactionalMessageID",
    "_*.customerio.actionID",
    "_*.customerio.parentActionID",
    "_*.customerio.contentID",
    "_*.customerio.journeyID",
    "_*.customerio.triggerID",
    "_*.customerio.triggerEventID",
    "_*.customerio.conversionEventID",
    "_*.customerio.devices[].platform",
    "_*.customerio.feedbackStatus",
    "_*.customerio.interactionType",
    "_*.customerio.isMachine",
    "_*.customerio.open.proxied",
    "_*.customerio.open.prefetched",
    "_*.customerio.open.synthetic",
    "_*.customerio.link.id",
    "_*.customerio.link.machine",
    "_*.customerio.reply.inboundEventID",
    "_*.customerio.subscription.status",
    "_*.customerio.subscription.topics[].id",
    "_*.customerio.subscription.topics[].subscribed",
    "_*.customerio.subscription.channels[].id",
    "_*.customerio.subscription.channels[].subscribed",
    "_*.customerio.source",
    "_*.customerio.receivedAt",
    "_*.customerio.timestampAdjusted",
    "_*.customerio.truncated",
    "_*.customerio.mappingVersion",
];

/// Links, of which everyone may read what is before the query.
const LINKS: &[&str] = &["data.href", "_*.customerio.link.href"];

/// The fields of an event in their order, and whether there are more than are returned.
#[must_use]
pub fn fields(form: Form, event: &Value, values: Values) -> (Vec<Field>, bool) {
    let mut walk = Walk { form, values, fields: Vec::new(), is_cut: false };
    walk.value(Paths::default(), event, 0);
    (walk.fields, walk.is_cut)
}

struct Walk {
    form: Form,
    values: Values,
    fields: Vec<Field>,
    is_cut: bool,
}

/// The path of a value in three forms.
#[derive(Default)]
struct Paths {
    /// As a page shows it.
    shown: String,
    exact: String,
    /// With `[]` for every element.
    pattern: String,
}

impl Paths {
    fn member(&self, shown: &str, name: &str) -> Self {
        let dot = if self.shown.is_empty() { "" } else { "." };
        // A name with a dot in it must not look like the path of another field.
        let in_table = if name.contains(['.', '[', ']']) { MASK } else { name };
        Self {
            shown: format!("{}{dot}{shown}", self.shown),
            exact: format!("{}{dot}{name}", self.exact),
            pattern: format!("{}{dot}{in_table}", self.pattern),
        }
    }

    fn element(&self, index: usize) -> Self {
        Self {
            shown: format!("{}[{index}]", self.shown),
            exact: format!("{}[{index}]", self.exact),
            pattern: format!("{}[]", self.pattern),
        }
    }
}

impl Walk {
    fn value(&mut self, paths: Paths, value: &Value, depth: usize) {
        if self.fields.len() >= MOST_FIELDS {
            self.is_cut = true;
            return;
        }
        match value {
            Value::Object(object) if !object.is_empty() && depth < DEEPEST => {
                for (key, value) in object {
                    self.value(paths.member(&self.key(key), key), value, depth + 1);
                }
            }
            Value::Array(array) if !array.is_empty() && depth < DEEPEST => {
                for (index, value) in array.iter().enumerate() {
                    self.value(paths.element(index), value, depth + 1);
                }
            }
            value => {
                let (value, is_masked) = match self.values {
                    Values::Revealed => (text(value), false),
                    Values::Masked => masked(self.form, &paths.pattern, value),
                };
                self.fields.push(Field { path: paths.shown, exact_path: paths.exact, value, is_masked });
            }
        }
    }

    /// A name of a field. One that does not look like a name can be a value.
    fn key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match self.values {
            Values::Masked if !is_name(key) => Cow::Borrowed(MASK),
            Values::Masked | Values::Revealed => cut(key, LONGEST_NAME),
        }
    }
}

/// A value as text, cut if it is long.
fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    cut(&text, LONGEST_VALUE).into_owned()
}

/// The beginning of a text, with its size if that is not all of it.
pub(crate) fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}… ({} bytes in all)", &text[..end], text.len())),
        None => Cow::Borrowed(text),
    }
}

/// A value as everyone may read it, and whether it is masked.
fn masked(form: Form, pattern: &str, value: &Value) -> (String, bool) {
    let table = match form {
        Form::Webhook => READABLE_IN_WEBHOOK,
        Form::Xdm => READABLE_IN_XDM,
    };
    let is_in = |table: &[&str]| table.iter().any(|entry| matches(entry, pattern));
    match value {
        // They say nothing about a person, and that a field is empty is what people look for.
        Value::Null => return ("null".to_owned(), false),
        Value::Object(object) if object.is_empty() => return ("{}".to_owned(), false),
        Value::Array(array) if array.is_empty() => return ("[]".to_owned(), false),
        Value::String(text) if text.is_empty() => return (String::new(), false),
        Value::Bool(_) | Value::Number(_) if is_in(table) => return (text(value), false),
        Value::String(code) if is_in(table) && is_code(code) => return (text(value), false),
        Value::String(link) if is_in(LINKS) => {
            if let Some(shown) = before_query(link) {
                return (shown, true);
            }
        }
        _ => {}
    }
    (MASK.to_owned(), true)
}

/// Whether a path matches an entry of a table.
fn matches(entry: &str, path: &str) -> bool {
    let (mut entry, mut path) = (entry.split('.'), path.split('.'));
    loop {
        match (entry.next(), path.next()) {
            (None, None) => return true,
            (Some(entry), Some(part)) => {
                let (name, elements) = (entry.trim_end_matches("[]"), entry.ends_with("[]"));
                let part_name = part.trim_end_matches("[]");
                let is_equal = match name {
                    "*" => true,
                    "_*" => part_name.starts_with('_'),
                    name => name == part_name,
                };
                if !is_equal || elements != part.ends_with("[]") {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The longest id or code that is shown.
const LONGEST_CODE: usize = 128;

/// An id or a code as everyone may read it: what has another form may be a value.
pub(crate) fn code(text: &str) -> String {
    if is_code(text) && !text.is_empty() { text.to_owned() } else { MASK.to_owned() }
}

/// Whether a text has the form of an id, a code, a time or a channel's URI. Addresses and international phone numbers
/// have not.
pub(crate) fn is_code(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '=');
    text.len() <= LONGEST_CODE && text.chars().all(is_good)
}

/// Whether a text looks like the name of a field.
fn is_name(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$');
    !text.is_empty() && text.len() <= 64 && digits <= 6 && text.chars().all(is_good)
}

/// A link up to its query, if it is one of the web without a user in it.
fn before_query(link: &str) -> Option<String> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"))?;
    let end = rest.find(['?', '#', ';']).unwrap_or(rest.len());
    let shown = &rest[..end];
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '~');
    (shown.len() <= 500 && shown.chars().all(is_good)).then(|| {
        let scheme = &link[..link.len() - rest.len()];
        let query = if end < rest.len() { format!("?{MASK}") } else { String::new() };
        format!("{scheme}{shown}{query}")
    })
}

/// A sentence that a person or Platform wrote, without the words that may be values: those with an `@`, and those with many
/// digits.
#[must_use]
pub fn reason(text: &str) -> String {
    const LONGEST: usize = 300;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let word = |word: &str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        if word.contains('@') || digits > 6 { MASK.to_owned() } else { word.to_owned() }
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
