//! Compares the settings of a topic with what the pipeline needs, and reports differences when a service starts.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::TopicName;
use contract::remedy::COMPARE_SETTINGS;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table;
use crate::topic::Topics;

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(5);

/// Kafka's own default of `max.message.bytes`. Producers fill batches nearly up to it.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// Maximum bytes that key, headers and framing add to a record's value.
pub const RECORD_OVERHEAD: usize = 64 * 1024;

/// A setting that is weaker than needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Kafka's name of the setting.
    pub setting: &'static str,
    /// Value on the broker.
    pub current: String,
    /// Required value.
    pub wanted: String,
    /// Whether a record could be lost or refused; otherwise, the difference may be intended.
    pub breaks_a_promise: bool,
}

impl Difference {
    /// Describes the difference in `topic`, its consequence, and the command that changes the setting.
    #[must_use]
    pub fn text(&self, topic: &TopicName) -> String {
        let Self { setting, current, wanted, .. } = self;
        let why = match *setting {
            "max.message.bytes" => "; larger records are refused",
            "min.insync.replicas" => {
                "; acknowledged records can be lost with one broker (the topic needs at least 3 replicas before you change it)"
            }
            "unclean.leader.election.enable" => "; a replica that lacks acknowledged records can become leader",
            "cleanup.policy" => "; compaction deletes records that have a later one with the same key",
            "retention.ms" | "retention.bytes" => "; records expire earlier",
            _ => "",
        };
        format!(
            "{topic}: {setting} is {current}, wanted {wanted}{why}. Change it with: kafka-configs.sh --alter --topic {topic} --add-config {setting}={wanted}"
        )
    }
}

