//! Plans the topics. An existing topic is never changed: each difference is reported with the command that changes it.

use kafka::topic_settings::{Difference as TopicDifference, differences};

use crate::key::Key;
use crate::observed::{ObservedKafka, ObservedTopic};
use crate::plan::planned::{Difference, Plan, Planned};
use crate::step::Step;
use crate::topics::TopicWish;

pub(super) fn topic_objects(wish: &TopicWish, found: &ObservedKafka, plan: &mut Plan) {
    plan.brokers = Some((found.brokers, wish.replication(found.brokers)));
    for spec in wish.specs(found.brokers) {
        let key = Key::Topic(spec.name.to_string());
        let Some(topic) = found.topics.get(spec.name.as_str()) else {
            plan.objects.push(Planned::create(key, spec.name.to_string(), Step::Topic(spec)));
            continue;
        };
        let mut object = Planned::keep(key, spec.name.as_str(), spec.name.as_str());
        match &topic.settings {
            Ok(settings) => {
                let differing: Vec<TopicDifference> = differences(&spec.settings, settings);
                for difference in &differing {
                    let text = difference.text(&spec.name);
                    let list = if difference.breaks_a_promise { &mut plan.problems } else { &mut plan.notes };
                    list.push(text);
                }
                object.differences = differing.iter().map(shown).collect();
            }
            // A principal that is allowed to create topics may not be allowed to read their settings.
            Err(reason) => {
                plan.notes.push(format!("{}: the settings could not be compared: {reason}", spec.name));
            }
        }
        plan.objects.push(object);
    }
    let too_few = too_few_partitions(wish, found);
    plan.problems.splice(0..0, too_few);
}

fn shown(difference: &TopicDifference) -> Difference {
    Difference::new(difference.setting, &difference.current, &difference.wanted)
}

/// Problems of topics that have fewer partitions than the raw topic. Each record is written to the partition with the
/// number that it has in the raw topic.
fn too_few_partitions(wish: &TopicWish, found: &ObservedKafka) -> Vec<String> {
    let default = usize::try_from(wish.partitions).unwrap_or(0);
    let partitions = |name: &str| found.topics.get(name).map_or(default, |topic: &ObservedTopic| topic.partitions);
    let raw = partitions(wish.topics.raw.as_str());
    let small =
        [&wish.topics.typed, &wish.topics.dead_letters].into_iter().filter(|topic| partitions(topic.as_str()) < raw);
    small
        .map(|topic| {
            let count = partitions(topic.as_str());
            format!(
                "{topic} has {count} partitions but {} has {raw}: each record keeps its partition number, so add partitions to {topic} until it has at least {raw}",
                wish.topics.raw
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::PipelineTopics;

    use super::*;
    use crate::plan::Change;

    fn wish() -> TopicWish {
        let topic = |name: &str| name.parse().unwrap();
        let (raw, typed, dead_letters) = (topic("raw"), topic("typed"), topic("dead"));
        let topics = PipelineTopics { raw, typed, dead_letters, receipts: None };
        TopicWish { topics, partitions: 12, replication: None, max_body: 10 * 1024 * 1024 }
    }

    /// The settings of a topic, or the reason why they could not be read.
    type Settings<'s> = Result<&'s [(&'s str, &'s str)], &'s str>;

    fn planned(topics: &[(&str, usize, Settings<'_>)]) -> Plan {
        let owned = |settings: &[(&str, &str)]| -> BTreeMap<String, String> {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let topics = topics.iter().map(|(name, partitions, settings)| {
            let settings = settings.map(owned).map_err(str::to_owned);
            ((*name).to_owned(), ObservedTopic { partitions: *partitions, settings })
        });
        let mut plan = Plan::default();
        topic_objects(&wish(), &ObservedKafka { brokers: 1, topics: topics.collect() }, &mut plan);
        plan
    }

    #[test]
    fn missing_topics_are_created_and_existing_topics_are_never_changed() {
        let weak: &[(&str, &str)] = &[("max.message.bytes", "1048588"), ("retention.ms", "1000")];
        let plan = planned(&[("raw", 12, Ok(weak))]);
        let changes: Vec<_> = plan.objects.iter().map(|object| (object.name.as_str(), object.change)).collect();
        assert_eq!(changes, [("raw", Change::Keep), ("typed", Change::Create), ("dead", Change::Create)]);
        assert_eq!(plan.objects[0].differences.len(), 2);
        assert_eq!(plan.problems.len(), 1, "{:?}", plan.problems);
        assert!(plan.problems[0].contains("raw: max.message.bytes is 1048588, wanted 10551296"), "{:?}", plan.problems);
        assert!(plan.notes[0].contains("retention.ms is 1000"), "{:?}", plan.notes);
        let request = plan.objects[1].requests().next().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("CreateTopics", "typed"));
    }

    #[test]
    fn too_few_partitions_are_a_problem_even_if_a_topic_is_still_to_be_created() {
        let problems = |topics: &[(&str, usize)]| {
            let topics: Vec<_> = topics.iter().map(|(name, count)| (*name, *count, Ok(&[][..]))).collect();
            planned(&topics).problems
        };
        let found = problems(&[("raw", 12), ("typed", 6), ("dead", 12)]);
        assert!(found.len() == 1 && found[0].contains("typed has 6 partitions but raw has 12"), "{found:?}");
        assert_eq!(problems(&[("raw", 24), ("dead", 24)]).len(), 1, "typed would get 12");
        assert!(problems(&[("raw", 12), ("typed", 24)]).is_empty());
    }

    #[test]
    fn unreadable_settings_are_a_note_and_not_a_problem() {
        let plan = planned(&[("raw", 12, Err("not authorized"))]);
        assert!(plan.problems.is_empty() && plan.notes[0].contains("not authorized"), "{:?}", plan.notes);
    }
}
