//! Tables of the mapping. A general rule applies to everything that is not in a table: an unknown channel or metric
//! keeps its name and gets no counter. So new names at Customer.io never stop the pipeline.

use std::borrow::Cow;

use customerio::catalogue::{Metric, ObjectType};
use customerio::webhook::Data;
use xdm::event::DirectMarketing;

use crate::Kind;

use Metric as M;
use ObjectType as O;

/// Standard XDM event types. A type is used only if it has exactly the meaning of the metric on this channel.
/// `message.feedback` and `message.tracking` are never written, because Journey Optimizer's own reports and audiences
/// use them.
#[rustfmt::skip]
pub const EVENT_TYPES: &[(ObjectType, Metric, &str)] = &[
    (O::Email, M::Sent,         "directMarketing.emailSent"),
    (O::Email, M::Delivered,    "directMarketing.emailDelivered"),
    (O::Email, M::Opened,       "directMarketing.emailOpened"),
    (O::Email, M::Clicked,      "directMarketing.emailClicked"),
    (O::Email, M::Bounced,      "directMarketing.emailBounced"),
    (O::Email, M::Deferred,     "directMarketing.emailBouncedSoft"),
    (O::Email, M::Unsubscribed, "directMarketing.emailUnsubscribed"),
    (O::Push,  M::Opened,       "pushTracking.applicationOpened"),
    (O::Push,  M::Clicked,      "pushTracking.customAction"),
    (O::InApp, M::Opened,       "inappmessageTracking.display"),
    (O::InApp, M::Clicked,      "inappmessageTracking.interact"),
];

/// Event types of events about the person.
#[rustfmt::skip]
pub const PERSON_EVENT_TYPES: &[(Metric, &str)] = &[
    (M::Subscribed,         "customerio.customer.subscribed"),
    (M::Unsubscribed,       "customerio.customer.unsubscribed"),
    (M::PreferencesChanged, "customerio.customer.subscriptionPreferencesChanged"),
];

/// Closed vocabulary of `feedbackStatus`, taken from Journey Optimizer's `messageDeliveryfeedback.feedbackStatus`.
#[rustfmt::skip]
pub const FEEDBACK_STATUSES: &[&str] =
    &["error", "exclude", "sent", "bounce", "delay", "duplicate", "denylist", "delivered", "read", "unknown"];

/// Closed vocabulary of `interactionType`, taken from Journey Optimizer's `messageInteraction.interactionType`.
#[rustfmt::skip]
pub const INTERACTION_TYPES: &[&str] =
    &["click", "open", "unsubscribe", "spam_complaint", "subscription", "submit", "visit", "bot_open", "bot_click", "reply"];

/// Closed vocabulary of `subscription.status`.
pub const SUBSCRIPTION_STATUSES: &[&str] = &["subscribed", "unsubscribed"];

/// A counter of XDM's Direct Marketing Details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Number of dispatched messages.
    Sends,
    /// Number of delivered emails.
    EmailDelivered,
    /// Number of opened messages.
    Opens,
    /// Number of displayed messages.
    Impressions,
    /// Number of clicks.
    Clicks,
    /// Number of temporarily undeliverable messages.
    Bounces,
    /// Number of permanently undeliverable messages.
    NonDeliverables,
    /// Number of messages that were not dispatched.
    NotSent,
    /// Number of recipients that a rule excluded.
    Excludes,
    /// Number of messages that were reported as spam.
    UserComplaints,
    /// Number of opt-outs.
    Unsubscriptions,
    /// Number of opt-ins.
    MarketingSubscription,
}

impl Counter {
    /// Returns the name of the counter in XDM, below `directMarketing`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::EmailDelivered => "emailDelivered",
            Self::Opens => "opens",
            Self::Impressions => "impressions",
            Self::Clicks => "clicks",
            Self::Bounces => "bounces",
            Self::NonDeliverables => "nonDeliverables",
            Self::NotSent => "notSent",
            Self::Excludes => "excludes",
            Self::UserComplaints => "userComplaints",
            Self::Unsubscriptions => "unsubscriptions",
            Self::MarketingSubscription => "marketingSubscription",
        }
    }
}

