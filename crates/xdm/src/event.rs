//! Records of an ExperienceEvent. One declaration defines the Rust fields of a record, and their names in the Avro
//! schema and in JSON, which are the same (XDM's platform spelling).

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp as Instant;
use serde::de::{MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeTupleStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{Json, Object, Value};

/// Declares records. The fields are in the order of the Avro schema, each with its name in Avro and JSON.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident $(<$lifetime:lifetime>)? { $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, Deserialize)]
        pub struct $name $(<$lifetime>)? {
            $($(#[$field_doc])* #[serde(rename = $key, default)] pub $field: $type,)*
        }

        /// Fields are written by position, which avoids looking up each name; tests check the names.
        impl $(<$lifetime>)? Serialize for $name $(<$lifetime>)? {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const FIELDS: usize = [$($key),*].len();
                let mut record = serializer.serialize_tuple_struct(stringify!($name), FIELDS)?;
                $(record.serialize_field(&self.$field)?;)*
                record.end()
            }
        }

        impl $(<$lifetime>)? Value for $name $(<$lifetime>)? {
            fn write(&self, json: &mut Json<'_>) -> bool {
                let mut object = Object::begin(json);
                $(object.member(json, $key, &self.$field);)*
                object.end(json)
            }
        }
    )*
        /// Name of every record with the names of its fields, in the order of the schema.
        #[cfg(test)]
        pub(crate) const RECORDS: &[(&str, &[&str])] = &[$((stringify!($name), &[$($key),*])),*];
    };
}

/// Text that is borrowed from the webhook where possible.
type Text<'a> = Cow<'a, str>;
/// Text that may be absent.
type Opt<'a> = Option<Cow<'a, str>>;

