//! Profile silently drops an event of more than 10 KB of JSON. Therefore long texts are truncated first, and an event
//! that is still too large becomes a dead letter.

use std::borrow::Cow;

use serde_json::Value;
use xdm::event::ExperienceEvent;
use xdm::{TenantId, write_json};

use crate::{Rejection, RejectionCode};

/// Maximum number of bytes of an event's JSON. Adobe's limit is 10 KB.
pub(crate) const EVENT_LIMIT: usize = 10_000;

/// A tenant id of the maximum length.
const TENANT: &str = "_a_tenant_id_of_thirty-two_chars_";

/// A body of at most this many bytes cannot make an event too large, so its event is not measured. The event's JSON
/// needs at most three times the bytes of the body's texts, plus fewer bytes than this value. Texts grow because an id
/// is in the event twice, a lone surrogate grows from six bytes to nine, and a preference gets keys.
const SURELY_SMALL: usize = 2_500;

/// Length in characters to which a subject is truncated if the event is too large.
const SUBJECT: usize = 255;
const FAILURE_MESSAGE: usize = 512;
const HREF: usize = 2048;

/// Truncates texts if the event is too large. Rejects an event that is still too large afterwards.
pub(crate) fn enforce(event: &mut ExperienceEvent<'_>, body: usize) -> Result<(), Rejection> {
    if body <= SURELY_SMALL || size(event) <= EVENT_LIMIT {
        return Ok(());
    }
    let customerio = &mut event.tenant.customerio;
    let mut truncated = cut(&mut customerio.subject, SUBJECT) | cut(&mut customerio.failure_message, FAILURE_MESSAGE);
    for device in &mut customerio.devices {
        truncated |= cut(&mut device.failure_message, FAILURE_MESSAGE);
    }
    if let Some(link) = &mut customerio.link {
        truncated |= cut(&mut link.href, HREF);
    }
    if truncated {
        customerio.truncated = Some(true);
    }
    let size = size(event);
    if size <= EVENT_LIMIT {
        return Ok(());
    }
    let Largest { path, bytes, elements } = Largest::of(event);
    let entries = elements.map(|count| format!(" in {count} entries")).unwrap_or_default();
    // Preferences are never truncated: a missing preference would mean that it did not change.
    let remedy = if path.contains(".subscription.") {
        "; preferences are not cut: DROP_FIELDS=content sends the event without them"
    } else {
        ""
    };
    Err(Rejection::new(
        RejectionCode::TooLarge,
        format!(
            "the event is {size} bytes of JSON even after its texts were cut; Profile takes {EVENT_LIMIT}. Its largest part is `{path}` with {bytes} bytes{entries}{remedy}"
        ),
    ))
}

fn size(event: &ExperienceEvent<'_>) -> usize {
    json(event).len()
}

fn json(event: &ExperienceEvent<'_>) -> Vec<u8> {
    let tenant: TenantId = TENANT.parse().expect("the constant is a tenant id, as every test of a long event shows");
    let mut json = Vec::with_capacity(EVENT_LIMIT);
    write_json(event, &tenant, &mut json);
    json
}

/// The largest part of an event's JSON: a text, or a list of several elements.
#[derive(Debug, Default)]
struct Largest {
    path: String,
    bytes: usize,
    /// Number of elements, if the part is a list.
    elements: Option<usize>,
}

impl Largest {
    fn of(event: &ExperienceEvent<'_>) -> Self {
        let event: Value = serde_json::from_slice(&json(event)).unwrap_or_default();
        let mut largest = Self::default();
        largest.look(String::new(), &event);
        largest.path = largest.path.replace(TENANT, "_{TENANT_ID}");
        largest
    }

    fn look(&mut self, path: String, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    self.look(if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, member);
                }
            }
            Value::Array(elements) if elements.len() > 1 => {
                self.take(path, value.to_string().len(), Some(elements.len()));
            }
            Value::Array(elements) => elements.iter().for_each(|element| self.look(format!("{path}[0]"), element)),
            Value::String(text) => self.take(path, text.len(), None),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn take(&mut self, path: String, bytes: usize, elements: Option<usize>) {
        if bytes > self.bytes {
            *self = Self { path, bytes, elements };
        }
    }
}

/// Truncates a text after `limit` characters, between code points. Returns whether the text was longer.
fn cut(text: &mut Option<Cow<'_, str>>, limit: usize) -> bool {
    let Some(value) = text else { return false };
    let Some((end, _)) = value.char_indices().nth(limit) else { return false };
    match value {
        Cow::Borrowed(borrowed) => *borrowed = borrowed.get(..end).unwrap_or_default(),
        Cow::Owned(owned) => owned.truncate(end),
    }
    true
}
