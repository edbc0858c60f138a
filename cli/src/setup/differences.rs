//! Settings of an existing topic that differ from what the pipeline needs.

use std::collections::BTreeMap;

use kafka::TopicName;
use serde_json::{Value, json};

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) setting: &'static str,
    pub(super) current: String,
    pub(super) wanted: String,
    /// A record could be lost or refused; otherwise the operator may have wanted it so.
    pub(super) breaks_a_promise: bool,
}

impl Difference {
    pub(super) fn text(&self, topic: &TopicName) -> String {
        let Self { setting, current, wanted, .. } = self;
        let why = match *setting {
            "max.message.bytes" => "; larger records are refused",
            "min.insync.replicas" => {
                "; a broker that fails can take acknowledged records with it (the topic needs at least 3 replicas before you change it)"
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

    pub(super) fn json(&self) -> Value {
        let Self { setting, current, wanted, breaks_a_promise } = self;
        json!({"setting": setting, "current": current, "wanted": wanted, "breaksAPromise": breaks_a_promise})
    }
}

/// The settings that do less than is wanted. A limit that is higher, or a retention that is longer, is not a difference; nor is a
/// setting that the broker does not report.
pub(super) fn differences(wanted: &[(&'static str, String)], current: &BTreeMap<String, String>) -> Vec<Difference> {
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
        // No limit.
        ("retention.ms", Ok(-1), _) => true,
        ("retention.ms" | "max.message.bytes" | "min.insync.replicas", Ok(current), Ok(wanted)) => current >= wanted,
        _ => current == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The settings that differ when one is set to `value` and all others are as wanted.
    fn with(setting: &str, value: &str) -> Vec<(&'static str, String, bool)> {
        let mut current: BTreeMap<String, String> =
            wanted().into_iter().map(|(setting, value)| (setting.to_owned(), value)).collect();
        current.insert(setting.to_owned(), value.to_owned());
        let found = differences(&wanted(), &current);
        found.into_iter().map(|found| (found.setting, found.current, found.breaks_a_promise)).collect()
    }

    #[test]
    fn a_setting_that_does_less_than_is_wanted_is_named_with_its_value() {
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
    fn a_setting_that_does_as_much_or_more_is_not_a_difference() {
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
    fn the_text_has_the_command_that_changes_the_setting() {
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
