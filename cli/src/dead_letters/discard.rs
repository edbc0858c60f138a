//! `dead-letters discard`: resolves dead letters without replaying them.

use clap::Args;
use contract::Position;
use operator::dead_letters::{Discarded, discard};
use serde_json::json;

use super::options::{FilterArgs, ResolveArgs};
use super::text;
use crate::pipeline::Reached;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Resolve dead letters without replaying them, with a note that says why
///
/// Nothing is deleted: the dead letters stay until the topic's retention ends, marked as discarded. Without --yes it
/// only prints which would be discarded.
#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// Positions of the dead letters, as `list` shows them [default: all unresolved dead letters that match the
    /// filters]
    #[arg(value_name = "PARTITION:OFFSET")]
    dead_letters: Vec<Position>,

    /// Why they are not needed
    #[arg(long, value_name = "TEXT")]
    note: String,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    resolve: ResolveArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &DiscardArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let filter = args.filter.filter(&args.dead_letters);
    let resolving = args.resolve.resolving(Some(&args.note));
    let Discarded { chosen, resolved_before, discarded } = discard(reached.pipeline(), &filter, resolving.as_ref())?;
    output::progress_done();
    let total = chosen.len();
    if json {
        let dry_run = !args.resolve.yes;
        output::json(&json!({
            "version": 1,
            "dryRun": dry_run,
            "chosen": total,
            "discarded": discarded,
            "closedBefore": resolved_before,
        }));
    } else if args.resolve.yes {
        output::line(&format!(
            "{discarded} dead letters discarded; {resolved_before} of the chosen ones were resolved before"
        ));
    } else {
        text::table(&chosen, output::terminal_width()).iter().for_each(|line| output::styled(line));
        output::line(&format!(
            "{total} dead letters would be discarded ({resolved_before} of the chosen ones are resolved); add --yes to apply"
        ));
    }
    Ok(Verdict::Good)
}
