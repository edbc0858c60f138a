//! Maps one Customer.io webhook to one XDM ExperienceEvent, or returns the reason why that is not possible.
//!
//! The mapping is a pure function of the body, the receive time (`received-at`) and the source's configuration. If the
//! same webhook is mapped again, for example in a replay, the result is the same. The rules are tables ([`tables`]).
//! The crate `customerio` defines the form of a body, and `xdm` defines the form of an event.

mod contact;
mod decoding;
mod details;
mod explain;
mod identity;
mod ignored;
mod limits;
pub mod page;
mod record;
mod rejection;
pub mod rules;
mod source_options;
mod sources;
mod subscription;
pub mod tables;
mod validation;

use std::borrow::Cow;

use customerio::catalogue::{Metric, ObjectType};
use customerio::webhook::{Data, Field, Identifiers, Webhook};
use customerio::{sha256_hex, visible};
use xdm::Timestamp;
use xdm::event::{Channel, CustomAction, ExperienceEvent, InappMessageTracking, PushNotificationTracking, Tenant};

pub use decoding::decoded;
pub use explain::{Explanation, Ignored, IgnoredReason, Origin, explain};
pub use ignored::{IgnoredFields, IgnoredIdentities};
pub use record::map_record;
pub use rejection::{Rejection, RejectionCode};
pub use source_options::{BlockedId, DropField, OnMissingIdentity, SourceOptions};
pub use sources::Sources;
pub use validation::validate;

/// Version of the mapping tables, which is written into every event.
pub const MAPPING_VERSION: &str = "1";

/// Maximum number of milliseconds by which an event's time may be after `received-at`; above it, the event is rejected.
/// A gateway's clock can be slow by this much without a rejection. A larger difference means that the time is not in
/// Unix seconds.
const CLOCK_DIFFERENCE_MS: i64 = 24 * 60 * 60 * 1000;

/// Time at which the gateway received the webhook, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedAt(i64);

impl ReceivedAt {
    /// Creates a receive time from milliseconds since 1970.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }
}

/// Whether an event identifies a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The event has at least one identity.
    Present,
    /// The event has no identity. The data lake accepts such events, Profile does not.
    Missing,
}

/// A mapped event, with counts of the ignored values.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped<'a> {
    /// The event in XDM.
    pub event: ExperienceEvent<'a>,
    /// Whether the event identifies a person.
    pub identity: Identity,
    /// Number of fields of the body that are not in the event.
    pub ignored: IgnoredFields,
    /// Number of values that should identify the person but cannot be an identity.
    pub ignored_identities: IgnoredIdentities,
    /// The event's time minus `received-at`, in milliseconds. If the difference is above 0, the event gets
    /// `received-at` as its time.
    pub ahead_ms: i64,
    kind: Kind,
}

impl Mapped<'_> {
    /// Returns channel and metric as labels of a Prometheus metric: names of the catalogue, or `other`.
    #[must_use]
    pub fn labels(&self) -> (&'static str, &'static str) {
        (self.kind.object_type.map_or("other", ObjectType::as_str), self.kind.metric.map_or("other", Metric::as_str))
    }
}

/// Channel and metric of an event; `None` if the catalogue does not contain the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) object_type: Option<ObjectType>,
    pub(crate) metric: Option<Metric>,
    /// Whether the event is about the person and not about one message.
    pub(crate) person: bool,
}