/// Returns the settings that are weaker than wanted. A higher limit or a longer retention is not a difference, and
/// neither is a setting that the broker does not report.
#[must_use]
pub fn differences(wanted: &[(&'static str, String)], current: &BTreeMap<String, String>) -> Vec<Difference> {
    let differing = wanted.iter().filter_map(|(setting, wanted)| {
        let found = current.get(*setting).filter(|found| !suffices(setting, found, wanted))?;
        Some(Difference {
            setting,
            current: found.clone(),
            wanted: wanted.clone(),
            breaks_a_promise: *setting != "retention.ms",
        })
    });
    differing.collect()
}

fn suffices(setting: &str, current: &str, wanted: &str) -> bool {
    match (setting, current.parse::<i64>(), wanted.parse::<i64>()) {
        // A value of -1 means that records do not expire.
        ("retention.ms", Ok(-1), _) => true,
        ("retention.ms" | "max.message.bytes" | "min.insync.replicas", Ok(current), Ok(wanted)) => current >= wanted,
        _ => current == wanted,
    }
}

/// The record size that a topic must allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// The topic's `max.message.bytes` must be at least this.
    Bytes(usize),
    /// The topic's `max.message.bytes` must be at least that of `topic` plus `bytes`, so that it accepts the records of
    /// `topic` with additional headers.
    Beyond {
        /// Topic from which the records come.
        topic: TopicName,
        /// Size of the additional headers in bytes.
        bytes: usize,
    },
}

/// Requirements of a service for one of its topics.
#[derive(Debug, Clone)]
pub struct Need {
    /// Name of the topic.
    pub topic: TopicName,
    /// Record size that the topic must allow; `None` if the service only reads the topic.
    pub room: Option<Room>,
}

/// Compares the settings of a service's topics with its requirements, and logs a warning for each weaker setting. The
/// service starts nevertheless: it keeps every record, truncated if the topic refuses the whole record.
pub async fn warn_of_differences(connection: Connection, needs: Vec<Need>) {
    for need in &needs {
        match found(&connection, need).await {
            Ok(found) => {
                for difference in found {
                    let Difference { setting, current, wanted, .. } = &difference;
                    tracing::warn!(topic = %need.topic, setting, current, wanted, "a topic is set to less than this service needs: {}", difference.text(&need.topic));
                }
            }
            // The service itself reports an outage. The demo's embedded broker does not respond to this request at all.
            Err(error) if is_unanswered(&error) => tracing::debug!(topic = %need.topic, %error, "comparing settings"),
            Err(error) => tracing::warn!(
                topic = %need.topic, %error,
                "a topic's settings could not be compared with what this service needs; allow the operation DescribeConfigs on the topic, or {COMPARE_SETTINGS}"
            ),
        }
    }
}

fn is_unanswered(error: &KafkaError) -> bool {
    let KafkaError::Operation { source, .. } = error else { return false };
    let code = match source {
        rdkafka::error::KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    code.is_some_and(error_table::is_unanswered)
}

async fn found(connection: &Connection, need: &Need) -> Result<Vec<Difference>, KafkaError> {
    let topics = Topics::new(connection)?;
    let settings = topics.settings(&need.topic).await?;
    let room = match &need.room {
        None => None,
        Some(Room::Bytes(bytes)) => Some(*bytes),
        Some(Room::Beyond { topic, bytes }) => {
            let limit = topics.settings(topic).await?.get("max.message.bytes").and_then(|limit| limit.parse().ok());
            limit.map(|limit: usize| limit.saturating_add(*bytes))
        }
    };
    let name = need.topic.clone();
    let replicas = tokio::task::spawn_blocking(move || topics.replicas(&name, CALL))
        .await
        .map_err(|error| KafkaError::GivenUp(error.to_string()))??;
    Ok(differences(&needed(room, replicas), &settings))
}

/// Returns the settings that a topic with this number of replicas needs; `room` is the size of the largest record in
/// bytes.
fn needed(room: Option<usize>, replicas: usize) -> Vec<(&'static str, String)> {
    let mut needed = vec![("unclean.leader.election.enable", "false".to_owned())];
    needed.extend(room.map(|bytes| ("max.message.bytes", bytes.to_string())));
    // With fewer replicas, the restart of a broker would stop all writes.
    if replicas >= 3 {
        needed.push(("min.insync.replicas", "2".to_owned()));
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_required_settings_depend_on_the_replicas_and_the_largest_record() {
        let settings = |needed: Vec<(&'static str, String)>| {
            needed.into_iter().map(|(setting, value)| format!("{setting}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(settings(needed(None, 1)), "unclean.leader.election.enable=false");
        assert_eq!(
            settings(needed(Some(7), 3)),
            "unclean.leader.election.enable=false max.message.bytes=7 min.insync.replicas=2"
        );
    }

    fn wanted() -> Vec<(&'static str, String)> {
        [
            ("retention.ms", "604800000"),
            ("max.message.bytes", "10551296"),
            ("cleanup.policy", "delete"),
            ("unclean.leader.election.enable", "false"),
            ("min.insync.replicas", "2"),
        ]
        .map(|(setting, value)| (setting, value.to_owned()))
        .into()
    }

    /// Returns the differences if one setting has this value and all others are as wanted.
    fn with(setting: &str, value: &str) -> Vec<(&'static str, String, bool)> {
        let mut current: BTreeMap<String, String> =
            wanted().into_iter().map(|(setting, value)| (setting.to_owned(), value)).collect();
        current.insert(setting.to_owned(), value.to_owned());
        let found = differences(&wanted(), &current);
        found.into_iter().map(|found| (found.setting, found.current, found.breaks_a_promise)).collect()
    }

    #[test]
    fn a_weaker_setting_is_reported_with_its_value() {
        for (setting, value, breaks_a_promise) in [
            ("max.message.bytes", "1048588", true),
            ("min.insync.replicas", "1", true),
            ("unclean.leader.election.enable", "true", true),
            ("cleanup.policy", "compact", true),
            ("cleanup.policy", "compact,delete", true),
            ("retention.ms", "3600000", false),
        ] {
            assert_eq!(with(setting, value), [(setting, value.to_owned(), breaks_a_promise)]);
        }
    }

    #[test]
    fn an_equal_or_stronger_setting_is_not_a_difference() {
        for (setting, value) in [
            ("max.message.bytes", "10551296"),
            ("max.message.bytes", "104857600"),
            ("min.insync.replicas", "3"),
            ("retention.ms", "-1"),
            ("retention.ms", "2592000000"),
            ("segment.bytes", "1"),
        ] {
            assert_eq!(with(setting, value), [], "{setting}={value}");
        }
        assert_eq!(differences(&wanted(), &BTreeMap::new()), []);
    }

    #[test]
    fn the_message_contains_the_command_that_changes_the_setting() {
        let difference = Difference {
            setting: "max.message.bytes",
            current: "1048588".to_owned(),
            wanted: "10551296".to_owned(),
            breaks_a_promise: true,
        };
        let text = difference.text(&"raw".parse().unwrap());
        assert!(text.starts_with("raw: max.message.bytes is 1048588, wanted 10551296;"), "{text}");
        assert!(text.ends_with("--topic raw --add-config max.message.bytes=10551296"), "{text}");
    }
}
