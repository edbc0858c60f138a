//! An event as JSON.

use crate::event::ExperienceEvent;
use crate::json::{self, TenantId};

/// Appends the event as JSON.
pub fn write_json(event: &ExperienceEvent<'_>, tenant: &TenantId, out: &mut Vec<u8>) {
    json::write(event, tenant, out);
}
