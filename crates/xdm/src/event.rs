//! The records of an ExperienceEvent. One declaration gives a record its Rust fields, its names in the Avro schema and
//! its names in JSON, which are the same (XDM's platform spelling).

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
        /// Every record with its fields in their order.
        #[cfg(test)]
        pub(crate) const RECORDS: &[(&str, &[&str])] = &[$((stringify!($name), &[$($key),*])),*];
    };
}

/// Text that is borrowed from the webhook where possible.
type Text<'a> = Cow<'a, str>;
/// Text that may be absent.
type Opt<'a> = Option<Cow<'a, str>>;

records! {
    /// XDM ExperienceEvent (class `https://ns.adobe.com/xdm/context/experienceevent`) with the field groups used here.
    ExperienceEvent<'a> {
        /// Id of the event, stable over repeats.
        id: Text<'a> = "_id",
        /// When it happened.
        timestamp: Timestamp = "timestamp",
        /// XDM event type.
        event_type: Text<'a> = "eventType",
        /// `self` for an action of the person, else `system`.
        produced_by: Text<'a> = "producedBy",
        /// Identities by namespace code.
        identity_map: IdentityMap<'a> = "identityMap",
        /// The channel of the message.
        channel: Option<Channel<'a>> = "channel",
        /// Counters.
        direct_marketing: Option<DirectMarketing<'a>> = "directMarketing",
        /// Push details.
        push_notification_tracking: Option<PushNotificationTracking<'a>> = "pushNotificationTracking",
        /// In-app details.
        inapp_message_tracking: Option<InappMessageTracking<'a>> = "inappMessageTracking",
        /// The tenant's own fields.
        tenant: Tenant<'a> = "_tenant",
    }

    /// One identity of the person (XDM identity item).
    Identity<'a> {
        /// The value.
        id: Text<'a> = "id",
        /// How certain the identity is.
        authenticated_state: AuthenticatedState = "authenticatedState",
        /// Whether it is the event's primary identity.
        primary: bool = "primary",
    }

    /// XDM Channel (`https://ns.adobe.com/xdm/channels/channel`).
    Channel<'a> {
        /// Id of the channel, a URI.
        id: Text<'a> = "_id",
        /// Kind of channel, a URI.
        channel_type: Opt<'a> = "_type",
        /// Customer.io's name of the channel.
        type_at_source: Opt<'a> = "typeAtSource",
    }

    /// XDM Direct Marketing Details (`https://ns.adobe.com/xdm/context/direct-marketing`).
    DirectMarketing<'a> {
        /// The delivery.
        message_id: Opt<'a> = "messageID",
        /// Dispatched.
        sends: Option<Measure> = "sends",
        /// Delivered by email.
        email_delivered: Option<Measure> = "emailDelivered",
        /// Opened.
        opens: Option<Measure> = "opens",
        /// Shown.
        impressions: Option<Measure> = "impressions",
        /// Clicked.
        clicks: Option<Measure> = "clicks",
        /// Temporarily undeliverable.
        bounces: Option<Measure> = "bounces",
        /// Permanently undeliverable.
        non_deliverables: Option<Measure> = "nonDeliverables",
        /// Not dispatched.
        not_sent: Option<Measure> = "notSent",
        /// Recipient left out by a rule.
        excludes: Option<Measure> = "excludes",
        /// Reported as spam.
        user_complaints: Option<Measure> = "userComplaints",
        /// Opted out.
        unsubscriptions: Option<Measure> = "unsubscriptions",
        /// Opted in.
        marketing_subscription: Option<Measure> = "marketingSubscription",
    }

    /// XDM Measure (`https://ns.adobe.com/xdm/data/measure`).
    Measure {
        /// The quantity.
        value: f64 = "value",
    }

    /// XDM Push notification tracking (`https://ns.adobe.com/xdm/context/experienceevent-pushtracking`).
    PushNotificationTracking<'a> {
        /// `apns` or `fcm`.
        push_provider: Opt<'a> = "pushProvider",
        /// The action chosen.
        custom_action: Option<CustomAction<'a>> = "customAction",
    }

    /// The action chosen in a push.
    CustomAction<'a> {
        /// The link.
        action_id: Opt<'a> = "actionID",
    }

    /// XDM In-app message tracking (`https://ns.adobe.com/xdm/context/experienceevent-inappmessage-tracking`).
    InappMessageTracking<'a> {
        /// The component used.
        action: Opt<'a> = "action",
    }

    /// The tenant's own fields; the key in JSON is the tenant id.
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
        /// Customer.io workspace, from the configuration.
        workspace_id: Opt<'a> = "workspaceID",
        /// The id of one message to one person.
        delivery_id: Opt<'a> = "deliveryID",
        /// Campaign.
        campaign_id: Opt<'a> = "campaignID",
        /// API-triggered broadcast.
        broadcast_id: Opt<'a> = "broadcastID",
        /// Newsletter.
        newsletter_id: Opt<'a> = "newsletterID",
        /// Transactional template.
        transactional_message_id: Opt<'a> = "transactionalMessageID",
        /// Workflow action.
        action_id: Opt<'a> = "actionID",
        /// Enclosing workflow action.
        parent_action_id: Opt<'a> = "parentActionID",
        /// Newsletter variant.
        content_id: Opt<'a> = "contentID",
        /// The person's run through the workflow.
        journey_id: Opt<'a> = "journeyID",
        /// Trigger of a broadcast.
        trigger_id: Opt<'a> = "triggerID",
        /// Event that started the campaign.
        trigger_event_id: Opt<'a> = "triggerEventID",
        /// Event that counted as conversion.
        conversion_event_id: Opt<'a> = "conversionEventID",
        /// The person's own id.
        person_id: Opt<'a> = "personID",
        /// Customer.io's id of the person.
        person_cio_id: Opt<'a> = "personCioID",
        /// Delivery address as received.
        recipient: Opt<'a> = "recipient",
        /// Devices of a push.
        devices: Vec<Device<'a>> = "devices",
        /// Subject line.
        subject: Opt<'a> = "subject",
        /// The result of sending the message.
        feedback_status: Opt<'a> = "feedbackStatus",
        /// The interaction of the person.
        interaction_type: Opt<'a> = "interactionType",
        /// Whether a machine opened or clicked; absent when unknown.
        is_machine: Option<bool> = "isMachine",
        /// Why it failed.
        failure_message: Opt<'a> = "failureMessage",
        /// Flags of an open.
        open: Option<Open> = "open",
        /// The link of a click.
        link: Option<Link<'a>> = "link",
        /// A reply.
        reply: Option<Reply<'a>> = "reply",
        /// A change of subscriptions.
        subscription: Option<Subscription<'a>> = "subscription",
        /// Name of the configured source.
        source: Opt<'a> = "source",
        /// When the webhook was received.
        received_at: Option<Timestamp> = "receivedAt",
        /// True if the event's own time was in the future and was replaced.
        timestamp_adjusted: Option<bool> = "timestampAdjusted",
        /// True if a text was truncated.
        truncated: Option<bool> = "truncated",
        /// Version of the mapping tables.
        mapping_version: Opt<'a> = "mappingVersion",
    }

    /// One device of a push.
    Device<'a> {
        /// Push token.
        device_id: Opt<'a> = "deviceID",
        /// `ios`, `android` or another.
        platform: Opt<'a> = "platform",
        /// Why it failed on this device.
        failure_message: Opt<'a> = "failureMessage",
    }

    /// Flags of an open.
    Open {
        /// Fetched through a privacy proxy.
        proxied: Option<bool> = "proxied",
        /// Opened by a machine.
        prefetched: Option<bool> = "prefetched",
        /// Inferred from a click.
        synthetic: Option<bool> = "synthetic",
    }

    /// The link of a click.
    Link<'a> {
        /// Id of the tracked link.
        id: Opt<'a> = "id",
        /// Its target.
        href: Opt<'a> = "href",
        /// Clicked by a machine.
        machine: Option<bool> = "machine",
    }

    /// A reply of the person.
    Reply<'a> {
        /// Id of the inbound event.
        inbound_event_id: Opt<'a> = "inboundEventID",
        /// Number that was replied to.
        to: Opt<'a> = "to",
    }

    /// A change of the person's subscriptions.
    Subscription<'a> {
        /// `subscribed` or `unsubscribed`.
        status: Opt<'a> = "status",
        /// Topic preferences, sorted.
        topics: Vec<Preference<'a>> = "topics",
        /// Channel preferences, sorted.
        channels: Vec<Preference<'a>> = "channels",
    }

    /// One topic or channel preference.
    Preference<'a> {
        /// Topic or channel, as Customer.io names it.
        id: Text<'a> = "id",
        /// The person's choice.
        subscribed: bool = "subscribed",
    }
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whether RFC 3339 can express the time: only years up to 9999.
    #[must_use]
    pub fn can_be_written(self) -> bool {
        Instant::from_millisecond(self.0).is_ok()
    }
}

impl Value for Timestamp {
    /// Writes RFC 3339 in UTC with three fraction digits; a time that RFC 3339 cannot express is left out.
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

/// The values that XDM allows. A webhook does not prove a login, so this product writes only the first value.
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
    /// Adds an identity; the first one becomes the primary identity.
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
