//! `completions`: prints a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use crate::{CommandError, Verdict};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<Verdict, CommandError> {
    clap_complete::generate(args.shell, command, "customerio-aep", &mut std::io::stdout());
    Ok(Verdict::Good)
}
