//! `audit`: every raw and every typed record of a range is where it should be, or is named.
//!
//! `gather` reads the topics, the `accounting` crate classifies, `tell` says it.

mod gather;
mod tell;

use clap::Args;
use kafka::TopicName;
use kafka::topic::Topics;
use service::{ByteCount, DurationArg};
use tokio::task::block_in_place;
use transformer::MappingArgs;

use crate::topics::TopicArgs;
use crate::when::parse_bound;
use crate::{CommandError, Verdict, WrongUse};

/// Prove for a range of time that every event is accepted, a dead letter, or on its way
///
/// Reads the four topics and the services' committed offsets, and writes nothing: it is safe beside a running pipeline.
/// Exit code 0 if everything is explained, 1 if not; every record that is not is named. The mapping options and
/// variables are the transformer's. docs/operate.md explains the columns.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// From this time on: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago [default: all that is retained]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    until: Option<i64>,

    /// How many records are named at the most; all are counted
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,

    /// Records written before this time were delivered while the receipts were off: their acceptance is inferred from the
    /// sink's committed offsets
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    receipts_since: Option<i64>,

    /// How far back the transformer looks for duplicates
    #[arg(
        long,
        env = "TRANSFORMER_DEDUP_WINDOW",
        default_value = "2h",
        value_name = "DURATION",
        help_heading = "Services"
    )]
    dedup_window: DurationArg,

    /// The largest body once it is unpacked
    #[arg(long, env = "GATEWAY_MAX_BODY", default_value = "10MiB", value_name = "SIZE", help_heading = "Services")]
    max_body: ByteCount,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,

    #[command(flatten)]
    mapping: MappingArgs,
}

/// The services' consumer groups.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct GroupArgs {
    /// The transformer's consumer group
    #[arg(long, env = "TRANSFORMER_GROUP_ID", default_value = "customerio-transformer", value_name = "NAME")]
    pub(crate) transformer_group: String,

    /// The sink's consumer group
    #[arg(long, env = "SINK_GROUP_ID", default_value = "customerio-sink", value_name = "NAME")]
    pub(crate) sink_group: String,
}

/// How long the topics that prove something keep it, in milliseconds; `None` if that is not known.
#[derive(Debug, Clone, Copy)]
struct Retention {
    typed: Option<i64>,
    dead_letters: Option<i64>,
    receipts: Option<i64>,
}

pub(crate) async fn run(args: AuditArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.topics.connection()?;
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(WrongUse("--since must be before --until".to_owned()).into());
    }
    let sources =
        args.mapping.sources().map_err(|problems| WrongUse(format!("these options are wrong:\n{problems}")))?;
    let topics = Topics::new(&connection)?;
    let retention = Retention {
        typed: retention(&topics, Some(&args.topics.typed_topic)).await,
        dead_letters: retention(&topics, Some(&args.topics.dead_letter_topic)).await,
        receipts: retention(&topics, args.topics.receipts_topic.0.as_ref()).await,
    };
    block_in_place(|| {
        let audit = gather::Audit { args: &args, connection: &connection, sources: &sources, retention };
        let found = audit.run()?;
        Ok(tell::tell(&args, &found, json))
    })
}

/// How long a topic keeps its records at least. Not known if it is limited by size, or the brokers do not tell.
async fn retention(topics: &Topics, topic: Option<&TopicName>) -> Option<i64> {
    let settings = topics.settings(topic?).await.ok()?;
    let number = |name: &str| settings.get(name)?.parse::<i64>().ok();
    (number("retention.bytes") == Some(-1)).then(|| number("retention.ms")).flatten().filter(|&millis| millis > 0)
}