records! {
    /// XDM ExperienceEvent (class `https://ns.adobe.com/xdm/context/experienceevent`) with the field groups of this
    /// pipeline.
    ExperienceEvent<'a> {
        /// Id of the event, the same for all repeats.
        id: Text<'a> = "_id",
        /// Time of the event.
        timestamp: Timestamp = "timestamp",
        /// XDM event type.
        event_type: Text<'a> = "eventType",
        /// `self` for an action of the person, otherwise `system`.
        produced_by: Text<'a> = "producedBy",
        /// Identities by namespace code.
        identity_map: IdentityMap<'a> = "identityMap",
        /// Channel of the message.
        channel: Option<Channel<'a>> = "channel",
        /// Counters and the id of the delivery.
        direct_marketing: Option<DirectMarketing<'a>> = "directMarketing",
        /// Details of an open or a click of a push message.
        push_notification_tracking: Option<PushNotificationTracking<'a>> = "pushNotificationTracking",
        /// Details of a click in an in-app message.
        inapp_message_tracking: Option<InappMessageTracking<'a>> = "inappMessageTracking",
        /// The tenant's own fields.
        tenant: Tenant<'a> = "_tenant",
    }

    /// One identity of the person (XDM identity item).
    Identity<'a> {
        /// Value that identifies the person, such as an id or an email address.
        id: Text<'a> = "id",
        /// Whether the person was logged in.
        authenticated_state: AuthenticatedState = "authenticatedState",
        /// Whether this is the event's primary identity.
        primary: bool = "primary",
    }

    /// XDM Channel (`https://ns.adobe.com/xdm/channels/channel`).
    Channel<'a> {
        /// Id of the channel, a URI.
        id: Text<'a> = "_id",
        /// Kind of channel, a URI.
        channel_type: Opt<'a> = "_type",
        /// Customer.io's name for the channel.
        type_at_source: Opt<'a> = "typeAtSource",
    }

    /// XDM Direct Marketing Details (`https://ns.adobe.com/xdm/context/direct-marketing`).
    DirectMarketing<'a> {
        /// Id of the delivery.
        message_id: Opt<'a> = "messageID",
        /// Number of dispatched messages.
        sends: Option<Measure> = "sends",
        /// Number of delivered emails.
        email_delivered: Option<Measure> = "emailDelivered",
        /// Number of opened messages.
        opens: Option<Measure> = "opens",
        /// Number of displayed messages.
        impressions: Option<Measure> = "impressions",
        /// Number of clicks.
        clicks: Option<Measure> = "clicks",
        /// Number of temporarily undeliverable messages.
        bounces: Option<Measure> = "bounces",
        /// Number of permanently undeliverable messages.
        non_deliverables: Option<Measure> = "nonDeliverables",
        /// Number of messages that were not dispatched.
        not_sent: Option<Measure> = "notSent",
        /// Number of recipients that a rule excluded.
        excludes: Option<Measure> = "excludes",
        /// Number of messages that were reported as spam.
        user_complaints: Option<Measure> = "userComplaints",
        /// Number of opt-outs.
        unsubscriptions: Option<Measure> = "unsubscriptions",
        /// Number of opt-ins.
        marketing_subscription: Option<Measure> = "marketingSubscription",
    }

    /// XDM Measure (`https://ns.adobe.com/xdm/data/measure`).
    Measure {
        /// Quantity, for example 1.0 for one event.
        value: f64 = "value",
    }

    /// XDM Push notification tracking (`https://ns.adobe.com/xdm/context/experienceevent-pushtracking`).
    PushNotificationTracking<'a> {
        /// Push provider: `apns` or `fcm`.
        push_provider: Opt<'a> = "pushProvider",
        /// Action that the person chose.
        custom_action: Option<CustomAction<'a>> = "customAction",
    }

    /// Action that the person chose in a push message.
    CustomAction<'a> {
        /// Id of the clicked link.
        action_id: Opt<'a> = "actionID",
    }

    /// XDM In-app message tracking (`https://ns.adobe.com/xdm/context/experienceevent-inappmessage-tracking`).
    InappMessageTracking<'a> {
        /// Name of the action that the person chose.
        action: Opt<'a> = "action",
    }

    /// The tenant's own fields. In JSON, their key is the tenant id.
    Tenant<'a> {
        /// Field group "Customer.io Message Event Details".
        customerio: CustomerioDetails<'a> = "customerio",
    }

    /// Field group "Customer.io Message Event Details". All ids are text, whatever JSON type Customer.io uses.
    CustomerioDetails<'a> {
        /// `object_type` as received.
        object_type: Text<'a> = "objectType",
        /// `metric` as received.
        metric: Text<'a> = "metric",
        /// Id of the Customer.io workspace, from the configuration.
        workspace_id: Opt<'a> = "workspaceID",
        /// Id of one message to one person.
        delivery_id: Opt<'a> = "deliveryID",
        /// Id of the campaign.
        campaign_id: Opt<'a> = "campaignID",
        /// Id of the API-triggered broadcast.
        broadcast_id: Opt<'a> = "broadcastID",
        /// Id of the newsletter.
        newsletter_id: Opt<'a> = "newsletterID",
        /// Id of the transactional template.
        transactional_message_id: Opt<'a> = "transactionalMessageID",
        /// Id of the workflow action.
        action_id: Opt<'a> = "actionID",
        /// Id of the enclosing workflow action.
        parent_action_id: Opt<'a> = "parentActionID",
        /// Id of the newsletter variant.
        content_id: Opt<'a> = "contentID",
        /// Id of the person's run through the workflow.
        journey_id: Opt<'a> = "journeyID",
        /// Id of the trigger of a broadcast.
        trigger_id: Opt<'a> = "triggerID",
        /// Id of the event that started the campaign.
        trigger_event_id: Opt<'a> = "triggerEventID",
        /// Id of the event that counted as conversion.
        conversion_event_id: Opt<'a> = "conversionEventID",
        /// Id of the person in the organisation's own systems.
        person_id: Opt<'a> = "personID",
        /// Customer.io's id of the person.
        person_cio_id: Opt<'a> = "personCioID",
        /// Address that the message was sent to, as received.
        recipient: Opt<'a> = "recipient",
        /// Devices of a push message.
        devices: Vec<Device<'a>> = "devices",
        /// Subject line of the message.
        subject: Opt<'a> = "subject",
        /// Result of sending the message.
        feedback_status: Opt<'a> = "feedbackStatus",
        /// Interaction of the person with the message.
        interaction_type: Opt<'a> = "interactionType",
        /// Whether a machine opened or clicked; absent if this is unknown.
        is_machine: Option<bool> = "isMachine",
        /// Reason of a failure, as free text.
        failure_message: Opt<'a> = "failureMessage",
        /// Flags of an open.
        open: Option<Open> = "open",
        /// Link of a click.
        link: Option<Link<'a>> = "link",
        /// Reply of the person.
        reply: Option<Reply<'a>> = "reply",
        /// Change of the person's subscriptions.
        subscription: Option<Subscription<'a>> = "subscription",
        /// Name of the configured source that received the webhook.
        source: Opt<'a> = "source",
        /// Time at which the gateway received the webhook.
        received_at: Option<Timestamp> = "receivedAt",
        /// True if the event's time was after `received_at` and was replaced by `received_at`.
        timestamp_adjusted: Option<bool> = "timestampAdjusted",
        /// True if a text was truncated.
        truncated: Option<bool> = "truncated",
        /// Version of the mapping tables.
        mapping_version: Opt<'a> = "mappingVersion",
    }

    /// One device of a push message.
    Device<'a> {
        /// Push token of the device.
        device_id: Opt<'a> = "deviceID",
        /// Platform, such as `ios` or `android`.
        platform: Opt<'a> = "platform",
        /// Reason of the failure on this device.
        failure_message: Opt<'a> = "failureMessage",
    }

    /// Flags of an open.
    Open {
        /// Whether the open came through a privacy proxy.
        proxied: Option<bool> = "proxied",
        /// Whether a machine made the open.
        prefetched: Option<bool> = "prefetched",
        /// Whether the open was inferred from a click.
        synthetic: Option<bool> = "synthetic",
    }

    /// Link of a click.
    Link<'a> {
        /// Id of the tracked link.
        id: Opt<'a> = "id",
        /// URL that the link leads to.
        href: Opt<'a> = "href",
        /// Whether a machine made the click.
        machine: Option<bool> = "machine",
    }

    /// A reply of the person.
    Reply<'a> {
        /// Id of the reply.
        inbound_event_id: Opt<'a> = "inboundEventID",
        /// Phone number that was replied to.
        to: Opt<'a> = "to",
    }

    /// A change of the person's subscriptions.
    Subscription<'a> {
        /// State of the subscription: `subscribed` or `unsubscribed`.
        status: Opt<'a> = "status",
        /// Preferences for topics, sorted by topic.
        topics: Vec<Preference<'a>> = "topics",
        /// Preferences for channels, sorted by channel.
        channels: Vec<Preference<'a>> = "channels",
    }

    /// Preference for one topic or channel.
    Preference<'a> {
        /// Id of the topic or name of the channel, as Customer.io sends it.
        id: Text<'a> = "id",
        /// Whether the person is subscribed.
        subscribed: bool = "subscribed",
    }
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whether RFC 3339 can express the time, which is possible only for years up to 9999.
    #[must_use]
    pub fn can_be_written(self) -> bool {
        Instant::from_millisecond(self.0).is_ok()
    }
}

