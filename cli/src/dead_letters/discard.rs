//! `dead-letters discard`.

use std::collections::BTreeMap;

use clap::Args;
use kafka::dead_letter::Resolution;
use serde_json::json;

use super::list;
use super::register::{self, FilterArgs};
use super::resolver::{Pace, Resolve, ResolveArgs, Resolver};
use crate::topics::{PlaceArg, TopicArgs};
use crate::{CommandError, Verdict, output};

/// Resolve dead letters without replaying them, with a note that says why
///
/// Nothing is deleted: the dead letters stay until the topic's retention ends, marked as discarded. Without --yes it
/// only prints which would be discarded.
#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// The dead letters, by their positions as `list` shows them; all unresolved ones that match the filters if left
    /// out
    #[arg(value_name = "PARTITION:OFFSET")]
    dead_letters: Vec<PlaceArg>,

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
    let connection = args.topics.connection()?;
    let topic = &args.topics.dead_letter_topic;
    let index = register::read(&connection, topic)?;
    let (mut chosen, mut resolved) = register::choose(&index, &args.dead_letters, &args.filter)?;
    let (current, mut discarded) = (&mut BTreeMap::new(), 0);
    if args.resolve.yes && !chosen.is_empty() {
        let (by, note) = (&args.resolve.by, Some(args.note.as_str()));
        let resolver = Resolver::open(&connection, topic, Resolution::Discarded, by, note)?;
        // Others may have resolved some of them before this command got the right to.
        *current = register::read(&connection, topic)?;
        (chosen, resolved) = register::choose(current, &args.dead_letters, &args.filter)?;
        let mut pace = Pace::new(args.resolve.rate);
        let resolves: Vec<Resolve> = chosen.iter().map(|dead_letter| Resolve::of(dead_letter)).collect();
        for chunk in resolves.chunks(pace.chunk()) {
            resolver.writer.write(chunk.iter().map(|resolve| resolver.record(resolve)))?;
            discarded += chunk.len();
            output::progress(&format!("{discarded} of {} dead letters discarded", chosen.len()));
            pace.wait(chunk.len());
        }
        output::progress_done();
    } else if !args.resolve.yes && !json {
        let rows: Vec<Vec<String>> = chosen.iter().map(|dead_letter| list::row(dead_letter)).collect();
        output::table(&["PLACE", "AT", "STATE", "STAGE", "CODE", "SOURCE", "EVENT", "MESSAGE"], &rows)
            .iter()
            .for_each(|line| output::line(line));
    }
    let total = chosen.len();
    if json {
        let found =
            json!({"dryRun": !args.resolve.yes, "chosen": total, "discarded": discarded, "closedBefore": resolved});
        output::json(&found);
    } else if args.resolve.yes {
        output::line(&format!(
            "{discarded} dead letters discarded; {resolved} of the chosen ones were resolved before"
        ));
    } else {
        output::line(&format!(
            "{total} dead letters would be discarded ({resolved} of the chosen ones are resolved); add --yes to apply"
        ));
    }
    Ok(Verdict::Good)
}
