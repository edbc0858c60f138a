//! Masks the values of events on the server, so that a page does not contain them at all.
//!
//! A field is readable if it is in the tables below *and* its value has the form of an id or a code. Everything else is
//! masked: identifiers of people, addresses, numbers, subjects, the query of links, message content, and every unknown
//! field. The tests compare the tables with the mapping rules.

use std::borrow::Cow;

use serde_json::Value;

/// Text that pages show in place of a masked value.
pub const MASK: &str = "•••";

/// Whether the values of an event are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Only values that every role may read are shown.
    Masked,
    /// All values are shown, because an investigator revealed this event. The reveal is in the audit log.
    Revealed,
}

/// Format of the JSON document that contains a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The webhook as Customer.io sends it.
    Webhook,
    /// The event in XDM, as the sink sends it to Platform.
    Xdm,
}

/// A field of an event in the form that a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Path of the field, with `[0]` for array elements. Names that may be values are masked.
    pub path: String,
    /// Unmasked path, to find the field in a mapping. A page never shows this path, because a name can be a value.
    pub(crate) exact_path: String,
    /// Value as text, or [`MASK`].
    pub value: String,
    /// Whether the value is masked completely or in part.
    pub is_masked: bool,
}

/// Maximum number of fields of one event that are shown.
const MOST_FIELDS: usize = 500;
/// Maximum length of a shown value, in characters.
pub(crate) const LONGEST_VALUE: usize = 4000;
/// Maximum length of a shown field name, in characters.
const LONGEST_NAME: usize = 200;
/// Maximum depth of nesting that is shown.
const DEEPEST: usize = 20;

/// Fields of a webhook that every role may read.
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

/// Fields of an XDM event that every role may read. `*` matches any one name, and `_*` matches a name that begins with
/// `_`: the tenant's.
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

/// Fields with links, of which every role may read the part before the query.
const LINKS: &[&str] = &["data.href", "_*.customerio.link.href"];

/// Returns the fields of an event in order, and whether fields beyond the limit were left out.
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

/// Three forms of the path of a value: for pages, exact, and for the lookup in the tables.
#[derive(Default)]
struct Paths {
    /// Path that a page may show: names that may be values are masked.
    shown: String,
    exact: String,
    /// Path for the lookup in the tables, with `[]` for every element.
    pattern: String,
}

impl Paths {
    fn member(&self, shown: &str, name: &str) -> Self {
        let dot = if self.shown.is_empty() { "" } else { "." };
        // A name that contains a dot must not look like the path of another field.
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

    /// Returns the name of a field for a page. A name with an unusual form is masked, because it can be a value.
    fn key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match self.values {
            Values::Masked if !is_name(key) => Cow::Borrowed(MASK),
            Values::Masked | Values::Revealed => cut(key, LONGEST_NAME),
        }
    }
}

/// Returns a value as text, shortened if it is long.
fn text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    cut(&text, LONGEST_VALUE).into_owned()
}

/// Shortens a text to `longest` characters and appends the size of the whole text if it is longer.
pub(crate) fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => Cow::Owned(format!("{}… ({} bytes in all)", &text[..end], text.len())),
        None => Cow::Borrowed(text),
    }
}

/// Returns a value in the form that every role may read, and whether it is masked.
fn masked(form: Form, pattern: &str, value: &Value) -> (String, bool) {
    let table = match form {
        Form::Webhook => READABLE_IN_WEBHOOK,
        Form::Xdm => READABLE_IN_XDM,
    };
    let is_in = |table: &[&str]| table.iter().any(|entry| matches(entry, pattern));
    match value {
        // Empty values contain no personal data, and people often search for the reason why a field is empty.
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

/// Returns whether a path matches an entry of a table.
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

/// Maximum length of a shown id or code, in bytes.
const LONGEST_CODE: usize = 128;

/// Returns the text if it has the form of an id or a code, and otherwise [`MASK`], because it may be personal data.
pub(crate) fn code(text: &str) -> String {
    if is_code(text) && !text.is_empty() { text.to_owned() } else { MASK.to_owned() }
}

/// Returns whether a text has the form of an id, a code, a time or a channel's URI. Email addresses and international
/// phone numbers do not have this form.
pub(crate) fn is_code(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '=');
    text.len() <= LONGEST_CODE && text.chars().all(is_good)
}

/// Returns whether a text looks like the name of a field.
fn is_name(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$');
    !text.is_empty() && text.len() <= 64 && digits <= 6 && text.chars().all(is_good)
}

/// Returns a link without its query; `None` unless it is an http or https link without user information or unusual
/// characters.
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

/// Masks the words that may be values in a text that a person or Platform has written: words with an `@` and words with
/// more than six digits. The result has at most 300 characters of the text.
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
