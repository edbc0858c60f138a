//! `dead-letters replay`: the record is written again to the topic it came from, and its dead letters are resolved, in
//! one transaction.

mod plan;
mod writing;

use clap::Args;
use kafka::dead_letter::Resolution;
use kafka::offsets::Offsets;
use kafka::{Connection, KafkaError};
use serde_json::json;

use self::plan::{ReplayContext, ReplayPlan, SinkDeadLetters, Target, Unsaid};
use self::writing::Writing;
use super::register::{self, FilterArgs};
use super::resolver::{Pace, ResolveArgs, Resolver};
use crate::topics::{PlaceArg, TopicArgs};
use crate::{CommandError, UsageError, Verdict, output};

/// Send dead letters through the pipeline again, after their cause has been fixed
///
/// Dead letters of the transformer go back to the raw topic with the original key, bytes and headers, and are mapped by
/// the transformer that runs now. Dead letters of the sink need --as-is or --remap. Each record is written in one
/// transaction with the resolutions of all its dead letters, so a replay that was interrupted, or is run twice, writes
/// nothing twice. Without --yes it only prints what it would do.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The dead letters, by their positions as `list` shows them; all unresolved ones that match the filters if left
    /// out
    #[arg(value_name = "PARTITION:OFFSET")]
    dead_letters: Vec<PlaceArg>,

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

/// The result of a replay.
#[derive(Debug, Default)]
struct Outcome {
    /// Dead letters that were resolved.
    replayed: u64,
    /// Dead letters that cannot be replayed, with the reason.
    refused: Vec<(PlaceArg, String)>,
}

pub(super) fn run(args: &ReplayArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.topics.connection()?;
    let mut plan = plan(args, &connection)?;
    let mut outcome = Outcome::default();
    if args.resolve.yes && plan.resolves() > 0 {
        let (topic, by, note) = (&args.topics.dead_letter_topic, &args.resolve.by, args.note.as_deref());
        let take = || Ok(Resolver::open(&connection, topic, Resolution::Replayed, by, note)?);
        let resolver;
        (resolver, plan) = ReplayPlan::with_right(take, || self::plan(args, &connection))?;
        outcome.refused.append(&mut plan.refused);
        let pace = Pace::new(args.resolve.rate);
        Writing::new(&connection, &args.topics, &resolver, pace, &plan, &mut outcome).run()?;
        output::progress_done();
    } else {
        outcome.refused.append(&mut plan.refused);
    }
    report(args, json, &plan, &outcome);
    Ok(if outcome.refused.is_empty() { Verdict::Good } else { Verdict::Problem })
}

/// The plan for the dead letters as they are now.
fn plan(args: &ReplayArgs, connection: &Connection) -> Result<ReplayPlan, CommandError> {
    let context = context(args, connection)?;
    let index = register::read(connection, &args.topics.dead_letter_topic)?;
    let (chosen, resolved) = register::choose(&index, &args.dead_letters, &args.filter)?;
    let sink_dead_letters = match (args.as_is, args.remap) {
        (true, _) => SinkDeadLetters::AsIs,
        (false, true) => SinkDeadLetters::Remap,
        (false, false) => SinkDeadLetters::Unsaid,
    };
    ReplayPlan::new(&index, (&chosen, resolved), sink_dead_letters, &context).map_err(|Unsaid(count)| {
        UsageError(format!(
            "{count} of the chosen dead letters are the sink's: add --as-is to send them to Platform as they are, or --remap to map their webhooks again (or choose others, for example with --stage transformer)"
        ))
        .into()
    })
}

fn context<'a>(args: &'a ReplayArgs, connection: &Connection) -> Result<ReplayContext<'a>, KafkaError> {
    let offsets = Offsets::new(connection)?;
    let raw = offsets.extents(&args.topics.raw_topic)?;
    Ok(ReplayContext {
        raw: &args.topics.raw_topic,
        typed: &args.topics.typed_topic,
        dead_letters: &args.topics.dead_letter_topic,
        raw_starts: raw.into_iter().map(|(partition, extent)| (partition, extent.start)).collect(),
        typed_partitions: offsets.extents(&args.topics.typed_topic)?.len(),
    })
}

fn report(args: &ReplayArgs, json: bool, plan: &ReplayPlan, outcome: &Outcome) {
    let to_raw = plan.count(|target| matches!(target, Target::ToRaw { .. }));
    let as_is = plan.count(|target| matches!(target, Target::ToTyped { .. }));
    let remap = plan.count(|target| matches!(target, Target::Remap { .. }));
    let only_resolved = plan.resolves() - plan.writes.len();
    if json {
        let refused: Vec<_> = outcome
            .refused
            .iter()
            .map(|(place, reason)| json!({"partition": place.partition, "offset": place.offset, "reason": reason}))
            .collect();
        output::json(&json!({
            "dryRun": !args.resolve.yes,
            "chosen": {"toRaw": to_raw, "asIs": as_is, "remap": remap, "onlyClosed": only_resolved},
            "replayed": outcome.replayed,
            "closedBefore": plan.resolved_before,
            "cannotBeReplayed": refused,
        }));
        return;
    }
    if args.resolve.yes {
        output::line(&format!(
            "{} dead letters replayed; {} of the chosen ones were resolved before",
            outcome.replayed, plan.resolved_before
        ));
    } else {
        output::line(&format!(
            "{} dead letters would be replayed: {to_raw} to {}, {as_is} as they are to {}, {remap} mapped again, {only_resolved} only resolved because another dead letter of the same record is replayed ({} of the chosen ones are resolved); add --yes to apply",
            plan.resolves(),
            args.topics.raw_topic,
            args.topics.typed_topic,
            plan.resolved_before
        ));
    }
    for (place, reason) in &outcome.refused {
        output::problem(&format!("{place} cannot be replayed: {reason}"));
    }
}
