//! The option `TRIAL`.

use clap::{ArgAction, Args};

/// The option of every service that refuses something outside a trial.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Operating")]
pub struct TrialArgs {
    /// Allow a published or short signing key on non-loopback addresses (gateway) and the simulator's inlet (sink);
    /// warns at every start
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
    /// Warning that is logged at every start of a trial.
    pub const WARNING: &str = "TRIAL=true: published and short signing keys and the simulator's inlet are accepted; set TRIAL=false before real events are sent";
}
