//! Describes where each field of the event comes from. The tests of [`crate::explain()`] compare these descriptions
//! with the mapping.

/// Describes how one field of the event is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Path of the field in XDM. `[]` means any element, `_{TENANT_ID}` the tenant's key, `{…}` a configured namespace
    /// code, and `*` any one name.
    pub output: &'static str,
    /// Paths in the webhook that the field may depend on, most important first. A path that begins with `header` or
    /// `option` refers to the raw record or the configuration.
    pub inputs: &'static [&'static str],
    /// The rule in words.
    pub rule: &'static str,
}

/// Fields that determine the channel.
const CHANNEL: &[&str] = &["object_type", "object_type_type", "metric"];

/// Fields that identities are built from.
const PERSON: &[&str] = &[
    "data.identifiers.id",
    "data.customer_id",
    "data.identifiers.cio_id",
    "data.identifiers.email",
    "data.email_address",
    "data.recipient",
    "object_type",
    "object_type_type",
    "metric",
    "option IDENTITY_NAMESPACE_ID",
    "option IDENTITY_NAMESPACE_CIO_ID",
    "option INCLUDE_PHONE",
    "option HASH_EMAIL",
];

/// Fields that distinguish the two shapes of an unsubscribe event.
const KIND: &[&str] = &["object_type", "object_type_type", "metric", "data.email_address", "data.recipient"];