/// Meaning of a metric on any channel, except for the pairs in [`EXCEPTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Counter that the metric increases, on the channels in [`COUNTED`] and for events about the person.
    pub counter: Option<Counter>,
    /// Value of `feedbackStatus`, one of [`FEEDBACK_STATUSES`].
    pub feedback_status: Option<&'static str>,
    /// Value of `interactionType`, one of [`INTERACTION_TYPES`].
    pub interaction_type: Option<&'static str>,
    /// Whether the metric is an action of the person, so that `producedBy` is `self`.
    pub by_person: bool,
}

const fn meaning(
    counter: Option<Counter>,
    feedback_status: Option<&'static str>,
    interaction_type: Option<&'static str>,
    by_person: bool,
) -> Meaning {
    Meaning { counter, feedback_status, interaction_type, by_person }
}

const NOTHING: Meaning = meaning(None, None, None, false);

/// Returns the general meaning of a metric.
#[rustfmt::skip]
#[must_use]
pub fn metric_meaning(metric: Metric) -> Meaning {
    use Counter as C;
    match metric {
        // counter                         feedback status    interaction            by the person
        M::Drafted            => meaning(None,                           None,              None,                   false),
        M::Attempted          => meaning(None,                           Some("delay"),     None,                   false),
        M::Sent               => meaning(Some(C::Sends),                 Some("sent"),      None,                   false),
        M::Delivered          => meaning(None,                           Some("delivered"), None,                   false),
        M::Opened             => meaning(Some(C::Opens),                 None,              Some("open"),           true),
        M::Clicked            => meaning(Some(C::Clicks),                None,              Some("click"),          true),
        M::Converted          => meaning(None,                           None,              None,                   true),
        M::Unsubscribed       => meaning(Some(C::Unsubscriptions),       None,              Some("unsubscribe"),    true),
        M::Spammed            => meaning(Some(C::UserComplaints),        None,              Some("spam_complaint"), true),
        M::Bounced            => meaning(Some(C::NonDeliverables),       Some("bounce"),    None,                   false),
        M::Deferred           => meaning(Some(C::Bounces),               Some("delay"),     None,                   false),
        M::Dropped            => meaning(Some(C::Excludes),              Some("exclude"),   None,                   false),
        M::Failed             => meaning(Some(C::NotSent),               Some("error"),     None,                   false),
        M::Undeliverable      => meaning(Some(C::NotSent),               Some("exclude"),   None,                   false),
        M::Replied            => meaning(None,                           None,              Some("reply"),          true),
        M::Subscribed         => meaning(Some(C::MarketingSubscription), None,              Some("subscription"),   true),
        M::PreferencesChanged => meaning(None,                           None,              Some("subscription"),   true),
    }
}

/// Pairs of channel and metric whose meaning differs from the general meaning of the metric.
#[rustfmt::skip]
pub const EXCEPTIONS: &[(ObjectType, Metric, Meaning)] = &[
    (O::Email,    M::Delivered, meaning(Some(Counter::EmailDelivered), Some("delivered"), None,         false)),
    (O::InApp,    M::Opened,    meaning(Some(Counter::Impressions),    None,              Some("open"), true)),
    (O::Whatsapp, M::Opened,    meaning(Some(Counter::Opens),          Some("read"),      None,         true)),
    (O::Push,     M::Dropped,   meaning(Some(Counter::Excludes),       Some("denylist"),  None,         false)),
];

/// Channels whose events have counters, and the delivery id as `directMarketing.messageID`.
pub const COUNTED: &[ObjectType] = &[O::Email, O::Sms, O::Push, O::InApp, O::Whatsapp];

