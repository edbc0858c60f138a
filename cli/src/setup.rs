//! `setup plan` and `setup apply` with `--only kafka`: the topics.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use kafka::topic::{Ensured, TopicSpec, Topics};
use kafka::topic_settings::{DEFAULT_MAX_MESSAGE_BYTES, Difference, RECORD_OVERHEAD, differences};
use kafka::{KafkaArgs, KafkaError, OptionalTopic, TopicName};
use serde_json::{Value, json};
use settings::ByteCount;

use crate::topics::reachable;
use crate::{CommandError, UsageError, Verdict, output};

/// Create what the three services need outside themselves
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what `apply` would create, and which settings of existing topics differ; nothing is changed
    Plan(ApplyArgs),
    /// Create what is missing. Existing topics are not changed; settings that differ from the required ones are
    /// reported
    Apply(ApplyArgs),
}

/// Parts of the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The topics
    Kafka,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    /// Which part; in this version only `kafka` can be set up
    #[arg(long, value_enum)]
    only: Part,

    #[command(flatten)]
    kafka: KafkaArgs,

    /// Topic for the raw webhooks
    #[arg(long, env = "RAW_TOPIC", default_value = "customerio.webhooks", value_name = "TOPIC")]
    raw_topic: TopicName,

    /// Topic for the typed records
    #[arg(long, env = "TYPED_TOPIC", default_value = "customerio.experience-events", value_name = "TOPIC")]
    typed_topic: TopicName,

    /// Topic for dead letters
    #[arg(long, env = "DEAD_LETTER_TOPIC", default_value = "customerio.dead-letters", value_name = "TOPIC")]
    dead_letter_topic: TopicName,

    /// Topic for receipts; empty for none
    #[arg(long, env = "RECEIPTS_TOPIC", default_value = "customerio.receipts", value_name = "TOPIC")]
    receipts_topic: OptionalTopic,

    /// Partitions of each topic that is created
    #[arg(long, default_value_t = 12, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,

    /// Replicas of each partition [default: 3 where there are three brokers, else 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=100))]
    replication: Option<i32>,

    /// The gateway's largest body; decides how large a raw record may be
    #[arg(long = "max-body", env = "GATEWAY_MAX_BODY", default_value = "10MiB", value_name = "SIZE")]
    max_body: ByteCount,
}

/// How long the brokers may take to respond.
const TIMEOUT: Duration = Duration::from_secs(30);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The topics as they should be: with the settings of the design, and enough retention for a long outage.
pub(crate) fn topic_specs(
    names: [&TopicName; 3],
    receipts: Option<&TopicName>,
    partitions: i32,
    replication: i32,
    max_body: usize,
) -> Vec<TopicSpec> {
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
        TopicSpec { name: name.clone(), partitions, replication: Some(replication), settings }
    };
    let [raw, typed, dead_letters] = names;
    let record = max_body + RECORD_OVERHEAD;
    // An event has at most 10,000 bytes of JSON.
    let typed = spec(typed, 7, DEFAULT_MAX_MESSAGE_BYTES);
    let topics = [spec(raw, 7, record), typed, spec(dead_letters, 30, record + RECORD_OVERHEAD)];
    // Some 100 bytes and the event id for each record of a request, which has at most 1,000,000 bytes.
    let receipts = receipts.map(|receipts| spec(receipts, 30, DEFAULT_MAX_MESSAGE_BYTES));
    topics.into_iter().chain(receipts).collect()
}

/// A topic as `setup` found or created it.
struct Found {
    name: TopicName,
    state: &'static str,
    partitions: usize,
    differences: Vec<Difference>,
    /// Why its settings could not be compared.
    unread: Option<String>,
}

pub(crate) async fn run(args: SetupArgs, json: bool) -> Result<Verdict, CommandError> {
    let (args, apply) = match args.action {
        Action::Plan(args) => (args, false),
        Action::Apply(args) => (args, true),
    };
    match args.only {
        Part::Kafka => kafka(args, apply, json).await,
    }
}

async fn kafka(args: ApplyArgs, apply: bool, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.kafka.connection("customerio-aep");
    let connection = connection.map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
    let topics = reachable(&connection)?;
    let brokers = tokio::task::block_in_place(|| topics.brokers(TIMEOUT))?;
    let replication = args.replication.unwrap_or(if brokers >= 3 { 3 } else { 1 });
    let receipts = args.receipts_topic.0.as_ref();
    let names = [&args.raw_topic, &args.typed_topic, &args.dead_letter_topic];
    let mut found = Vec::new();
    for spec in topic_specs(names, receipts, args.partitions, replication, args.max_body.0) {
        let topic = if apply { ensure(&topics, &spec).await? } else { look_up(&topics, &spec).await? };
        if !json {
            output::line(&format!("{:12} {} ({} partitions)", topic.state, topic.name, topic.partitions));
        }
        found.push(topic);
    }
    let problems = problems(&found);
    problems.iter().for_each(|problem| output::problem(problem));
    if json {
        let topics: Vec<_> = found.iter().map(as_json).collect();
        output::json(&json!({"brokers": brokers, "replication": replication, "topics": topics}));
    } else {
        let notes = found.iter().flat_map(|topic| topic.differences.iter().map(move |found| (&topic.name, found)));
        for (name, difference) in notes.filter(|(_, difference)| !difference.breaks_a_promise) {
            output::line(&format!("note: {}", difference.text(name)));
        }
        for topic in &found {
            if let Some(reason) = &topic.unread {
                output::line(&format!("note: {}: the settings could not be compared: {reason}", topic.name));
            }
        }
    }
    Ok(if problems.is_empty() { Verdict::Good } else { Verdict::Problem })
}

