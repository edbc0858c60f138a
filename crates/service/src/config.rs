//! The configuration of a service, from its command line and environment: one clap definition, validated as a whole, so
//! that all problems are reported at once.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

use clap::{Args, Parser};
use settings::command_line::{self, Required};
use settings::{DurationArg, Problems, Variables};

use crate::telemetry::{LogFormat, LogLevel};

/// The flags that every service has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operating")]
pub struct ServiceArgs {
    /// Address of the admin server: /livez, /readyz, /metrics; for the sink also POST /hold and /release
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

/// The options of one service, and their validated form.
pub trait ServiceConfig: Parser + fmt::Debug {
    /// Name of the service in logs and in `build_info`.
    const SERVICE: &'static str;
    /// Default of `ADMIN_LISTEN`.
    const ADMIN_LISTEN: &'static str;
    /// Whether SIGHUP makes the service read files again; otherwise SIGHUP ends the process.
    const RELOADS: bool = false;
    /// The validated configuration, which cannot express invalid states.
    type Settings: Send + 'static;

    /// Returns the options that every service has.
    fn service(&self) -> &ServiceArgs;

    /// Returns warnings about options that are only for trials or whose names are old. They are logged at every start.
    fn warnings(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Validates the whole configuration.
    ///
    /// # Errors
    /// All problems found, not only the first.
    fn validate(&self) -> Result<Self::Settings, Problems>;

    /// Returns the definition of the command line, from which `--help` and docs/configuration.md are generated.
    fn definition() -> clap::Command {
        Self::command()
            .mut_arg("admin_listen", |arg| arg.default_value(Self::ADMIN_LISTEN).required(false))
            .args_override_self(true)
            .version(crate::VERSION)
            .after_help("Every option can be given by its flag or by its environment variable; the flag wins.")
    }

    /// Parses `arguments`, with `variables` as the environment and with the defaults of this service.
    /// [`ServiceConfig::validate`] reports missing options.
    ///
    /// # Errors
    /// clap's error with the text for the user.
    fn parse_with<I, T>(variables: &Variables, arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let matches = command_line::parse(&Self::definition(), variables, &arguments, Required::Later)?;
        Self::from_arg_matches(&matches)
    }

    /// Parses and validates the configuration as the binary does.
    ///
    /// # Errors
    /// [`Unusable::Configuration`] with all problems: values that cannot be parsed, and everything that
    /// [`ServiceConfig::validate`] finds in the other options.
    fn load<I, T>(variables: &Variables, arguments: I) -> Result<(Self, Self::Settings), Unusable>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        match command_line::parse(&Self::definition(), variables, &arguments, Required::Later) {
            Ok(matches) => {
                let config = Self::from_arg_matches(&matches).map_err(Unusable::CommandLine)?;
                let settings = config.validate().map_err(Unusable::Configuration)?;
                Ok((config, settings))
            }
            Err(refused) => {
                let Some(invalid) = refused.invalid else { return Err(Unusable::CommandLine(refused.error)) };
                let problems = invalid.with_others(|config: &Self| config.validate().err().unwrap_or_default());
                Err(Unusable::Configuration(problems))
            }
        }
    }
}

/// Error for a command line or configuration with which a service cannot run.
#[derive(Debug)]
pub enum Unusable {
    /// The command line cannot be parsed, or requests help or the version.
    CommandLine(clap::Error),
    /// All problems of the configuration.
    Configuration(Problems),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with one optional and two required options.
    #[derive(Debug, Parser)]
    struct Config {
        #[arg(long, env = "SURELY_NOT_SET_SIZE", default_value = "1")]
        size: u8,
        #[arg(long, env = "SURELY_NOT_SET_NAME")]
        name: Option<String>,
        #[arg(long, env = "SURELY_NOT_SET_PORT")]
        port: Option<u16>,
        #[command(flatten)]
        service: ServiceArgs,
    }

    impl ServiceConfig for Config {
        const SERVICE: &'static str = "t";
        const ADMIN_LISTEN: &'static str = "127.0.0.1:0";
        type Settings = ();

        fn service(&self) -> &ServiceArgs {
            &self.service
        }

        fn validate(&self) -> Result<(), Problems> {
            let mut problems = Problems::default();
            problems.required("SURELY_NOT_SET_NAME", &self.name);
            problems.required("SURELY_NOT_SET_PORT", &self.port);
            if self.size > 9 {
                problems.add("SURELY_NOT_SET_SIZE must be less than 10");
            }
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        }
    }

    fn problems(arguments: &[&str]) -> Vec<String> {
        match Config::load(&Variables::none(), [&["t"][..], arguments].concat()) {
            Err(Unusable::Configuration(problems)) => problems.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn invalid_values_and_all_other_problems_are_reported_together() {
        let found = problems(&["--port=x", "--shutdown-timeout=soon", "--size=10"]);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].contains("SURELY_NOT_SET_PORT, --port"), "{found:#?}");
        assert!(found[1].contains("SHUTDOWN_TIMEOUT") && found[1].contains("500ms"), "{found:#?}");
        assert_eq!(found[2..], ["SURELY_NOT_SET_NAME is not set", "SURELY_NOT_SET_SIZE must be less than 10"]);
        let found = problems(&["--size=300"]);
        assert_eq!(found.len(), 3, "the option with the invalid value is reported once: {found:#?}");
        assert!(Config::load(&Variables::none(), ["t", "--name=n", "--port=1"]).is_ok());
        for structural in ["--help", "--version", "--no-such-option"] {
            let loaded = Config::load(&Variables::none(), ["t", structural, "--port=x"]);
            assert!(matches!(loaded, Err(Unusable::CommandLine(_))), "{structural}: {loaded:?}");
        }
    }
}
