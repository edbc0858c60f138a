//! Catalogue of events: every pair of channel and metric that Customer.io documents or offers for subscription.
//!
//! The facts come from Customer.io's reporting-webhooks specification (payloads) and from the App API's list of events
//! that a webhook can subscribe to. The catalogue does not filter: the pipeline also processes events that are not in
//! the catalogue.

/// Declares an enum for a closed list of names that Customer.io sends.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All names, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name as Customer.io sends it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// Finds the entry with this name, in any letter case; `None` if the name is unknown.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)*
                    _ => Self::ALL.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(name)),
                }
            }
        }
    };
}

names! {
    /// Channel of an event, `object_type` in a webhook.
    ObjectType {
        /// A person: events of this channel are not about one message.
        Customer = "customer",
        /// Email messages.
        Email = "email",
        /// SMS messages.
        Sms = "sms",
        /// WhatsApp messages.
        Whatsapp = "whatsapp",
        /// Push notifications.
        Push = "push",
        /// In-app messages.
        InApp = "in_app",
        /// Slack messages.
        Slack = "slack",
        /// Webhook actions.
        Webhook = "webhook",
    }
}

names! {
    /// Kind of an event, `metric` in a webhook.
    Metric {
        /// A draft was created.
        Drafted = "drafted",
        /// Handing the message to the provider failed; Customer.io will try again.
        Attempted = "attempted",
        /// The message was sent.
        Sent = "sent",
        /// The message was delivered, according to the provider.
        Delivered = "delivered",
        /// The message was opened, shown or read.
        Opened = "opened",
        /// A tracked link or component was used.
        Clicked = "clicked",
        /// A conversion was credited to the message.
        Converted = "converted",
        /// The person unsubscribed from a message or from all messages.
        Unsubscribed = "unsubscribed",
        /// The provider could not deliver the message.
        Bounced = "bounced",
        /// The message was not sent, because the recipient is suppressed.
        Dropped = "dropped",
        /// The person reported the message as spam.
        Spammed = "spammed",
        /// The message could not be handed to the provider.
        Failed = "failed",
        /// Customer.io held the message back.
        Undeliverable = "undeliverable",
        /// The person answered the message.
        Replied = "replied",
        /// The person opted in.
        Subscribed = "subscribed",
        /// The person changed topic or channel preferences.
        PreferencesChanged = "cio_subscription_preferences_changed",
        /// The provider refused the message temporarily.
        Deferred = "deferred",
    }
}

names! {
    /// A key of `data` that belongs to the event itself, not to the person or the message.
    OwnField {
        /// `data.subject`
        Subject = "subject",
        /// `data.recipient`
        Recipient = "recipient",
        /// `data.failure_message`
        FailureMessage = "failure_message",
        /// `data.content`
        Content = "content",
        /// `data.headers`
        Headers = "headers",
        /// `data.proxied`
        Proxied = "proxied",
        /// `data.prefetched`
        Prefetched = "prefetched",
        /// `data.synthetic`
        Synthetic = "synthetic",
        /// `data.href`
        Href = "href",
        /// `data.link_id`
        LinkId = "link_id",
        /// `data.machine`
        Machine = "machine",
        /// `data.inbound_event_id`
        InboundEventId = "inbound_event_id",
        /// `data.to`
        To = "to",
        /// `data.recipients`
        Recipients = "recipients",
        /// `data.tracked_response`
        TrackedResponse = "tracked_response",
        /// `data.email_address`
        EmailAddress = "email_address",
    }
}

names! {
    /// Kind of message that an event is attributed to. It determines the ids in `data`.
    Variant {
        /// A campaign, with the campaign fields that the specification requires.
        Campaign = "campaign",
        /// A step of a workflow. `data` has the campaign fields, the fields of the person's run through the workflow,
        /// and null for the ids of other kinds of message, as in the App API.
        Workflow = "workflow",
        /// An API-triggered broadcast.
        Broadcast = "broadcast",
        /// A newsletter.
        Newsletter = "newsletter",
        /// A transactional message.
        Transactional = "transactional",
        /// No message: the event is about the person.
        None = "none",
    }
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEvent {
    /// Channel of the event.
    pub object_type: ObjectType,
    /// Kind of the event.
    pub metric: Metric,
    /// Name of the event in a webhook's subscription.
    pub subscription: &'static str,
    /// Whether Customer.io has published the payload.
    pub documented: bool,
    /// Fields of the event itself that the specification requires.
    pub required: &'static [OwnField],
    /// Optional fields of the event itself. If the payload is unpublished, these are only the likely fields.
    pub optional: &'static [OwnField],
}

impl CatalogueEvent {
    /// Returns the row of a channel and a metric.
    #[must_use]
    pub fn find(object_type: ObjectType, metric: Metric) -> Option<&'static Self> {
        CATALOGUE.iter().find(|event| event.object_type == object_type && event.metric == metric)
    }

    /// Returns the kinds of message that this event can be attributed to.
    #[must_use]
    pub fn variants(&self) -> &'static [Variant] {
        use Variant::{Broadcast, Campaign, Newsletter, None, Transactional, Workflow};
        match (self.object_type, self.metric) {
            (ObjectType::Customer, Metric::PreferencesChanged) => &[None, Campaign, Workflow, Broadcast, Newsletter],
            (ObjectType::Customer, _) => &[None],
            (ObjectType::Email | ObjectType::Push, _) => &[Campaign, Workflow, Broadcast, Newsletter, Transactional],
            (
                ObjectType::Sms | ObjectType::Whatsapp | ObjectType::InApp | ObjectType::Slack | ObjectType::Webhook,
                _,
            ) => &[Campaign, Workflow, Broadcast, Newsletter],
        }
    }

    /// Returns the fields of the event itself, required fields first.
    pub fn fields(&self) -> impl Iterator<Item = OwnField> {
        self.required.iter().chain(self.optional).copied()
    }
}

