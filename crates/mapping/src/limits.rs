//! Profile drops an event above 10 KB of JSON without telling the sender, so we look first: long texts are cut, and what
//! is still too large becomes a dead letter.

use std::borrow::Cow;

use xdm::event::ExperienceEvent;
use xdm::{TenantId, write_json};

use crate::{Rejection, RejectionCode};

/// The most bytes of an event's JSON. Adobe's limit is 10 KB; the tenant's real name may be longer than ours here.
pub(crate) const EVENT_LIMIT: usize = 10_000;

/// A tenant id as long as they get.
const TENANT: &str = "_a_tenant_id_of_thirty-two_chars_";

/// An event's JSON holds each text of the body at most twice (an identity also stands among the details), and less than
/// this beside them. Shorter bodies need no measuring.
const SURELY_SMALL: usize = 3_500;

/// The longest texts once cutting is needed, in characters.
const SUBJECT: usize = 255;
const FAILURE_MESSAGE: usize = 512;
const HREF: usize = 2048;

/// Cuts what may be cut if the event is too large.
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
    Err(Rejection::new(
        RejectionCode::TooLarge,
        format!("the event is {size} bytes of JSON even after its texts were cut; Profile takes {EVENT_LIMIT}"),
    ))
}

fn size(event: &ExperienceEvent<'_>) -> usize {
    let Ok(tenant) = TENANT.parse::<TenantId>() else { return usize::MAX };
    let mut json = Vec::with_capacity(EVENT_LIMIT);
    write_json(event, &tenant, &mut json);
    json.len()
}

/// Cuts after `limit` characters, between code points; tells whether there was anything to cut.
fn cut(text: &mut Option<Cow<'_, str>>, limit: usize) -> bool {
    let Some(value) = text else { return false };
    let Some((end, _)) = value.char_indices().nth(limit) else { return false };
    match value {
        Cow::Borrowed(borrowed) => *borrowed = borrowed.get(..end).unwrap_or_default(),
        Cow::Owned(owned) => owned.truncate(end),
    }
    true
}
