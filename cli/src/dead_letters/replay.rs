//! `dead-letters replay`: sends dead letters through the pipeline again.

use clap::Args;
use contract::Position;
use operator::dead_letters::{Bounds, Replay, ReplayRequest, SinkDeadLetters, replay};
use serde_json::{Value, json};

use super::options::{FilterArgs, ResolveArgs};
use crate::pipeline::Reached;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Send dead letters through the pipeline again, after their cause has been fixed
///
/// Dead letters of the transformer go back to the raw topic with the original key, bytes and headers, and are mapped by
/// the transformer that runs now. Dead letters of the sink need --as-is or --remap. Each record is written in one
/// transaction with the resolutions of all its dead letters, so a replay that was interrupted, or is run twice, writes
/// nothing twice. Without --yes it only prints what it would do.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Positions of the dead letters, as `list` shows them [default: all unresolved dead letters that match the
    /// filters]
    #[arg(value_name = "PARTITION:OFFSET")]
    dead_letters: Vec<Position>,

    /// Send the dead letters of the sink to Platform as they are: after Platform's side has been fixed
    #[arg(long, conflicts_with = "remap")]
    as_is: bool,

    /// Map the webhooks of the sink's dead letters again: after the mapping has been fixed. Needs the raw records,
    /// which are kept for 7 days
    #[arg(long)]
    remap: bool,

    /// Why, for a later reader
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    resolve: ResolveArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &ReplayArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let request = ReplayRequest {
        filter: args.filter.filter(&args.dead_letters),
        sink_dead_letters: match (args.as_is, args.remap) {
            (true, _) => SinkDeadLetters::AsIs,
            (false, true) => SinkDeadLetters::Remap,
            (false, false) => SinkDeadLetters::Unspecified,
        },
        bounds: Bounds::default(),
        resolving: args.resolve.resolving(args.note.as_deref()),
    };
    let replay = replay(reached.pipeline(), &request)?;
    output::progress_done();
    if json {
        output::json(&as_json(&replay, !args.resolve.yes));
    } else if args.resolve.yes {
        output::line(&format!(
            "{} dead letters replayed; {} of the chosen ones were resolved before",
            replay.replayed, replay.resolved_before
        ));
    } else {
        let Replay { to_raw, as_is, remap, only_resolved, resolved_before, .. } = &replay;
        output::line(&format!(
            "{} dead letters would be replayed: {to_raw} to {}, {as_is} as they are to {}, {remap} mapped again, {only_resolved} only resolved because another dead letter of the same record is replayed ({resolved_before} of the chosen ones are resolved); add --yes to apply",
            replay.resolves(),
            reached.topics.raw,
            reached.topics.typed,
        ));
    }
    if !json {
        for (position, reason) in &replay.refused {
            output::problem(&format!("{position} cannot be replayed: {reason}"));
        }
    }
    Ok(if replay.refused.is_empty() { Verdict::Good } else { Verdict::Problem })
}

fn as_json(replay: &Replay, dry_run: bool) -> Value {
    let refused = |(position, reason): &(Position, String)| json!({"partition": position.partition.0, "offset": position.offset.0, "reason": reason});
    json!({
        "version": 1,
        "dryRun": dry_run,
        "chosen": {
            "toRaw": replay.to_raw,
            "asIs": replay.as_is,
            "remap": replay.remap,
            "onlyClosed": replay.only_resolved,
        },
        "replayed": replay.replayed,
        "closedBefore": replay.resolved_before,
        "cannotBeReplayed": replay.refused.iter().map(refused).collect::<Vec<_>>(),
    })
}