const fn rule(output: &'static str, inputs: &'static [&'static str], rule: &'static str) -> Rule {
    Rule { output, inputs, rule }
}

/// One rule for each field that an event can have.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule("_id", &["event_id"], "unchanged if it consists of at most 64 letters, digits, `.`, `_`, `~` and `-`; otherwise the lower-case hex SHA-256"),
    rule("timestamp", &["timestamp", "header received-at"], "Unix seconds as RFC 3339 in UTC; if it is up to a day after received-at (the gateway's clock is slow), received-at is used"),
    rule("eventType", KIND, "from the channel's table, ignoring letter case; otherwise customerio.{objectType}.{metric} in lower camel case"),
    rule("producedBy", &["metric", "data.prefetched", "data.machine"], "self for an action of the person; system for everything else, including opens and clicks by machines"),
    rule("identityMap.{IDENTITY_NAMESPACE_ID}[].id", &["data.identifiers.id", "data.customer_id", "option IDENTITY_NAMESPACE_ID", "option HASH_EMAIL"], "the first of the two that is an id: without invisible characters and white space around it, not blank, not null, anonymous, invalid or on BLOCKED_IDS, at most 1024 characters long; with HASH_EMAIL an address in it is hashed"),
    rule("identityMap.{IDENTITY_NAMESPACE_CIO_ID}[].id", &["data.identifiers.cio_id", "option IDENTITY_NAMESPACE_CIO_ID", "option HASH_EMAIL"], "cleaned in the same way"),
    rule("identityMap.Email[].id", &["data.identifiers.email", "data.email_address", "data.recipient", "object_type", "object_type_type", "data.identifiers.id", "data.customer_id", "data.identifiers.cio_id", "option HASH_EMAIL"], "the first of the first two that is clean and holds one valid address, without its display name, in lower case; the recipient of an email only if there is no other identity"),
    rule("identityMap.Email_LC_SHA256[].id", &["data.identifiers.email", "data.email_address", "data.recipient", "object_type", "object_type_type", "data.identifiers.id", "data.customer_id", "data.identifiers.cio_id", "option HASH_EMAIL"], "with HASH_EMAIL, instead of Email: lower-case hex SHA-256 of that address"),
    rule("identityMap.Phone[].id", &["data.recipient", "object_type", "object_type_type", "data.identifiers.id", "data.customer_id", "data.identifiers.cio_id", "option INCLUDE_PHONE"], "the recipient of an SMS or WhatsApp message if it begins with + and a country code and has 7 to 15 digits, without separators; only with INCLUDE_PHONE or if there is no other identity"),
    rule("identityMap.*[].authenticatedState", PERSON, "always ambiguous: a webhook proves no login"),
    rule("identityMap.*[].primary", PERSON, "true for the first identity present (in the order of these rows), false for the others"),
    rule("channel._id", CHANNEL, "the channel's URI, by the table of channels"),
    rule("channel._type", CHANNEL, "the kind of channel, by the table of channels"),
    rule("channel.typeAtSource", CHANNEL, "Customer.io's name of the channel"),
    rule("directMarketing.messageID", &["data.delivery_id", "object_type", "object_type_type", "metric"], "unchanged, for email, SMS, push, in-app and WhatsApp"),
    rule("directMarketing.*.value", KIND, "1.0 in the counter that the table of the channel names"),
    rule("pushNotificationTracking.pushProvider", &["data.recipients[].device_platform", "object_type", "object_type_type", "metric"], "push opened and clicked: apns for ios, fcm for android, from the first device"),
    rule("pushNotificationTracking.customAction.actionID", &["data.link_id", "object_type", "object_type_type", "metric"], "push clicked: the link"),
    rule("inappMessageTracking.action", &["data.tracked_response", "object_type", "object_type_type", "metric"], "in-app clicked: the action's name"),
    rule("_{TENANT_ID}.customerio.objectType", CHANNEL, "as received; where it is missing, object_type_type, else customer for the metrics of a person"),
    rule("_{TENANT_ID}.customerio.metric", &["metric"], "as received"),
    rule("_{TENANT_ID}.customerio.workspaceID", &["option workspace_id"], "from SOURCES_FILE: ids of campaigns, actions and links are unique only within one workspace"),
    rule("_{TENANT_ID}.customerio.deliveryID", &["data.delivery_id"], "as text"),
    rule("_{TENANT_ID}.customerio.campaignID", &["data.campaign_id"], "as text"),
    rule("_{TENANT_ID}.customerio.broadcastID", &["data.broadcast_id"], "as text"),
    rule("_{TENANT_ID}.customerio.newsletterID", &["data.newsletter_id"], "as text"),
    rule("_{TENANT_ID}.customerio.transactionalMessageID", &["data.transactional_message_id"], "as text"),
    rule("_{TENANT_ID}.customerio.actionID", &["data.action_id"], "as text"),
    rule("_{TENANT_ID}.customerio.parentActionID", &["data.parent_action_id"], "as text"),
    rule("_{TENANT_ID}.customerio.contentID", &["data.content_id"], "as text"),
    rule("_{TENANT_ID}.customerio.journeyID", &["data.journey_id"], "as text"),
    rule("_{TENANT_ID}.customerio.triggerID", &["data.trigger_id"], "as text"),
    rule("_{TENANT_ID}.customerio.triggerEventID", &["data.trigger_event_id"], "as text"),
    rule("_{TENANT_ID}.customerio.conversionEventID", &["data.conversion_event_id"], "as text"),
    rule("_{TENANT_ID}.customerio.personID", &["data.identifiers.id", "data.customer_id", "option HASH_EMAIL"], "the value of the identity, repeated because identityMap is awkward in queries"),
    rule("_{TENANT_ID}.customerio.personCioID", &["data.identifiers.cio_id", "option HASH_EMAIL"], "the value of the identity, repeated"),
    rule("_{TENANT_ID}.customerio.recipient", &["data.recipient", "option HASH_EMAIL"], "as received; left out with HASH_EMAIL if it holds an @"),
    rule("_{TENANT_ID}.customerio.devices[].deviceID", &["data.recipients[].device_id"], "as text, the first 10 devices"),
    rule("_{TENANT_ID}.customerio.devices[].platform", &["data.recipients[].device_platform"], "as received"),
    rule("_{TENANT_ID}.customerio.devices[].failureMessage", &["data.recipients[].failure_message"], "as received; cut after 512 characters if the event is too large"),
    rule("_{TENANT_ID}.customerio.subject", &["data.subject"], "as received; cut after 255 characters if the event is too large"),
    rule("_{TENANT_ID}.customerio.feedbackStatus", &["metric", "object_type", "object_type_type"], "the table of the channel"),
    rule("_{TENANT_ID}.customerio.interactionType", &["metric", "data.prefetched", "data.machine"], "the table of the channel; bot_open and bot_click where a machine did it"),
    rule("_{TENANT_ID}.customerio.isMachine", &["data.prefetched", "data.machine", "metric"], "the flag of an open (prefetched) or a click (machine); absent where Customer.io does not say"),
    rule("_{TENANT_ID}.customerio.failureMessage", &["data.failure_message"], "as received; cut after 512 characters if the event is too large"),
    rule("_{TENANT_ID}.customerio.open.proxied", &["data.proxied"], "as received"),
    rule("_{TENANT_ID}.customerio.open.prefetched", &["data.prefetched"], "as received"),
    rule("_{TENANT_ID}.customerio.open.synthetic", &["data.synthetic"], "as received"),
    rule("_{TENANT_ID}.customerio.link.id", &["data.link_id"], "as text"),
    rule("_{TENANT_ID}.customerio.link.href", &["data.href"], "as received, whatever its scheme; cut after 2048 characters if the event is too large"),
    rule("_{TENANT_ID}.customerio.link.machine", &["data.machine"], "as received"),
    rule("_{TENANT_ID}.customerio.reply.inboundEventID", &["data.inbound_event_id"], "as text"),
    rule("_{TENANT_ID}.customerio.reply.to", &["data.to"], "as received"),
    rule("_{TENANT_ID}.customerio.subscription.status", KIND, "subscribed or unsubscribed, for the metrics of those names about the person"),
    rule("_{TENANT_ID}.customerio.subscription.topics[].id", &["data.content", "object_type", "object_type_type", "metric"], "preference changes: the keys of `topics` in the JSON inside the string, sorted"),
    rule("_{TENANT_ID}.customerio.subscription.topics[].subscribed", &["data.content", "object_type", "object_type_type", "metric"], "preference changes: the boolean value of this topic in `topics`"),
    rule("_{TENANT_ID}.customerio.subscription.channels[].id", &["data.content", "object_type", "object_type_type", "metric"], "preference changes: the keys of `channels` in the JSON inside the string, sorted"),
    rule("_{TENANT_ID}.customerio.subscription.channels[].subscribed", &["data.content", "object_type", "object_type_type", "metric"], "preference changes: the boolean value of this channel in `channels`"),
    rule("_{TENANT_ID}.customerio.source", &["option source"], "the name of the source, as in the path the webhook was sent to"),
    rule("_{TENANT_ID}.customerio.receivedAt", &["header received-at"], "when the gateway received the webhook"),
    rule("_{TENANT_ID}.customerio.timestampAdjusted", &["timestamp", "header received-at"], "true where timestamp was replaced by received-at"),
    rule("_{TENANT_ID}.customerio.truncated", &["data.subject", "data.failure_message", "data.recipients[].failure_message", "data.href"], "true where a text was cut because the event was larger than 10,000 bytes of JSON"),
    rule("_{TENANT_ID}.customerio.mappingVersion", &[], "the version of these rules"),
];

/// Fields of the webhook that never reach Platform, with the reason.
pub const NEVER_FORWARDED: &[(&str, &str)] = &[
    ("data.content", "the body of a message; only the preferences of a preference change are read from it"),
    ("data.headers", "custom headers of a message"),
];
