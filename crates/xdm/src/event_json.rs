//! Writes an event as XDM JSON.

use crate::event::ExperienceEvent;
use crate::json::{self, TenantId};

/// Appends the event as XDM JSON to `out`.
pub fn write_json(event: &ExperienceEvent<'_>, tenant: &TenantId, out: &mut Vec<u8>) {
    json::write(event, tenant, out);
}
