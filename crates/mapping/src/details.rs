//! Builds the tenant's field group: the fields of Customer.io for which XDM has no standard field.

use std::borrow::Cow;

use customerio::webhook::{Data, Field};
use xdm::event::{CustomerioDetails, Device, Link, Open, Reply};

use crate::{IgnoredFields, MAPPING_VERSION, SourceOptions};

/// Maximum number of devices in an event. Adobe recommends at most 10 elements in an array of an event.
pub(crate) const DEVICES: usize = 10;

/// Returns the text of a field as received; `None` if the field is absent, null, empty or of another type. A value of
/// another type is counted as ignored.
fn text<'a>(field: Field<'a>, ignored: &mut IgnoredFields) -> Option<Cow<'a, str>> {
    let text = field.text();
    ignored.note(field, text.is_some());
    text.filter(|text| !text.is_empty())
}

fn flag(field: Field<'_>, ignored: &mut IgnoredFields) -> Option<bool> {
    let flag = field.boolean();
    ignored.note(field, flag.is_some());
    flag
}

/// Builds the field group, except for the fields that the tables, the identities and `received-at` determine.
pub(crate) fn details<'a>(
    object_type: Cow<'a, str>,
    metric: Cow<'a, str>,
    data: &Data<'a>,
    source: &'a SourceOptions,
    ignored: &mut IgnoredFields,
) -> CustomerioDetails<'a> {
    let open = Open {
        proxied: flag(data.proxied, ignored),
        prefetched: flag(data.prefetched, ignored),
        synthetic: flag(data.synthetic, ignored),
    };
    let link =
        Link { id: text(data.link_id, ignored), href: text(data.href, ignored), machine: flag(data.machine, ignored) };
    let reply = Reply { inbound_event_id: text(data.inbound_event_id, ignored), to: text(data.to, ignored) };
    let devices = data.devices(DEVICES).into_iter().map(|device| {
        ignored.unknown += device.ignored;
        Device {
            device_id: text(device.device_id, ignored),
            platform: text(device.device_platform, ignored),
            failure_message: text(device.failure_message, ignored).filter(|_| !source.drops("failure_message")),
        }
    });
    let devices = devices.filter(|device| *device != Device::default()).collect();
    CustomerioDetails {
        object_type,
        metric,
        workspace_id: source.workspace_id.as_deref().map(Cow::Borrowed),
        delivery_id: text(data.delivery_id, ignored),
        campaign_id: text(data.campaign_id, ignored),
        broadcast_id: text(data.broadcast_id, ignored),
        newsletter_id: text(data.newsletter_id, ignored),
        transactional_message_id: text(data.transactional_message_id, ignored),
        action_id: text(data.action_id, ignored),
        parent_action_id: text(data.parent_action_id, ignored),
        content_id: text(data.content_id, ignored),
        journey_id: text(data.journey_id, ignored),
        trigger_id: text(data.trigger_id, ignored),
        trigger_event_id: text(data.trigger_event_id, ignored),
        conversion_event_id: text(data.conversion_event_id, ignored),
        // With HASH_EMAIL, no field may contain an email address.
        recipient: text(data.recipient, ignored).filter(|recipient| !(source.hash_email && recipient.contains('@'))),
        devices,
        subject: text(data.subject, ignored),
        failure_message: text(data.failure_message, ignored),
        open: (open != Open::default()).then_some(open),
        link: (link != Link::default()).then_some(link),
        reply: (reply != Reply::default()).then_some(reply),
        source: Some(Cow::Borrowed(source.name.as_str())),
        mapping_version: Some(Cow::Borrowed(MAPPING_VERSION)),
        ..CustomerioDetails::default()
    }
}
