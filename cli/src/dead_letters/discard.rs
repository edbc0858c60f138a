//! `dead-letters discard`.

use clap::Args;
use kafka::dead_letter::Resolution;
use serde_json::json;

use super::closing::{Closing, ClosingArgs, Pace, by_partition};
use super::list;
use super::register::{self, FilterArgs, Registered};
use crate::topics::{PlaceArg, TopicArgs};
use crate::{CommandError, Verdict, output};

/// Close dead letters without replaying them, with a note that says why
///
/// Nothing is deleted: the letters stay until the topic's retention ends, marked as discarded. Without --yes it only says
/// which letters would be discarded.
#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    /// The letters, as `list` shows their places; all that the filters take if left out
    #[arg(value_name = "PARTITION:OFFSET")]
    letters: Vec<PlaceArg>,

    /// Why they can be done without
    #[arg(long, value_name = "TEXT")]
    note: String,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    closing: ClosingArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &DiscardArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.topics.connection()?;
    let topic = &args.topics.dead_letter_topic;
    let (chosen, mut closed) = register::choose(register::read(&connection, topic)?, &args.letters, &args.filter)?;
    let total = chosen.len();
    let mut discarded = 0;
    if args.closing.yes {
        let mut pace = Pace::new(args.closing.rate);
        for letters in by_partition(chosen).values() {
            let Some(first) = letters.first() else { continue };
            let closing = Closing::open(
                &connection,
                topic,
                first.place,
                Resolution::Discarded,
                &args.closing.by,
                Some(&args.note),
            )?;
            let (open, done): (Vec<_>, Vec<_>) =
                letters.iter().partition::<Vec<&Registered>, _>(|letter| !closing.is_closed(letter.place));
            closed += done.len() as u64;
            for chunk in open.chunks(pace.chunk()) {
                closing.writer.write(chunk.iter().map(|letter| closing.record(letter.place, letter.key.as_deref())))?;
                discarded += chunk.len();
                output::progress(&format!("{discarded} of {total} dead letters discarded"));
                pace.wait(chunk.len());
            }
        }
        output::progress_done();
    } else if !json {
        let rows: Vec<Vec<String>> = chosen.iter().map(list::row).collect();
        output::table(&["PLACE", "AT", "STATE", "STAGE", "CODE", "SOURCE", "EVENT", "MESSAGE"], &rows)
            .iter()
            .for_each(|line| output::line(line));
    }
    if json {
        let found =
            json!({"dryRun": !args.closing.yes, "chosen": total, "discarded": discarded, "closedBefore": closed});
        output::json(&found);
    } else if args.closing.yes {
        output::line(&format!("{discarded} dead letters discarded; {closed} of the chosen ones were closed before"));
    } else {
        output::line(&format!(
            "{total} dead letters would be discarded ({closed} of the chosen ones are closed); say --yes to do it"
        ));
    }
    Ok(Verdict::Good)
}