impl Value for Timestamp {
    /// Writes the time as RFC 3339 in UTC with three fraction digits. A time that RFC 3339 cannot express is left out.
    fn write(&self, json: &mut Json<'_>) -> bool {
        match Instant::from_millisecond(self.0) {
            Ok(instant) => {
                json.raw(format_args!("\"{instant:.3}\""));
                true
            }
            Err(_) => false,
        }
    }
}

/// Values of `authenticatedState` in XDM. A webhook does not prove a login, so this product writes only
/// [`Self::Ambiguous`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticatedState {
    /// It is not known whether the person was logged in.
    #[default]
    Ambiguous,
    /// The person was logged in.
    Authenticated,
    /// The person had logged out.
    LoggedOut,
}

impl Value for AuthenticatedState {
    fn write(&self, json: &mut Json<'_>) -> bool {
        let text = match self {
            Self::Ambiguous => "ambiguous",
            Self::Authenticated => "authenticated",
            Self::LoggedOut => "loggedOut",
        };
        json.raw(format_args!("\"{text}\""));
        true
    }
}

/// Identities by namespace code, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IdentityMap<'a>(pub Vec<(Cow<'a, str>, Vec<Identity<'a>>)>);

impl<'a> IdentityMap<'a> {
    /// Adds an identity. The first identity becomes the primary identity.
    pub fn add(&mut self, namespace: Cow<'a, str>, id: Cow<'a, str>) {
        let identity = Identity { id, primary: self.0.is_empty(), authenticated_state: AuthenticatedState::Ambiguous };
        match self.0.iter_mut().find(|(found, _)| *found == namespace) {
            Some((_, identities)) => identities.push(identity),
            None => self.0.push((namespace, vec![identity])),
        }
    }

    /// Whether there is no identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for IdentityMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (namespace, identities) in &self.0 {
            map.serialize_entry(namespace, identities)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for IdentityMap<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = IdentityMap<'static>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of identities")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((namespace, identities)) = map.next_entry::<String, Vec<Identity<'static>>>()? {
                    entries.push((Cow::Owned(namespace), identities));
                }
                Ok(IdentityMap(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Value for IdentityMap<'_> {
    fn write(&self, json: &mut Json<'_>) -> bool {
        let mut object = Object::begin(json);
        for (namespace, identities) in &self.0 {
            object.foreign_member(json, namespace, identities);
        }
        object.end(json)
    }
}

impl From<f64> for Measure {
    fn from(value: f64) -> Self {
        Self { value }
    }
}

#[cfg(test)]
mod tests;
