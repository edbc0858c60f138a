//! The desired Kafka topics and their settings.

use contract::PipelineTopics;
use kafka::TopicName;
use kafka::topic::TopicSpec;
use kafka::topic_settings::{DEFAULT_MAX_MESSAGE_BYTES, RECORD_OVERHEAD};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Names and parameters of the wanted topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWish {
    /// Names of the topics.
    pub topics: PipelineTopics,
    /// Number of partitions of each new topic.
    pub partitions: i32,
    /// Number of replicas of each partition. `None` means 3 if there are at least three brokers, else 1.
    pub replication: Option<i32>,
    /// Maximum body size that the gateway accepts, in bytes.
    pub max_body: usize,
}

impl TopicWish {
    /// The names of the topics, in the order of [`TopicWish::specs`].
    pub fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.names()
    }

    /// The number of replicas for a cluster with this number of brokers.
    #[must_use]
    pub fn replication(&self, brokers: usize) -> i32 {
        self.replication.unwrap_or(if brokers >= 3 { 3 } else { 1 })
    }

    /// The topics with their settings: the retention covers a long outage, and the size limit covers the largest
    /// record.
    #[must_use]
    pub fn specs(&self, brokers: usize) -> Vec<TopicSpec> {
        let replication = self.replication(brokers);
        let spec = |name: &TopicName, days: i64, bytes: usize| {
            let mut settings = vec![
                ("retention.ms", (days * DAY_MS).to_string()),
                ("max.message.bytes", bytes.to_string()),
                ("cleanup.policy", "delete".to_owned()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ];
            if replication >= 3 {
                settings.push(("min.insync.replicas", "2".to_owned()));
            }
            TopicSpec { name: name.clone(), partitions: self.partitions, replication: Some(replication), settings }
        };
        let record = self.max_body + RECORD_OVERHEAD;
        let PipelineTopics { raw, typed, dead_letters, receipts } = &self.topics;
        let topics = [
            spec(raw, 7, record),
            // An event has at most 10,000 bytes of JSON.
            spec(typed, 7, DEFAULT_MAX_MESSAGE_BYTES),
            spec(dead_letters, 30, record + RECORD_OVERHEAD),
        ];
        // A receipts record describes one request, which has at most 1,000,000 bytes. For each event of the request,
        // the record contains the event id and about 100 more bytes.
        let receipts = receipts.as_ref().map(|receipts| spec(receipts, 30, DEFAULT_MAX_MESSAGE_BYTES));
        topics.into_iter().chain(receipts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn wish(replication: i32, max_body: usize) -> TopicWish {
        let [raw, typed, dead_letters, receipts] =
            ["raw", "typed", "dead", "receipts"].map(|name| name.parse::<TopicName>().unwrap());
        let topics = PipelineTopics { raw, typed, dead_letters, receipts: Some(receipts) };
        TopicWish { topics, partitions: 12, replication: Some(replication), max_body }
    }

    fn setting<'s>(spec: &'s TopicSpec, name: &str) -> Option<&'s str> {
        spec.settings.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn each_topic_accepts_the_largest_record_that_is_written_to_it() {
        let limits = |max_body| {
            let limit = |spec: &TopicSpec| setting(spec, "max.message.bytes").unwrap().parse().unwrap();
            wish(1, max_body).specs(1).iter().map(limit).collect::<Vec<usize>>()
        };
        let overhead = 64 * 1024;
        for max_body in [1, MIB, 10 * MIB, 64 * MIB] {
            let [raw, typed, dead_letters, receipts] = limits(max_body)[..] else { panic!("four topics") };
            assert_eq!((raw, dead_letters), (max_body + overhead, max_body + 2 * overhead));
            assert!(typed > 10_000 + overhead && receipts > 1_000_000);
        }
    }

    #[test]
    fn without_a_receipts_topic_there_are_three_topics() {
        let mut wish = wish(1, MIB);
        wish.topics.receipts = None;
        let names: Vec<_> = wish.specs(1).iter().map(|spec| spec.name.as_str().to_owned()).collect();
        assert_eq!(names, ["raw", "typed", "dead"]);
        assert!(wish.names().map(TopicName::as_str).eq(["raw", "typed", "dead"]));
    }

    #[test]
    fn new_topics_disable_unclean_leader_election_and_require_two_in_sync_replicas_of_three() {
        for spec in wish(3, MIB).specs(1) {
            assert_eq!(setting(&spec, "unclean.leader.election.enable"), Some("false"));
            assert_eq!(setting(&spec, "min.insync.replicas"), Some("2"));
        }
        assert_eq!(
            setting(&wish(1, MIB).specs(3)[0], "min.insync.replicas"),
            None,
            "a topic with one replica could never be written"
        );
        let unsaid = TopicWish { replication: None, ..wish(1, MIB) };
        assert_eq!([1, 2, 3, 5].map(|brokers| unsaid.replication(brokers)), [1, 1, 3, 3]);
    }
}
