//! `setup apply --only kafka`: the topics. The other things that live outside the services follow.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use kafka::topic::{Ensured, TopicSpec, Topics};
use kafka::{KafkaArgs, TopicName};
use serde_json::json;
use service::ByteCount;

use crate::{CommandError, Verdict, output};

/// Make what lives outside the three services
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make what is missing; what exists is left as it is
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

    /// Topic for receipts
    #[arg(long, env = "RECEIPTS_TOPIC", default_value = "customerio.receipts", value_name = "TOPIC")]
    receipts_topic: TopicName,

    /// Partitions of each topic that is made
    #[arg(long, default_value_t = 12, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,

    /// Replicas of each partition [default: 3 where there are three brokers, else 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=100))]
    replication: Option<i32>,

    /// The gateway's largest body; decides how large a raw record may be
    #[arg(long = "max-body", env = "GATEWAY_MAX_BODY", default_value = "10MiB", value_name = "SIZE")]
    max_body: ByteCount,
}

/// Key and headers of a record.
const RECORD_OVERHEAD: usize = 64 * 1024;

/// How long the brokers have to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The topics as they should be: settings are those of the design, retention long enough for a bad week.
pub(crate) fn topic_specs(
    names: [&TopicName; 4],
    partitions: i32,
    replication: i32,
    max_body: usize,
) -> Vec<TopicSpec> {
    let spec = |name: &TopicName, days: i64, bytes: usize| {
        let mut settings = vec![
            ("retention.ms", (days * DAY_MS).to_string()),
            ("max.message.bytes", bytes.to_string()),
            ("cleanup.policy", "delete".to_owned()),
        ];
        if replication >= 3 {
            settings.push(("min.insync.replicas", "2".to_owned()));
        }
        TopicSpec { name: name.clone(), partitions, replication: Some(replication), settings }
    };
    let [raw, typed, dead_letters, receipts] = names;
    let record = max_body + RECORD_OVERHEAD;
    vec![
        spec(raw, 7, record),
        spec(typed, 7, 1_048_588),
        spec(dead_letters, 30, record + RECORD_OVERHEAD),
        spec(receipts, 30, 1_048_588),
    ]
}

pub(crate) async fn run(args: SetupArgs, json: bool) -> Result<Verdict, CommandError> {
    let Action::Apply(args) = args.action;
    match args.only {
        Part::Kafka => apply_kafka(args, json).await,
    }
}

async fn apply_kafka(args: ApplyArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.kafka.connection("customerio-aep").map_err(|problems| format!("wrong use:\n{problems}"))?;
    let topics = Topics::new(&connection)?;
    let brokers = tokio::task::block_in_place(|| topics.brokers(TIMEOUT))?;
    let replication = args.replication.unwrap_or(if brokers >= 3 { 3 } else { 1 });
    let names = [&args.raw_topic, &args.typed_topic, &args.dead_letter_topic, &args.receipts_topic];
    let mut found = Vec::new();
    for spec in topic_specs(names, args.partitions, replication, args.max_body.0) {
        let ensured = topics.ensure(&spec).await?;
        let (state, partitions) = match ensured {
            Ensured::Created => ("created", usize::try_from(spec.partitions).unwrap_or(0)),
            Ensured::Exists { partitions } => ("exists", partitions),
        };
        if !json {
            output::line(&format!("{state:8} {} ({partitions} partitions)", spec.name));
        }
        found.push((spec.name, state, partitions));
    }
    let raw_partitions = found.first().map_or(0, |(_, _, partitions)| *partitions);
    let short: Vec<_> =
        found.iter().skip(1).take(2).filter(|(_, _, partitions)| *partitions < raw_partitions).collect();
    for (name, _, partitions) in &short {
        output::problem(&format!(
            "{name} has {partitions} partitions but {} has {raw_partitions}: each record keeps its partition number, so grow {name} to at least {raw_partitions}",
            args.raw_topic
        ));
    }
    if json {
        let topics: Vec<_> = found
            .iter()
            .map(|(name, state, partitions)| json!({"topic": name.as_str(), "state": state, "partitions": partitions}))
            .collect();
        output::json(&json!({"brokers": brokers, "replication": replication, "topics": topics}));
    }
    Ok(if short.is_empty() { Verdict::Good } else { Verdict::Problem })
}