/// Creates the topic if it does not exist.
async fn ensure(topics: &Topics, spec: &TopicSpec) -> Result<Found, CommandError> {
    match topics.ensure(spec).await? {
        Ensured::Created => Ok(missing(spec, "created")),
        Ensured::Exists { partitions } => Ok(existing(topics, spec, partitions).await),
    }
}

/// Checks the topic and changes nothing.
async fn look_up(topics: &Topics, spec: &TopicSpec) -> Result<Found, CommandError> {
    match tokio::task::block_in_place(|| topics.partitions(&spec.name, TIMEOUT)) {
        Ok(partitions) => Ok(existing(topics, spec, partitions).await),
        Err(KafkaError::NoTopic(_)) => Ok(missing(spec, "would create")),
        Err(error) => Err(error.into()),
    }
}

fn missing(spec: &TopicSpec, state: &'static str) -> Found {
    let partitions = usize::try_from(spec.partitions).unwrap_or(0);
    Found { name: spec.name.clone(), state, partitions, differences: Vec::new(), unread: None }
}

async fn existing(topics: &Topics, spec: &TopicSpec, partitions: usize) -> Found {
    // A principal that may create topics may not be allowed to read their settings.
    let (differences, unread) = match topics.settings(&spec.name).await {
        Ok(settings) => (differences(&spec.settings, &settings), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Found { name: spec.name.clone(), state: "exists", partitions, differences, unread }
}

/// Returns what must be changed before the pipeline keeps its guarantees; the topics are in the order of
/// [`topic_specs`].
fn problems(found: &[Found]) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(raw) = found.first() else { return problems };
    for topic in found.iter().skip(1).take(2).filter(|topic| topic.partitions < raw.partitions) {
        problems.push(format!(
            "{} has {} partitions but {} has {}: each record keeps its partition number, so add partitions to {} until it has at least {}",
            topic.name, topic.partitions, raw.name, raw.partitions, topic.name, raw.partitions
        ));
    }
    for topic in found {
        let breaking = topic.differences.iter().filter(|difference| difference.breaks_a_promise);
        problems.extend(breaking.map(|difference| difference.text(&topic.name)));
    }
    problems
}

fn as_json(topic: &Found) -> Value {
    let differences: Vec<_> = topic.differences.iter().map(difference_as_json).collect();
    json!({
        "topic": topic.name.as_str(),
        "state": topic.state,
        "partitions": topic.partitions,
        "differences": differences,
        "settingsUnread": topic.unread,
    })
}

fn difference_as_json(difference: &Difference) -> Value {
    let Difference { setting, current, wanted, breaks_a_promise } = difference;
    json!({"setting": setting, "current": current, "wanted": wanted, "breaksAPromise": breaks_a_promise})
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn specs(replication: i32, max_body: usize) -> Vec<TopicSpec> {
        let names: [TopicName; 4] = ["raw", "typed", "dead", "receipts"].map(|name| name.parse().unwrap());
        let [raw, typed, dead_letters, receipts] = &names;
        topic_specs([raw, typed, dead_letters], Some(receipts), 12, replication, max_body)
    }

    fn setting<'s>(spec: &'s TopicSpec, name: &str) -> Option<&'s str> {
        spec.settings.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn each_topic_accepts_the_largest_record_that_is_written_to_it() {
        let limits = |max_body| {
            let limit = |spec: &TopicSpec| setting(spec, "max.message.bytes").unwrap().parse().unwrap();
            specs(1, max_body).iter().map(limit).collect::<Vec<usize>>()
        };
        let overhead = 64 * 1024;
        for max_body in [1, MIB, 10 * MIB, 64 * MIB] {
            let [raw, typed, dead_letters, receipts] = limits(max_body)[..] else { panic!("four topics") };
            assert_eq!((raw, dead_letters), (max_body + overhead, max_body + 2 * overhead));
            assert!(typed > 10_000 + overhead && receipts > 1_000_000);
        }
    }

    #[test]
    fn without_a_receipts_topic_there_are_three() {
        let topic = |name: &str| name.parse::<TopicName>().unwrap();
        let (raw, typed, dead_letters) = (topic("raw"), topic("typed"), topic("dead"));
        let specs = topic_specs([&raw, &typed, &dead_letters], None, 12, 1, MIB);
        assert_eq!(specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["raw", "typed", "dead"]);
    }

    #[test]
    fn new_topics_never_elect_a_replica_that_lacks_records() {
        for spec in specs(3, MIB) {
            assert_eq!(setting(&spec, "unclean.leader.election.enable"), Some("false"));
            assert_eq!(setting(&spec, "min.insync.replicas"), Some("2"));
        }
        assert_eq!(setting(&specs(1, MIB)[0], "min.insync.replicas"), None, "one replica could not be written");
    }

    #[test]
    fn differing_settings_and_missing_partitions_are_reported_with_their_topic() {
        let difference = |setting, breaks_a_promise| Difference {
            setting,
            current: "1048588".to_owned(),
            wanted: "10551296".to_owned(),
            breaks_a_promise,
        };
        let topic = |name: &str, partitions, differences| Found {
            name: name.parse().unwrap(),
            state: "exists",
            partitions,
            differences,
            unread: None,
        };
        let found = [
            topic("raw", 12, vec![difference("max.message.bytes", true), difference("retention.ms", false)]),
            topic("typed", 6, Vec::new()),
        ];
        let problems = problems(&found);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("typed has 6 partitions but raw has 12"), "{problems:?}");
        assert!(problems[1].contains("raw: max.message.bytes is 1048588, wanted 10551296"), "{problems:?}");
        assert_eq!(as_json(&found[0])["differences"][1]["setting"], "retention.ms");
    }
}