/// Returns id and type of a channel; `None` for events about the person.
#[rustfmt::skip]
#[must_use]
pub fn channel(object_type: ObjectType) -> Option<(&'static str, &'static str)> {
    match object_type {
        O::Customer => None,
        O::Email    => Some(("https://ns.adobe.com/xdm/channels/email",       "https://ns.adobe.com/xdm/channel-types/email")),
        O::Sms      => Some(("https://ns.adobe.com/xdm/channels/sms",         "https://ns.adobe.com/xdm/channel-types/messaging")),
        O::Push     => Some(("https://ns.adobe.com/xdm/channels/push",        "https://ns.adobe.com/xdm/channel-types/mobile")),
        O::InApp    => Some(("https://ns.adobe.com/xdm/channels/application", "https://ns.adobe.com/xdm/channel-types/apps")),
        O::Whatsapp => Some(("https://ns.adobe.com/xdm/channels/whatsApp",    "https://ns.adobe.com/xdm/channel-types/messaging")),
        O::Slack    => Some(("urn:customerio:channel:slack",                  "https://ns.adobe.com/xdm/channel-types/messaging")),
        O::Webhook  => Some(("urn:customerio:channel:webhook",                "https://ns.adobe.com/xdm/channel-types/external")),
    }
}

/// Returns the push provider of a device platform.
#[must_use]
pub fn push_provider(platform: &str) -> Option<&'static str> {
    const PROVIDERS: &[(&str, &str)] = &[("ios", "apns"), ("android", "fcm")];
    PROVIDERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(platform)).map(|(_, provider)| *provider)
}

/// The result of the tables for a pair of channel and metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// XDM event type.
    pub event_type: Cow<'static, str>,
    /// Counter that the event increases, if there is one.
    pub counter: Option<Counter>,
    /// Value of `feedbackStatus`, one of [`FEEDBACK_STATUSES`].
    pub feedback_status: Option<&'static str>,
    /// Value of `interactionType`, one of [`INTERACTION_TYPES`].
    pub interaction_type: Option<&'static str>,
    /// Interaction type of an open or click by a machine, and the field of `data` that identifies the machine.
    pub machine: Option<(&'static str, &'static str)>,
    /// Value of `producedBy`: `self` or `system`.
    pub produced_by: &'static str,
}

impl Row {
    /// Returns the row of a pair. If events of the pair can be about a message or about the person, `person` selects
    /// the row about the person.
    #[must_use]
    pub fn of(object_type: ObjectType, metric: Metric, person: bool) -> Self {
        let kind = Kind { object_type: Some(object_type), metric: Some(metric), person };
        let meaning = kind_meaning(kind);
        Self {
            event_type: event_type(kind, object_type.as_str(), metric.as_str()),
            counter: counter(kind),
            feedback_status: meaning.feedback_status,
            interaction_type: meaning.interaction_type,
            machine: machine(metric).filter(|_| meaning.interaction_type.is_some()),
            produced_by: produced_by(meaning, false),
        }
    }
}

/// Returns the interaction type of an open or click by a machine, and the flag in `data` that identifies the machine.
fn machine(metric: Metric) -> Option<(&'static str, &'static str)> {
    match metric {
        M::Opened => Some(("bot_open", "prefetched")),
        M::Clicked => Some(("bot_click", "machine")),
        _ => None,
    }
}

fn produced_by(meaning: Meaning, machine: bool) -> &'static str {
    if meaning.by_person && !machine { "self" } else { "system" }
}

/// The result of the tables for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) feedback_status: Option<&'static str>,
    pub(crate) interaction_type: Option<&'static str>,
    pub(crate) is_machine: Option<bool>,
    pub(crate) produced_by: &'static str,
}

fn kind_meaning(kind: Kind) -> Meaning {
    let Some(metric) = kind.metric else { return NOTHING };
    EXCEPTIONS
        .iter()
        .find(|(object_type, exception, _)| Some(*object_type) == kind.object_type && *exception == metric)
        .map_or_else(|| metric_meaning(metric), |(_, _, meaning)| *meaning)
}

