//! The options of `setup apply`.

use std::path::PathBuf;

use clap::Args;
use settings::DurationArg;

use crate::setup::PermitArgs;
use crate::setup::options::ConnectArgs;
use crate::setup::sinks::SinksHeldArgs;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A plan that `setup plan --out` has written; it is carried out only if the state is still the same
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,

    #[command(flatten)]
    pub(super) permit: PermitArgs,

    /// Ask nothing. A production sandbox also needs --confirm-sandbox
    #[arg(long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) sinks: SinksHeldArgs,

    /// Wait until the gateway responds at the public URL, Platform loses no more events, and a missing role is active,
    /// instead of ending with exit code 4. A missing signing key still ends the command
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    pub(super) wait: Option<DurationArg>,

    /// Write the services' variables into this `.env` file; other entries stay as they are
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(super) write_env: Option<PathBuf>,

    /// Print the services' variables on standard output, and everything else on standard error
    #[arg(long, conflicts_with = "secret_yaml", help_heading = "Result")]
    pub(super) print_env: bool,

    /// Print two Kubernetes secrets with the names and keys of the chart on standard output, and everything else on
    /// standard error; they hold the secrets as they are
    #[arg(long, help_heading = "Result")]
    pub(super) secret_yaml: bool,

    /// Folder for the secrets that the services read. Stages may share it: the file of another stage is not changed
    #[arg(long, default_value = "secrets", value_name = "PATH", help_heading = "Result")]
    pub(super) secrets_dir: PathBuf,
}
