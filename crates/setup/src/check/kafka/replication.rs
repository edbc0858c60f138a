//! Compares the replication of the topics with what production needs.

use std::collections::BTreeMap;

use kafka::TopicName;
use kafka::cluster::Replication;

use crate::check::Line;
use crate::observed::ObservedKafka;
use crate::topics::TopicWish;
use crate::who::Who;

const ID: &str = "replication";

/// The settings that every topic should have in production, as text for a next step.
const PRODUCTION: &str = "in production, every topic has the replication factor 3, min.insync.replicas=2 and unclean.leader.election.enable=false";

/// One line for each topic whose replication is a finding; one line about all topics if there is none. `topics` has the
/// replication of each existing topic, and `found` the number of brokers and the settings of the topics.
pub(super) fn lines(wish: &TopicWish, found: &ObservedKafka, topics: &[(&TopicName, Replication)]) -> Vec<Line> {
    let Some(fewest) = topics.iter().map(|(_, topic)| topic.replicas).min() else { return Vec::new() };
    let findings: Vec<Line> = topics.iter().filter_map(|(name, topic)| line(wish, found, name, *topic)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let text = match fewest {
        1 => "1 replica of each partition, as it can be with this number of brokers".to_owned(),
        fewest => format!("at least {fewest} replicas of each partition, and all of them are in sync"),
    };
    vec![Line::good(ID, "the replication of the topics", text)]
}

fn line(wish: &TopicWish, found: &ObservedKafka, name: &TopicName, topic: Replication) -> Option<Line> {
    let asked = format!("the replication of {name}");
    let brokers = found.brokers;
    let settings = found.topics.get(name.as_str()).and_then(|topic| topic.settings.as_ref().ok());
    let Replication { replicas, in_sync, .. } = topic;
    let too_few = || {
        let loss = match replicas {
            0 | 1 => "the loss of one broker loses acknowledged records",
            _ => "after the loss of one broker, either no record can be written or the next loss loses records",
        };
        format!("replication factor {replicas} on {brokers} brokers: {loss}")
    };
    let raise = || {
        format!(
            "raise it to 3 with kafka-reassign-partitions.sh, then run kafka-configs.sh --alter --topic {name} --add-config min.insync.replicas=2; {PRODUCTION}"
        )
    };
    let wanted = usize::try_from(wish.replication(brokers)).unwrap_or(1);
    if replicas < wanted {
        return Some(Line::bad(ID, asked, too_few(), Who::You, raise()));
    }
    if brokers >= 3 && replicas < 3 {
        // `wanted` is below 3 because a person has set --replication, so this is no problem.
        return Some(Line::note(ID, asked, format!("{}; {PRODUCTION}", too_few())));
    }
    let min_in_sync = min_in_sync(settings);
    if in_sync < min_in_sync {
        let text = format!(
            "{in_sync} of {replicas} replicas are in sync, and min.insync.replicas is {min_in_sync}: no record can be written"
        );
        return Some(Line::bad(ID, asked, text, Who::You, "start the brokers that hold the other replicas"));
    }
    if replicas > 1 && min_in_sync >= replicas {
        let text = format!(
            "min.insync.replicas is {min_in_sync} of {replicas} replicas: no record can be written while one broker restarts"
        );
        let step = format!(
            "run kafka-configs.sh --alter --topic {name} --add-config min.insync.replicas={}; {PRODUCTION}",
            replicas - 1
        );
        return Some(Line::bad(ID, asked, text, Who::You, step));
    }
    (in_sync < replicas).then(|| {
        Line::note(ID, asked, format!("{in_sync} of {replicas} replicas are in sync; a broker is down or restarts"))
    })
}

/// The topic's `min.insync.replicas`; Kafka's default if it is not known.
fn min_in_sync(settings: Option<&BTreeMap<String, String>>) -> usize {
    settings.and_then(|settings| settings.get("min.insync.replicas")?.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use contract::PipelineTopics;

    use super::*;
    use crate::check::Level;
    use crate::observed::ObservedTopic;

    fn found(
        brokers: usize,
        wanted: Option<i32>,
        (replicas, in_sync): (usize, usize),
        min_in_sync: &str,
    ) -> (Level, String, String) {
        let name = |name: &str| name.parse::<TopicName>().unwrap();
        let raw = name("raw");
        let topics =
            PipelineTopics { raw: raw.clone(), typed: name("typed"), dead_letters: name("dead"), receipts: None };
        let wish = TopicWish { topics, partitions: 12, replication: wanted, max_body: 1 };
        let settings = Ok(BTreeMap::from([("min.insync.replicas".to_owned(), min_in_sync.to_owned())]));
        let observed = ObservedTopic { partitions: 12, settings };
        let found = ObservedKafka { brokers, topics: BTreeMap::from([("raw".to_owned(), observed)]) };
        let line = lines(&wish, &found, &[(&raw, Replication { partitions: 12, replicas, in_sync })]).remove(0);
        (line.level, line.found, line.next.map_or(String::new(), |next| next.step))
    }

    #[test]
    fn fewer_than_three_replicas_on_three_brokers_are_a_finding_with_the_production_settings() {
        let (level, text, step) = found(3, None, (1, 1), "1");
        assert_eq!(level, Level::Bad);
        assert!(text.contains("replication factor 1 on 3 brokers") && text.contains("loses acknowledged"), "{text}");
        for part in ["kafka-reassign-partitions.sh", "--topic raw", "replication factor 3, min.insync.replicas=2"] {
            assert!(step.contains(part), "{part}: {step}");
        }
        assert_eq!(found(3, None, (2, 2), "1").0, Level::Bad);
        assert_eq!(found(3, Some(1), (1, 1), "1").0, Level::Note, "--replication asks for one replica");
    }

    #[test]
    fn a_replication_that_fits_the_cluster_is_good() {
        for (brokers, replicas, min_in_sync) in [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (5, 3, "2")] {
            assert_eq!(found(brokers, None, (replicas, replicas), min_in_sync).0, Level::Good, "{brokers}");
        }
    }

    #[test]
    fn replicas_out_of_sync_and_a_min_insync_replicas_of_all_replicas_are_reported() {
        let (level, text, _) = found(3, None, (3, 1), "2");
        assert!(level == Level::Bad && text.contains("1 of 3 replicas are in sync"), "{text}");
        assert_eq!(found(3, None, (3, 2), "2").0, Level::Note);
        let (level, text, step) = found(3, None, (3, 3), "3");
        assert!(level == Level::Bad && text.contains("while one broker restarts"), "{text}");
        assert!(step.contains("min.insync.replicas=2"), "{step}");
    }
}