const fn documented(
    object_type: ObjectType,
    metric: Metric,
    subscription: &'static str,
    required: &'static [OwnField],
    optional: &'static [OwnField],
) -> CatalogueEvent {
    CatalogueEvent { object_type, metric, subscription, documented: true, required, optional }
}

const fn unpublished(
    object_type: ObjectType,
    metric: Metric,
    subscription: &'static str,
    required: &'static [OwnField],
    optional: &'static [OwnField],
) -> CatalogueEvent {
    CatalogueEvent { object_type, metric, subscription, documented: false, required, optional }
}

use {Metric as M, ObjectType as O, OwnField as F};

/// All rows, sorted by channel.
#[rustfmt::skip]
pub static CATALOGUE: &[CatalogueEvent] = &[
    // customer
    documented(O::Customer, M::Subscribed, "customer_subscribed", &[F::EmailAddress], &[]),
    documented(O::Customer, M::Unsubscribed, "customer_unsubscribed", &[F::EmailAddress], &[]),
    documented(O::Customer, M::PreferencesChanged, "customer_subscription_preferences_changed", &[F::EmailAddress], &[F::Content]),
    // email
    documented(O::Email, M::Drafted, "email_drafted", &[F::Subject, F::Recipient], &[]),
    documented(O::Email, M::Attempted, "email_attempted", &[F::FailureMessage], &[]),
    documented(O::Email, M::Sent, "email_sent", &[F::Subject, F::Recipient], &[F::Content, F::Headers]),
    documented(O::Email, M::Delivered, "email_delivered", &[F::Subject, F::Recipient], &[]),
    documented(O::Email, M::Opened, "email_opened", &[F::Recipient], &[F::Subject, F::Proxied, F::Prefetched, F::Synthetic]),
    documented(O::Email, M::Clicked, "email_clicked", &[F::Subject, F::Recipient, F::Href, F::LinkId], &[F::Machine]),
    documented(O::Email, M::Converted, "email_converted", &[F::Subject, F::Recipient], &[]),
    documented(O::Email, M::Unsubscribed, "email_unsubscribed", &[F::Subject, F::Recipient], &[]),
    documented(O::Email, M::Bounced, "email_bounced", &[F::Subject, F::Recipient, F::FailureMessage], &[]),
    documented(O::Email, M::Dropped, "email_dropped", &[F::Subject, F::Recipient, F::FailureMessage], &[]),
    documented(O::Email, M::Spammed, "email_spammed", &[F::Subject, F::Recipient], &[]),
    documented(O::Email, M::Failed, "email_failed", &[F::Subject, F::FailureMessage, F::Recipient], &[]),
    documented(O::Email, M::Undeliverable, "email_undeliverable", &[F::Subject, F::Recipient, F::FailureMessage], &[]),
    unpublished(O::Email, M::Deferred, "email_deferred", &[], &[F::Subject, F::Recipient, F::FailureMessage]),
    // sms
    documented(O::Sms, M::Drafted, "sms_drafted", &[], &[]),
    documented(O::Sms, M::Attempted, "sms_attempted", &[F::FailureMessage], &[]),
    documented(O::Sms, M::Sent, "sms_sent", &[F::Recipient], &[F::Content]),
    documented(O::Sms, M::Delivered, "sms_delivered", &[F::Recipient], &[]),
    documented(O::Sms, M::Clicked, "sms_clicked", &[F::Recipient, F::LinkId, F::Href], &[]),
    documented(O::Sms, M::Converted, "sms_converted", &[F::Recipient], &[]),
    documented(O::Sms, M::Bounced, "sms_bounced", &[F::FailureMessage, F::Recipient], &[]),
    documented(O::Sms, M::Failed, "sms_failed", &[F::FailureMessage], &[]),
    documented(O::Sms, M::Undeliverable, "sms_undeliverable", &[F::FailureMessage], &[]),
    documented(O::Sms, M::Replied, "sms_replied", &[F::InboundEventId, F::To, F::Recipient], &[]),
    unpublished(O::Sms, M::Dropped, "sms_dropped", &[], &[F::Recipient, F::FailureMessage]),
    // whatsapp
    documented(O::Whatsapp, M::Drafted, "whatsapp_drafted", &[], &[]),
    documented(O::Whatsapp, M::Attempted, "whatsapp_attempted", &[F::FailureMessage], &[]),
    documented(O::Whatsapp, M::Sent, "whatsapp_sent", &[F::Recipient], &[F::Content]),
    documented(O::Whatsapp, M::Delivered, "whatsapp_delivered", &[F::Recipient], &[]),
    documented(O::Whatsapp, M::Opened, "whatsapp_opened", &[F::Recipient], &[]),
    documented(O::Whatsapp, M::Clicked, "whatsapp_clicked", &[F::Recipient, F::LinkId, F::Href], &[]),
    documented(O::Whatsapp, M::Converted, "whatsapp_converted", &[F::Recipient], &[]),
    documented(O::Whatsapp, M::Bounced, "whatsapp_bounced", &[F::FailureMessage, F::Recipient], &[]),
    documented(O::Whatsapp, M::Dropped, "whatsapp_dropped", &[F::FailureMessage, F::Recipient], &[]),
    documented(O::Whatsapp, M::Failed, "whatsapp_failed", &[F::FailureMessage], &[]),
    documented(O::Whatsapp, M::Undeliverable, "whatsapp_undeliverable", &[F::FailureMessage], &[]),
    documented(O::Whatsapp, M::Replied, "whatsapp_replied", &[F::InboundEventId, F::To, F::Recipient], &[]),
    // push
    documented(O::Push, M::Drafted, "push_drafted", &[], &[]),
    documented(O::Push, M::Attempted, "push_attempted", &[F::FailureMessage], &[]),
    documented(O::Push, M::Sent, "push_sent", &[F::Recipients], &[F::Content]),
    documented(O::Push, M::Delivered, "push_delivered", &[F::Recipients], &[]),
    documented(O::Push, M::Opened, "push_opened", &[F::Recipients], &[]),
    documented(O::Push, M::Clicked, "push_clicked", &[F::Href, F::LinkId, F::Recipients], &[]),
    documented(O::Push, M::Converted, "push_converted", &[F::Recipients], &[]),
    documented(O::Push, M::Bounced, "push_bounced", &[F::Recipients], &[]),
    documented(O::Push, M::Dropped, "push_dropped", &[F::Recipients], &[]),
    documented(O::Push, M::Failed, "push_failed", &[F::FailureMessage], &[]),
    documented(O::Push, M::Undeliverable, "push_undeliverable", &[F::FailureMessage], &[]),
    // in_app
    documented(O::InApp, M::Drafted, "in_app_drafted", &[], &[]),
    documented(O::InApp, M::Attempted, "in_app_attempted", &[F::FailureMessage], &[]),
    documented(O::InApp, M::Sent, "in_app_sent", &[F::Recipient], &[F::Content]),
    documented(O::InApp, M::Opened, "in_app_opened", &[], &[]),
    documented(O::InApp, M::Clicked, "in_app_clicked", &[F::Recipient, F::Href, F::LinkId], &[F::TrackedResponse]),
    documented(O::InApp, M::Converted, "in_app_converted", &[F::Recipient], &[]),
    documented(O::InApp, M::Failed, "in_app_failed", &[F::FailureMessage], &[]),
    documented(O::InApp, M::Undeliverable, "in_app_undeliverable", &[F::FailureMessage], &[]),
    // slack
    documented(O::Slack, M::Drafted, "slack_drafted", &[], &[]),
    documented(O::Slack, M::Attempted, "slack_attempted", &[F::FailureMessage], &[]),
    documented(O::Slack, M::Sent, "slack_sent", &[F::Recipient], &[F::Content]),
    documented(O::Slack, M::Clicked, "slack_clicked", &[F::Recipient, F::Href, F::LinkId], &[]),
    documented(O::Slack, M::Failed, "slack_failed", &[F::FailureMessage], &[]),
    documented(O::Slack, M::Undeliverable, "slack_undeliverable", &[F::FailureMessage], &[]),
    unpublished(O::Slack, M::Converted, "slack_converted", &[], &[F::Recipient]),
    // webhook
    documented(O::Webhook, M::Drafted, "webhook_drafted", &[], &[]),
    documented(O::Webhook, M::Attempted, "webhook_attempted", &[F::FailureMessage], &[]),
    documented(O::Webhook, M::Sent, "webhook_sent", &[F::Recipient], &[F::Content]),
    documented(O::Webhook, M::Clicked, "webhook_clicked", &[F::Recipient, F::Href, F::LinkId], &[]),
    documented(O::Webhook, M::Failed, "webhook_failed", &[F::FailureMessage], &[]),
    documented(O::Webhook, M::Undeliverable, "webhook_undeliverable", &[F::FailureMessage], &[]),
    unpublished(O::Webhook, M::Converted, "webhook_converted", &[], &[F::Recipient]),
];
