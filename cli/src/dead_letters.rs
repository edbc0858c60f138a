//! `dead-letters`: lists, shows, replays and discards the dead letters in the dead-letter topic.

mod discard;
mod list;
mod options;
mod replay;
mod show;
mod text;

use clap::{Args, Subcommand};
use tokio::task::block_in_place;

use crate::{CommandError, Verdict};

/// List, show, replay or discard dead letters
///
/// A dead letter is unresolved until a resolution names it: a record in the same topic that `replay` and `discard` write.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Discard(discard::DiscardArgs),
}

pub(crate) fn run(args: DeadLettersArgs, json: bool) -> Result<Verdict, CommandError> {
    block_in_place(|| match args.action {
        Action::List(args) => list::run(&args, json),
        Action::Show(args) => show::run(&args, json),
        Action::Replay(args) => replay::run(&args, json),
        Action::Discard(args) => discard::run(&args, json),
    })
}
