//! `dead-letters list`.

use clap::Args;
use operator::dead_letters::list;
use serde_json::Value;

use super::options::FilterArgs;
use super::text;
use crate::pipeline::Reached;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// List the unresolved dead letters
///
/// It shows codes, messages and ids; `show` is the one command that shows the value of a dead letter.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Include resolved ones
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &ListArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let (mut dead_letters, total) = list(reached.pipeline(), &args.filter.filter(&[]))?;
    output::progress_done();
    dead_letters.retain(|dead_letter| args.all || dead_letter.resolution.is_none());
    if json {
        output::json(&dead_letters.iter().map(text::json).collect::<Vec<Value>>());
    } else {
        text::table(&dead_letters).iter().for_each(|line| output::line(line));
        output::line(&format!("{} of {total} dead letters", dead_letters.len()));
    }
    Ok(Verdict::Good)
}
