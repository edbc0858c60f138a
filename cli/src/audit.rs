//! `audit`: checks that every raw and every typed record of a range is where it should be, and reports each one that is
//! not.
//!
//! `gather` decides what to read, `reading` reads it, the `reconcile` crate classifies, and `tell` prints the result.

mod fact;
mod gather;
mod reading;
mod tell;

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use clap::Args;
use kafka::TopicName;
use kafka::topic::Topics;
use mapping_options::MappingArgs;
use settings::{ByteCount, DurationArg};
use tokio::task::block_in_place;

use crate::topics::{PlaceArg, TopicArgs};
use crate::when::parse_bound;
use crate::{CommandError, UsageError, Verdict};

/// Prove for a range of time that every event is accepted, a dead letter, or still in progress
///
/// Reads the four topics and the services' committed offsets, and writes nothing: it is safe while the pipeline runs.
/// Exit code 0 if everything is explained and nothing is late, 1 if not, and every record with a problem is listed; 3
/// if Kafka does not respond. The mapping options and variables are the transformer's. docs/operate.md explains the
/// columns.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// From this time on: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago [default: everything that is
    /// retained]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    until: Option<i64>,

    /// Only these raw offsets of one partition (without the last one), and their typed records: for example 3:1000-2000
    #[arg(long, value_name = "PARTITION:FROM-TO", conflicts_with_all = ["since", "until"])]
    offsets: Option<RawOffsets>,

    /// How many records to list at most; all are counted
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,

    /// Records written before this time were delivered while the receipts were off: their acceptance is inferred from
    /// the sink's committed offsets
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    receipts_since: Option<i64>,

    /// Records that have been ahead of their reader's committed offset for longer than this are late: they are listed,
    /// and the exit code is 1
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    late: DurationArg,

    /// How far back the transformer looks for duplicates
    #[arg(
        long,
        env = "TRANSFORMER_DEDUP_WINDOW",
        default_value = "2h",
        value_name = "DURATION",
        help_heading = "Services"
    )]
    dedup_window: DurationArg,

    /// How many ids per partition the transformer keeps for that
    #[arg(
        long,
        env = "TRANSFORMER_DEDUP_MAX_IDS",
        default_value_t = 200_000,
        value_name = "COUNT",
        help_heading = "Services"
    )]
    dedup_max_ids: u32,

    /// Maximum size of a body after decompression
    #[arg(long, env = "GATEWAY_MAX_BODY", default_value = "10MiB", value_name = "SIZE", help_heading = "Services")]
    max_body: ByteCount,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,

    #[command(flatten)]
    mapping: MappingArgs,
}

/// A range of one partition's raw offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RawOffsets {
    partition: i32,
    range: Range<i64>,
}

impl FromStr for RawOffsets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.parse::<PlaceArg>().ok()?, to.parse::<i64>().ok()?);
            (from.offset < to).then_some(Self { partition: from.partition, range: from.offset..to })
        });
        parsed.ok_or_else(|| "invalid range of offsets: expected PARTITION:FROM-TO, for example 3:1000-2000".to_owned())
    }
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

/// How long the topics retain the records that the audit needs, in milliseconds; `None` if that is not known.
#[derive(Debug, Clone, Copy)]
struct Retention {
    typed: Option<i64>,
    dead_letters: Option<i64>,
    receipts: Option<i64>,
}

/// How far the services have processed the topics, if the brokers do not keep that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    /// The transformer's offsets in the raw topic.
    pub(crate) transformer: BTreeMap<i32, i64>,
    /// The sink's offsets in the typed topic.
    pub(crate) sink: BTreeMap<i32, i64>,
}

pub(crate) async fn run(args: AuditArgs, json: bool) -> Result<Verdict, CommandError> {
    let found = find(&args, None).await?;
    Ok(tell::tell(&args, &found, json))
}

/// Returns the result of the audit in one line, and whether there is no problem. `positions` are the services' own
/// offsets, for brokers that do not keep them.
pub(crate) async fn summary(args: AuditArgs, positions: Option<Positions>) -> Result<(String, bool), CommandError> {
    let found = find(&args, positions).await?;
    Ok((tell::summary(&found), tell::is_good(&found)))
}

async fn find(args: &AuditArgs, positions: Option<Positions>) -> Result<gather::Found, CommandError> {
    let connection = args.topics.connection()?;
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since >= until
    {
        return Err(UsageError("--since must be before --until".to_owned()).into());
    }
    let sources =
        args.mapping.sources().map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
    let topics = Topics::new(&connection)?;
    // Brokers that do not keep the services' offsets do not keep topic settings either.
    let retention = if positions.is_some() {
        Retention { typed: None, dead_letters: None, receipts: None }
    } else {
        Retention {
            typed: retention(&topics, Some(&args.topics.typed_topic)).await,
            dead_letters: retention(&topics, Some(&args.topics.dead_letter_topic)).await,
            receipts: retention(&topics, args.topics.receipts_topic.0.as_ref()).await,
        }
    };
    block_in_place(|| {
        let audit = gather::Audit { args, connection: &connection, sources: &sources, retention, positions };
        audit.run()
    })
}

/// How long a topic retains its records at least. `None` if its size is limited, or if the brokers do not say.
async fn retention(topics: &Topics, topic: Option<&TopicName>) -> Option<i64> {
    let settings = topics.settings(topic?).await.ok()?;
    let number = |name: &str| settings.get(name)?.parse::<i64>().ok();
    (number("retention.bytes") == Some(-1)).then(|| number("retention.ms")).flatten().filter(|&millis| millis > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_offsets_has_a_partition_a_start_and_an_end() {
        assert_eq!("3:1000-2000".parse(), Ok(RawOffsets { partition: 3, range: 1000..2000 }));
        for wrong in ["3:1000", "1000-2000", "3:5-5", "3:5-x", ""] {
            assert!(wrong.parse::<RawOffsets>().is_err(), "{wrong}");
        }
    }
}