/// Maps one webhook to an event. A defect of the mapping can cause a panic; [`map_record`] converts it to a rejection.
///
/// # Errors
/// Returns a [`Rejection`] with a code, and a message that contains the field's name but never its value.
pub fn map<'a>(body: &'a [u8], received_at: ReceivedAt, source: &'a SourceOptions) -> Result<Mapped<'a>, Rejection> {
    let webhook = Webhook::parse(body).map_err(|error| Rejection::new(RejectionCode::NotJson, error.to_string()))?;
    let id = event_id(&webhook)?;
    let metric_name = webhook
        .metric
        .non_blank()
        .ok_or_else(|| Rejection::new(RejectionCode::MissingMetric, "`metric` is missing, blank or no text"))?;
    let metric = Metric::from_name(&metric_name);
    let object_type_name = object_type(&webhook, metric)?;
    let object_type = ObjectType::from_name(&object_type_name);
    let (timestamp, ahead_ms) = timestamp(&webhook, received_at)?;
    let mut data = Data::of(webhook.data)
        .ok_or_else(|| Rejection::new(RejectionCode::BadData, "`data` is missing or no object"))?;
    let kind = Kind { object_type, metric, person: is_person_event(object_type, metric, &data) };

    // Fields are dropped after `kind` is determined, so that `DROP_FIELDS` does not change the kind of the event.
    for field in &source.drop_fields {
        if let Some(dropped) = data.field_mut(field.as_str()) {
            *dropped = Field::default();
        }
    }
    let identifiers = Identifiers::of(data.identifiers);
    let identities = identity::identities(&data, identifiers, kind, source);
    let identity = if identities.map.is_empty() { Identity::Missing } else { Identity::Present };
    if identity == Identity::Missing && source.on_missing_identity == OnMissingIdentity::DeadLetter {
        return Err(Rejection::new(
            RejectionCode::NoIdentity,
            "no usable identity in `data`, and ON_MISSING_IDENTITY asks for a dead letter then",
        ));
    }
    let facts = tables::facts(kind, &data);
    let mut ignored = IgnoredFields { unknown: webhook.ignored + data.ignored, ..IgnoredFields::default() };
    ignored.note_people(&data, identifiers.as_ref());
    ignored.withhold(data.headers);
    let mut customerio = details::details(object_type_name, metric_name, &data, source, &mut ignored);
    customerio.person_id = identities.person_id;
    customerio.person_cio_id = identities.person_cio_id;
    customerio.feedback_status = facts.feedback_status.map(Cow::Borrowed);
    customerio.interaction_type = facts.interaction_type.map(Cow::Borrowed);
    customerio.is_machine = facts.is_machine;
    customerio.subscription = subscription::subscription(kind, &data, &mut ignored);
    customerio.received_at = Some(Timestamp(received_at.0));
    customerio.timestamp_adjusted = (ahead_ms > 0).then_some(true);

    let mut event = ExperienceEvent {
        id,
        timestamp,
        event_type: tables::event_type(kind, &customerio.object_type, &customerio.metric),
        produced_by: Cow::Borrowed(facts.produced_by),
        identity_map: identities.map,
        channel: channel(object_type),
        direct_marketing: tables::direct_marketing(kind, data.delivery_id.text().filter(|id| !id.is_empty())),
        push_notification_tracking: push_tracking(kind, &data),
        inapp_message_tracking: inapp_tracking(kind, &data),
        tenant: Tenant { customerio },
    };
    limits::enforce(&mut event, body.len())?;
    validate(&event)?;
    Ok(Mapped { event, identity, ignored, ignored_identities: identities.ignored, ahead_ms, kind })
}

/// Returns `_id`: the event id if it is a plain URI segment, otherwise its hash.
fn event_id<'a>(webhook: &Webhook<'a>) -> Result<Cow<'a, str>, Rejection> {
    let id = webhook
        .event_id
        .text()
        .filter(|id| !visible(id).is_empty())
        .ok_or_else(|| Rejection::new(RejectionCode::MissingEventId, "`event_id` is missing, blank or no text"))?;
    if validation::is_plain_id(&id) { Ok(id) } else { Ok(Cow::Owned(sha256_hex([id.as_ref()]))) }
}

