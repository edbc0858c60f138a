//! The keys of the objects that `setup` manages.

use std::fmt;
use std::str::FromStr;

use sources::SourceName;

/// A service whose objects can be selected with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The Kafka topics.
    Kafka,
    /// The Schema Registry's compatibility rule.
    Registry,
    /// The objects in Experience Platform.
    Platform,
    /// Customer.io's reporting webhooks.
    CustomerIo,
}

impl Target {
    /// All targets, in the order in which they are set up.
    pub const ALL: &'static [Self] = &[Self::Kafka, Self::Registry, Self::Platform, Self::CustomerIo];

    /// The value in `--only`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Platform => "platform",
            Self::CustomerIo => "customerio",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |target: &&Self| target.as_str() == text;
        Self::ALL.iter().find(named).copied().ok_or_else(|| {
            "this is not a part of the set-up; the parts are kafka, registry, platform and customerio".to_owned()
        })
    }
}

/// The key of one object. Keys are ordered by creation: no object refers to a later one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A topic, by its name.
    Topic(String),
    /// A subject of the Schema Registry, by its name.
    Subject(String),
    /// An identity namespace, by its code.
    Namespace(String),
    /// The field group that the schema refers to.
    FieldGroup,
    /// The XDM schema of the events.
    Schema,
    /// The dataset that receives the events.
    Dataset,
    /// The base connection, which contains the inlet.
    BaseConnection,
    /// The source connection of the flow.
    SourceConnection,
    /// The target connection of the flow, which leads to the dataset.
    TargetConnection,
    /// The flow from the inlet to the dataset.
    Flow,
    /// The reporting webhook of a source.
    Webhook(SourceName),
}

impl Key {
    /// The service that the object belongs to.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::Topic(_) => Target::Kafka,
            Self::Subject(_) => Target::Registry,
            Self::Namespace(_)
            | Self::FieldGroup
            | Self::Schema
            | Self::Dataset
            | Self::BaseConnection
            | Self::SourceConnection
            | Self::TargetConnection
            | Self::Flow => Target::Platform,
            Self::Webhook(_) => Target::CustomerIo,
        }
    }

    /// The kind of the object, for texts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topic",
            Self::Subject(_) => "registry subject",
            Self::Namespace(_) => "identity namespace",
            Self::FieldGroup => "field group",
            Self::Schema => "schema",
            Self::Dataset => "dataset",
            Self::BaseConnection => "base connection",
            Self::SourceConnection => "source connection",
            Self::TargetConnection => "target connection",
            Self::Flow => "flow",
            Self::Webhook(_) => "webhook",
        }
    }

    /// The name that distinguishes the object from others of its kind; `None` if there is only one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Topic(name) | Self::Subject(name) | Self::Namespace(name) => Some(name),
            Self::Webhook(source) => Some(source.as_str()),
            _ => None,
        }
    }

    /// The placeholder for the object's id in a request that is planned before the object exists.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("<id of the {self}>")
    }
}

/// Returns true if a text contains a placeholder for an id.
pub(crate) fn has_placeholder(text: &str) -> bool {
    text.contains("<id of the ")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.kind()),
            None => f.write_str(self.kind()),
        }
    }
}

/// Parses the `Display` form of a [`Key`], which the state file contains.
impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = [
            Self::FieldGroup,
            Self::Schema,
            Self::Dataset,
            Self::BaseConnection,
            Self::SourceConnection,
            Self::TargetConnection,
            Self::Flow,
        ];
        if let Some(key) = plain.into_iter().find(|key| key.kind() == text) {
            return Ok(key);
        }
        let after = |kind: &str| text.strip_prefix(kind)?.strip_prefix(' ').map(str::to_owned);
        if let Some(name) = after("topic") {
            return Ok(Self::Topic(name));
        }
        if let Some(name) = after("registry subject") {
            return Ok(Self::Subject(name));
        }
        if let Some(code) = after("identity namespace") {
            return Ok(Self::Namespace(code));
        }
        match after("webhook").map(|name| name.parse()) {
            Some(Ok(source)) => Ok(Self::Webhook(source)),
            _ => Err("this is not the name of an object of the set-up".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_parsed_from_its_displayed_text() {
        let keys = [
            Key::Topic("customerio.webhooks".into()),
            Key::Subject("typed-value".into()),
            Key::Namespace("CustomerioID".into()),
            Key::FieldGroup,
            Key::Schema,
            Key::Dataset,
            Key::BaseConnection,
            Key::SourceConnection,
            Key::TargetConnection,
            Key::Flow,
            Key::Webhook(SourceName::default()),
        ];
        for key in &keys {
            assert_eq!(key.to_string().parse().as_ref(), Ok(key));
            assert!(has_placeholder(&key.placeholder()));
        }
        assert!(keys.is_sorted(), "keys are ordered by creation");
        assert!("webhook /x".parse::<Key>().is_err() && "dataset x".parse::<Key>().is_err());
    }
}