/// Returns the result of the tables for an event. Flags in `data` distinguish opens and clicks by machines.
pub(crate) fn facts(kind: Kind, data: &Data<'_>) -> Facts {
    let meaning = kind_meaning(kind);
    let is_machine = match kind.metric {
        Some(M::Opened) => data.prefetched.boolean(),
        Some(M::Clicked) => data.machine.boolean(),
        _ => None,
    };
    let bot = kind.metric.and_then(machine).filter(|_| is_machine == Some(true)).map(|(bot, _)| bot);
    Facts {
        feedback_status: meaning.feedback_status,
        interaction_type: meaning.interaction_type.map(|human| bot.unwrap_or(human)),
        is_machine,
        produced_by: produced_by(meaning, bot.is_some()),
    }
}

/// Returns the event type: a standard type, or `customerio.{channel}.{metric}`.
pub(crate) fn event_type(kind: Kind, object_type: &str, metric: &str) -> Cow<'static, str> {
    let person = PERSON_EVENT_TYPES
        .iter()
        .find(|(known, _)| kind.person && kind.metric == Some(*known))
        .map(|(_, event_type)| *event_type);
    let message = EVENT_TYPES
        .iter()
        .find(|(channel, known, _)| !kind.person && kind.object_type == Some(*channel) && kind.metric == Some(*known))
        .map(|(_, _, event_type)| *event_type);
    match person.or(message) {
        Some(standard) => Cow::Borrowed(standard),
        None => {
            let mut text = String::with_capacity(13 + object_type.len() + metric.len());
            text.push_str("customerio.");
            push_lower_camel(&mut text, object_type);
            text.push('.');
            push_lower_camel(&mut text, metric);
            Cow::Owned(text)
        }
    }
}

/// Appends a name in lower camel case. Both `in_app` and `In_App` become `inApp`, because letter case does not
/// distinguish events.
fn push_lower_camel(text: &mut String, name: &str) {
    let mut upper = false;
    for c in name.trim_matches('_').chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            text.extend(c.to_uppercase());
        } else {
            text.extend(c.to_lowercase());
        }
    }
}

fn counted_channel(kind: Kind) -> bool {
    kind.object_type.is_some_and(|object_type| COUNTED.contains(&object_type))
}

fn counter(kind: Kind) -> Option<Counter> {
    let person_metric = kind.person && PERSON_EVENT_TYPES.iter().any(|(metric, _)| kind.metric == Some(*metric));
    kind_meaning(kind).counter.filter(|_| counted_channel(kind) && !kind.person || person_metric)
}

/// Returns the counter and the delivery id, if the channel has them.
pub(crate) fn direct_marketing<'a>(kind: Kind, delivery_id: Option<Cow<'a, str>>) -> Option<DirectMarketing<'a>> {
    let message_id = delivery_id.filter(|_| counted_channel(kind));
    let counter = counter(kind);
    if message_id.is_none() && counter.is_none() {
        return None;
    }
    let mut marketing = DirectMarketing { message_id, ..DirectMarketing::default() };
    if let Some(counter) = counter {
        let slot = match counter {
            Counter::Sends => &mut marketing.sends,
            Counter::EmailDelivered => &mut marketing.email_delivered,
            Counter::Opens => &mut marketing.opens,
            Counter::Impressions => &mut marketing.impressions,
            Counter::Clicks => &mut marketing.clicks,
            Counter::Bounces => &mut marketing.bounces,
            Counter::NonDeliverables => &mut marketing.non_deliverables,
            Counter::NotSent => &mut marketing.not_sent,
            Counter::Excludes => &mut marketing.excludes,
            Counter::UserComplaints => &mut marketing.user_complaints,
            Counter::Unsubscriptions => &mut marketing.unsubscriptions,
            Counter::MarketingSubscription => &mut marketing.marketing_subscription,
        };
        *slot = Some(1.0.into());
    }
    Some(marketing)
}
