//! What only a trial may have.

use clap::{ArgAction, Args};

/// The option that every service has which refuses something outside of a trial.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Operating")]
pub struct TrialArgs {
    /// Allow what only a trial may have: a published or short signing key on other than loopback addresses (gateway), and the
    /// inlet of the simulator (sink). It is warned of at every start
    #[arg(
        long,
        env = "TRIAL",
        action = ArgAction::Set,
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub trial: bool,
}

impl TrialArgs {
    /// What is said at every start of a trial.
    pub const WARNING: &str = "TRIAL=true: published and short signing keys and the simulator's inlet are accepted; set TRIAL=false before real events are sent";
}
