//! The four topics, and the rule for topic names.

use std::fmt;
use std::str::FromStr;

/// One of the four topics of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Webhooks as they were received.
    Raw,
    /// Mapped events.
    Typed,
    /// Dead letters and their resolutions.
    DeadLetters,
    /// Receipts of Platform's responses.
    Receipts,
}

impl Topic {
    /// All topics, in the order of the pipeline.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Typed, Self::DeadLetters, Self::Receipts];

    /// Environment variable that sets the topic's name.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Raw => "RAW_TOPIC",
            Self::Typed => "TYPED_TOPIC",
            Self::DeadLetters => "DEAD_LETTER_TOPIC",
            Self::Receipts => "RECEIPTS_TOPIC",
        }
    }

    /// Name of the topic if its variable is not set.
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Raw => "customerio.webhooks",
            Self::Typed => "customerio.experience-events",
            Self::DeadLetters => "customerio.dead-letters",
            Self::Receipts => "customerio.receipts",
        }
    }
}

/// The name of a topic: 1 to 249 letters, digits, `.`, `_` and `-` (Apache Kafka's rule), not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(String);

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TopicName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=249).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".." {
            Ok(Self(name.to_owned()))
        } else {
            Err("this is not a topic name: 1 to 249 letters, digits, `.`, `_` and `-`".to_owned())
        }
    }
}

impl TopicName {
    /// The name as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a topic that can be switched off: an empty text means that there is no topic.
#[derive(Debug, Clone)]
pub struct OptionalTopic(pub Option<TopicName>);

impl FromStr for OptionalTopic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(Some).map(Self) }
    }
}

/// Names of the pipeline's four topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineTopics {
    /// Raw topic: webhooks as they were received.
    pub raw: TopicName,
    /// Typed topic: mapped events.
    pub typed: TopicName,
    /// Dead-letter topic: dead letters and their resolutions.
    pub dead_letters: TopicName,
    /// Receipts topic; `None` if the sink writes no receipts.
    pub receipts: Option<TopicName>,
}

impl PipelineTopics {
    /// Iterates over the names, in the order of the pipeline.
    pub fn names(&self) -> impl Iterator<Item = &TopicName> {
        [&self.raw, &self.typed, &self.dead_letters].into_iter().chain(&self.receipts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_topic_names_are_valid_and_distinct() {
        let names: Vec<TopicName> = Topic::ALL.iter().map(|topic| topic.default_name().parse().unwrap()).collect();
        assert!(names.iter().enumerate().all(|(index, name)| !names[..index].contains(name)));
    }

    #[test]
    fn topic_names_that_kafka_refuses_are_invalid() {
        for wrong in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(wrong.parse::<TopicName>().is_err(), "{wrong}");
        }
        assert_eq!("a.B_1-c".parse::<TopicName>().unwrap().as_str(), "a.B_1-c");
        assert!("".parse::<OptionalTopic>().unwrap().0.is_none());
        assert!("a b".parse::<OptionalTopic>().is_err());
    }
}
