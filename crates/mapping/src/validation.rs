//! Finds events that Platform would reject after acceptance. Platform would respond with success, and would later put
//! the invalid record into a failed batch without notifying the sender.
//!
//! According to the tests, the mapping does not build such an event. If a defect causes one, it becomes a dead letter
//! with the name of the field. Violations that the types exclude (a key that XDM does not have, a null, a number as
//! text) are not checked here.

use xdm::ExperienceEvent;

use crate::details::DEVICES;
use crate::identity::is_allowed;
use crate::tables::{FEEDBACK_STATUSES, INTERACTION_TYPES, SUBSCRIPTION_STATUSES};
use crate::{Rejection, RejectionCode};

/// Maximum number of identities that Identity Service accepts in one record.
const IDENTITIES: usize = 20;

/// Checks an event against Platform's rules.
///
/// # Errors
/// Returns a [`Rejection`] with [`RejectionCode::InvalidXdm`] that contains the field's path and the broken rule.
pub fn validate(event: &ExperienceEvent<'_>) -> Result<(), Rejection> {
    match violation(event) {
        None => Ok(()),
        Some((field, rule)) => Err(Rejection::new(RejectionCode::InvalidXdm, format!("`{field}` {rule}"))),
    }
}

/// Returns the field that breaks a rule, and the first rule that is broken.
#[rustfmt::skip]
fn violation(event: &ExperienceEvent<'_>) -> Option<(&'static str, &'static str)> {
    macro_rules! require {
        ($kept:expr, $field:literal, $rule:literal) => {
            if !$kept {
                return Some(($field, $rule));
            }
        };
    }
    let customerio = &event.tenant.customerio;
    let one_of = |list: &[&str], value: Option<&str>| value.is_none_or(|value| list.contains(&value));
    let status = customerio.subscription.as_ref().and_then(|subscription| subscription.status.as_deref());
    let channel = event.channel.as_ref();
    let identities = || event.identity_map.0.iter().flat_map(|(_, identities)| identities);
    let primary = identities().filter(|identity| identity.primary).count();
    require!(is_plain_id(&event.id), "_id", "must be 1 to 64 letters, digits, `.`, `_`, `~` and `-`");
    require!(event.timestamp.0 >= 0 && event.timestamp.can_be_written(), "timestamp", "must lie in the years 1970 to 9999");
    require!(customerio.received_at.is_none_or(|received| event.timestamp <= received), "timestamp", "must not lie after the receipt");
    require!(!event.event_type.is_empty(), "eventType", "must not be empty");
    require!(["self", "system"].contains(&&*event.produced_by), "producedBy", "must be `self` or `system`");
    require!(event.identity_map.0.iter().all(|(code, _)| is_namespace(code)), "identityMap", "must have namespace codes of letters, digits and `_` as keys");
    require!(identities().all(|identity| is_allowed(&identity.id)), "identityMap", "must hold values of at most 1024 characters that are not blank, `null`, `anonymous` or `invalid`");
    require!(identities().count() <= IDENTITIES, "identityMap", "must hold at most 20 identities");
    require!(primary == usize::from(!event.identity_map.is_empty()), "identityMap", "must have exactly one primary identity");
    require!(channel.is_none_or(|channel| is_uri(&channel.id)), "channel._id", "must be a URI");
    require!(channel.and_then(|channel| channel.channel_type.as_deref()).is_none_or(is_uri), "channel._type", "must be a URI");
    require!(!customerio.object_type.is_empty(), "_{TENANT_ID}.customerio.objectType", "must not be empty");
    require!(!customerio.metric.is_empty(), "_{TENANT_ID}.customerio.metric", "must not be empty");
    require!(one_of(FEEDBACK_STATUSES, customerio.feedback_status.as_deref()), "_{TENANT_ID}.customerio.feedbackStatus", "must be one of the closed list");
    require!(one_of(INTERACTION_TYPES, customerio.interaction_type.as_deref()), "_{TENANT_ID}.customerio.interactionType", "must be one of the closed list");
    require!(one_of(SUBSCRIPTION_STATUSES, status), "_{TENANT_ID}.customerio.subscription.status", "must be `subscribed` or `unsubscribed`");
    require!(customerio.devices.len() <= DEVICES, "_{TENANT_ID}.customerio.devices", "must hold at most 10 devices");
    None
}

/// Whether a text is a segment of a URI that needs no escaping, and is at most as long as a SHA-256 in hex.
pub(crate) fn is_plain_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

fn is_namespace(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a text has a scheme and contains only characters that a URI may contain without escaping (RFC 3986).
fn is_uri(text: &str) -> bool {
    // In ASCII order: all visible characters except `"`, `<`, `>`, `\`, `^`, the backtick, `{`, `|` and `}`.
    let legal = |byte: u8| matches!(byte, b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~');
    text.contains(':') && text.bytes().all(legal)
}
