//! The command line and environment of a service: one clap definition, checked as a whole, all problems reported at
//! once.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

use clap::{Args, Parser};
use settings::{DurationArg, Problems, Variables, command_line};

use crate::telemetry::{LogFormat, LogLevel};

/// The flags that every service has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operating")]
pub struct ServiceArgs {
    /// Address of the admin server: /livez, /readyz, /metrics
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,

    /// Log format
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Log level, or `target=level` pairs separated by commas
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,

    /// Maximum time for a clean stop before the process exits with code 1
    #[arg(long, env = "SHUTDOWN_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    pub shutdown_timeout: DurationArg,

    /// Check the configuration and exit: 0 if it is valid, 2 if not
    #[arg(long)]
    pub check_config: bool,

    /// Ask the running service whether it is ready (/readyz) and exit: 0 if it is, 1 if not
    #[arg(long, conflicts_with = "check_config")]
    pub health: bool,
}

/// The configuration of one service: how it is parsed, and its checked form.
pub trait ServiceConfig: Parser + fmt::Debug {
    /// Name of the service, as in logs and `build_info`.
    const SERVICE: &'static str;
    /// Default of `ADMIN_LISTEN`.
    const ADMIN_LISTEN: &'static str;
    /// Whether SIGHUP makes the service read files again; otherwise SIGHUP ends the process.
    const RELOADS: bool = false;
    /// The checked form, which cannot express invalid states.
    type Settings: Send + 'static;

    /// The flags every service has.
    fn service(&self) -> &ServiceArgs;

    /// Warnings for every start, about options that are only for trials.
    fn warnings(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Checks the whole configuration.
    ///
    /// # Errors
    /// All problems found, not only the first.
    fn validate(&self) -> Result<Self::Settings, Problems>;

    /// The definition of the command line, from which `--help` and docs/configuration.md are generated.
    fn definition() -> clap::Command {
        Self::command()
            .mut_arg("admin_listen", |arg| arg.default_value(Self::ADMIN_LISTEN).required(false))
            .args_override_self(true)
            .version(crate::VERSION)
            .after_help("Every option can be given by its flag or by its environment variable; the flag wins.")
    }

    /// Parses arguments as the binary does, with this service's defaults and the environment.
    ///
    /// # Errors
    /// clap's own error, which holds the text for the user.
    fn parse_arguments<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::parse_with(&Variables::of_process(), arguments)
    }

    /// The same with these variables.
    ///
    /// # Errors
    /// As [`ServiceConfig::parse_arguments`].
    fn parse_with<I, T>(variables: &Variables, arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let matches = command_line::parse_leniently(&Self::definition(), variables, &arguments)?;
        Self::from_arg_matches(&matches)
    }
}
