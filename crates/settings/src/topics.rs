//! The options for the topic names, each declared once. A service includes the options of the topics that it uses; a
//! command for operators includes all of them ([`TopicOptions`]).

use clap::Args;
use contract::{OptionalTopic, PipelineTopics, Topic, TopicName};

/// `RAW_TOPIC`.
#[derive(Debug, Clone, Args)]
pub struct RawTopic {
    /// Topic of the raw webhooks
    #[arg(
        long = "raw-topic",
        id = "raw_topic",
        env = Topic::Raw.variable(),
        default_value = Topic::Raw.default_name(),
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub name: TopicName,
}

/// `TYPED_TOPIC`.
#[derive(Debug, Clone, Args)]
pub struct TypedTopic {
    /// Topic of the typed records; needs at least as many partitions as the raw topic
    #[arg(
        long = "typed-topic",
        id = "typed_topic",
        env = Topic::Typed.variable(),
        default_value = Topic::Typed.default_name(),
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub name: TopicName,
}

/// `DEAD_LETTER_TOPIC`.
#[derive(Debug, Clone, Args)]
pub struct DeadLetterTopic {
    /// Topic of the dead letters; needs at least as many partitions as the raw topic
    #[arg(
        long = "dead-letter-topic",
        id = "dead_letter_topic",
        env = Topic::DeadLetters.variable(),
        default_value = Topic::DeadLetters.default_name(),
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub name: TopicName,
}

/// `RECEIPTS_TOPIC`.
#[derive(Debug, Clone, Args)]
pub struct ReceiptsTopic {
    /// Topic of the receipts, the proof of what Platform accepted; empty for none
    #[arg(
        long = "receipts-topic",
        id = "receipts_topic",
        env = Topic::Receipts.variable(),
        default_value = Topic::Receipts.default_name(),
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    pub name: OptionalTopic,
}

/// All topics.
#[derive(Debug, Clone, Args)]
pub struct TopicOptions {
    /// Webhooks as they were received.
    #[command(flatten)]
    pub raw: RawTopic,

    /// Mapped events.
    #[command(flatten)]
    pub typed: TypedTopic,

    /// Dead letters and their resolutions.
    #[command(flatten)]
    pub dead_letters: DeadLetterTopic,

    /// Receipts.
    #[command(flatten)]
    pub receipts: ReceiptsTopic,
}

impl From<&TopicOptions> for PipelineTopics {
    fn from(options: &TopicOptions) -> Self {
        Self {
            raw: options.raw.name.clone(),
            typed: options.typed.name.clone(),
            dead_letters: options.dead_letters.name.clone(),
            receipts: options.receipts.name.0.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::command_line::{Required, parse};
    use crate::{EMPTY_MEANS_NONE, Variables};

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        topics: TopicOptions,
    }

    fn topics(arguments: &[&str]) -> TopicOptions {
        let arguments: Vec<_> = std::iter::once("t").chain(arguments.iter().copied()).map(Into::into).collect();
        let matches = parse(&Arguments::command(), &Variables::none(), &arguments, Required::Here).unwrap();
        Arguments::from_arg_matches(&matches).unwrap().topics
    }

    #[test]
    fn every_topic_has_a_flag_a_variable_and_a_default_name() {
        let options = Arguments::command();
        for topic in Topic::ALL {
            let option =
                options.get_arguments().find(|arg| arg.get_env().is_some_and(|name| *name == *topic.variable()));
            let flag = topic.variable().to_lowercase().replace('_', "-");
            assert_eq!(option.and_then(|option| option.get_long()), Some(flag.as_str()));
        }
        let found = topics(&["--typed-topic=events"]);
        assert_eq!((found.raw.name.as_str(), found.typed.name.as_str()), ("customerio.webhooks", "events"));
        assert_eq!(found.dead_letters.name.as_str(), "customerio.dead-letters");
        assert_eq!(found.receipts.name.0.unwrap().as_str(), "customerio.receipts");
    }

    #[test]
    fn pipeline_topics_have_the_names_that_the_options_set() {
        let options = topics(&["--raw-topic=a", "--typed-topic=b", "--dead-letter-topic=c", "--receipts-topic=d"]);
        let topics = PipelineTopics::from(&options);
        assert!(topics.names().map(TopicName::as_str).eq(["a", "b", "c", "d"]));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| name.parse().unwrap());
        assert_eq!(topics, PipelineTopics { raw: a, typed: b, dead_letters: c, receipts: Some(d) });
    }

    #[test]
    fn an_empty_topic_name_means_none_for_the_receipts_topic_only() {
        assert!(topics(&["--receipts-topic="]).receipts.name.0.is_none());
        assert_eq!(EMPTY_MEANS_NONE, [Topic::Receipts.variable()]);
    }
}