fn object_type<'a>(webhook: &Webhook<'a>, metric: Option<Metric>) -> Result<Cow<'a, str>, Rejection> {
    webhook
        .object_type
        .non_blank()
        .or_else(|| webhook.object_type_type.non_blank())
        .or_else(|| is_person_metric(metric).then_some(Cow::Borrowed(ObjectType::Customer.as_str())))
        .ok_or_else(|| {
            Rejection::new(
                RejectionCode::MissingObjectType,
                "`object_type` is missing, blank or no text, and the metric is none of a person's",
            )
        })
}

fn is_person_metric(metric: Option<Metric>) -> bool {
    matches!(metric, Some(Metric::Subscribed | Metric::Unsubscribed | Metric::PreferencesChanged))
}

/// Whether an event is about the person. Customer.io writes the channel that caused a change as `object_type`, so
/// (`email`, `unsubscribed`) has two shapes: the event about a message has `recipient`, and the event about the person
/// has `email_address`.
fn is_person_event(object_type: Option<ObjectType>, metric: Option<Metric>, data: &Data<'_>) -> bool {
    if object_type == Some(ObjectType::Customer) {
        return true;
    }
    match metric {
        Some(Metric::Subscribed | Metric::PreferencesChanged) => true,
        Some(Metric::Unsubscribed) => !data.email_address.is_absent() && data.recipient.is_blank(),
        _ => false,
    }
}

/// Returns the event's time, or `received-at` if that is earlier, and the difference in milliseconds.
fn timestamp(webhook: &Webhook<'_>, received_at: ReceivedAt) -> Result<(Timestamp, i64), Rejection> {
    let bad = |message: &'static str| Rejection::new(RejectionCode::BadTimestamp, message);
    let seconds = webhook
        .timestamp
        .whole_number()
        .ok_or_else(|| bad("`timestamp` is missing or no whole number (Unix seconds)"))?;
    if seconds < 1 {
        return Err(bad("`timestamp` is before 1970-01-01T00:00:01Z"));
    }
    let millis = seconds.saturating_mul(1000);
    let ahead = millis.saturating_sub(received_at.0);
    if ahead > CLOCK_DIFFERENCE_MS {
        return Err(bad(
            "`timestamp` is more than a day after the webhook was received; it must be in Unix seconds, and the gateway's clock must be right",
        ));
    }
    if !Timestamp(millis).can_be_written() {
        return Err(bad("`timestamp` is after the year 9999; it must be in Unix seconds"));
    }
    Ok((Timestamp(millis.min(received_at.0)), ahead))
}

fn channel(object_type: Option<ObjectType>) -> Option<Channel<'static>> {
    let object_type = object_type?;
    let (id, channel_type) = tables::channel(object_type)?;
    Some(Channel {
        id: Cow::Borrowed(id),
        channel_type: Some(Cow::Borrowed(channel_type)),
        type_at_source: Some(Cow::Borrowed(object_type.as_str())),
    })
}

fn push_tracking<'a>(kind: Kind, data: &Data<'a>) -> Option<PushNotificationTracking<'a>> {
    if kind.object_type != Some(ObjectType::Push) || !matches!(kind.metric, Some(Metric::Opened | Metric::Clicked)) {
        return None;
    }
    let push_provider = data
        .devices(1)
        .first()
        .and_then(|device| device.device_platform.text())
        .and_then(|platform| tables::push_provider(&platform))
        .map(Cow::Borrowed);
    let custom_action = (kind.metric == Some(Metric::Clicked))
        .then(|| data.link_id.non_blank())
        .flatten()
        .map(|action_id| CustomAction { action_id: Some(action_id) });
    (push_provider.is_some() || custom_action.is_some())
        .then_some(PushNotificationTracking { push_provider, custom_action })
}

fn inapp_tracking<'a>(kind: Kind, data: &Data<'a>) -> Option<InappMessageTracking<'a>> {
    if (kind.object_type, kind.metric) != (Some(ObjectType::InApp), Some(Metric::Clicked)) {
        return None;
    }
    data.tracked_response.non_blank().map(|action| InappMessageTracking { action: Some(action) })
}
