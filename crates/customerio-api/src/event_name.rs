//! The events that a reporting webhook can be subscribed to.
//!
//! Requests use a closed list ([`SubscribableEvent`]). Responses may contain names that this version does not know
//! ([`EventName::Unknown`]): they are kept, shown and sent back.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use customerio::catalogue::{CATALOGUE, CatalogueEvent, ObjectType};

/// Events that are in the catalogue, because their payload is documented, but not in the App API's list of event names.
/// An update keeps a subscription to such an event if the webhook has one, and never adds one.
const NOT_IN_THE_APP_API: &[&str] = &["slack_undeliverable"];

/// The name of an event in a webhook's list, as the API spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventName {
    /// An event of the catalogue.
    Known(&'static CatalogueEvent),
    /// A name that is not in the catalogue.
    Unknown(String),
}

impl EventName {
    /// Looks up a name in the catalogue. The spelling must match exactly.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match CATALOGUE.iter().find(|event| event.subscription == name) {
            Some(event) => Self::Known(event),
            None => Self::Unknown(name.to_owned()),
        }
    }

    /// The name as the API spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(event) => event.subscription,
            Self::Unknown(name) => name,
        }
    }

    /// The event, if it can be subscribed to; `None` for every other name.
    #[must_use]
    pub fn subscribable(&self) -> Option<SubscribableEvent> {
        self.as_str().parse().ok()
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(event) => f.write_str(event.subscription),
            Self::Unknown(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

/// An event that a webhook can be subscribed to: one of the App API's 72 names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribableEvent(&'static CatalogueEvent);

/// A name that is not on the App API's list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not an event that a reporting webhook can be subscribed to; write names like `email_opened`{}",
    .name.escape_debug(),
    .of_the_channel.as_ref().map(|names| format!(". Of this channel there are: {names}")).unwrap_or_default()
)]
pub struct UnknownEvent {
    /// The refused name.
    pub name: String,
    /// The valid names of the same channel, separated by commas, if the refused name begins with a channel.
    pub of_the_channel: Option<String>,
}

impl SubscribableEvent {
    /// All subscribable events, by channel.
    pub fn all() -> impl Iterator<Item = Self> {
        CATALOGUE.iter().filter(|event| !NOT_IN_THE_APP_API.contains(&event.subscription)).map(Self)
    }

    /// The name as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.subscription
    }

    /// The event's channel.
    #[must_use]
    pub fn channel(self) -> ObjectType {
        self.0.object_type
    }
}

impl FromStr for SubscribableEvent {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::all().find(|event| event.as_str() == name).ok_or_else(|| {
            let channel = ObjectType::ALL.iter().find(|channel| name.starts_with(channel.as_str()));
            let names = channel.map(|&channel| {
                let names: Vec<_> = Self::all().filter(|event| event.channel() == channel).map(Self::as_str).collect();
                names.join(", ")
            });
            UnknownEvent { name: name.to_owned(), of_the_channel: names }
        })
    }
}

impl Ord for SubscribableEvent {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for SubscribableEvent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SubscribableEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of at least one event: the API refuses a webhook without events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSelection(BTreeSet<SubscribableEvent>);

/// No event was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no event is chosen, and a webhook needs at least one; name at least one event, such as `email_sent`")]
pub struct EmptySelection;

impl EventSelection {
    /// Every event of the App API's list.
    #[must_use]
    pub fn all() -> Self {
        Self(SubscribableEvent::all().collect())
    }

    /// A selection of the given events.
    ///
    /// # Errors
    /// [`EmptySelection`] if `events` is empty.
    pub fn new(events: impl IntoIterator<Item = SubscribableEvent>) -> Result<Self, EmptySelection> {
        let events: BTreeSet<_> = events.into_iter().collect();
        if events.is_empty() { Err(EmptySelection) } else { Ok(Self(events)) }
    }

    /// The events, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = SubscribableEvent> {
        self.0.iter().copied()
    }

    /// Returns true if the selection contains the event.
    #[must_use]
    pub fn contains(&self, event: SubscribableEvent) -> bool {
        self.0.contains(&event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_73_events_and_the_app_api_accepts_72() {
        assert_eq!(CATALOGUE.len(), 73);
        assert_eq!(SubscribableEvent::all().count(), 72);
        assert_eq!(EventSelection::all().iter().count(), 72);
        for event in SubscribableEvent::all() {
            assert_eq!(event.as_str().parse(), Ok(event));
            assert_eq!(EventName::parse(event.as_str()).subscribable(), Some(event));
        }
    }

    #[test]
    fn slack_undeliverable_is_known_but_not_subscribable() {
        let name = EventName::parse("slack_undeliverable");
        assert!(matches!(name, EventName::Known(_)));
        assert_eq!(name.subscribable(), None);
        assert!("slack_undeliverable".parse::<SubscribableEvent>().is_err());
    }

    #[test]
    fn an_unknown_event_name_is_kept_unchanged() {
        for name in ["line_sent", "Email_Sent", "email_sent ", ""] {
            assert_eq!(EventName::parse(name), EventName::Unknown(name.to_owned()));
            assert_eq!(EventName::parse(name).as_str(), name);
        }
        assert_eq!(EventName::parse("a\nb").to_string(), "a\\nb");
    }

    #[test]
    fn the_error_for_a_misspelt_name_lists_the_events_of_the_same_channel() {
        let error = "email_opend".parse::<SubscribableEvent>().unwrap_err().to_string();
        assert!(
            error.contains("email_opend") && error.contains("email_opened") && !error.contains("sms_sent"),
            "{error}"
        );
        assert!("nonsense".parse::<SubscribableEvent>().unwrap_err().of_the_channel.is_none());
        assert_eq!(EventSelection::new([]), Err(EmptySelection));
    }
}
