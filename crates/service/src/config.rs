//! The command line and environment of a service: one clap definition, checked as a whole, all problems reported at once.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser};

use crate::telemetry::{LogFormat, LogLevel};

/// A duration as written in the configuration: `500ms`, `5s`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DurationArg(pub Duration);

impl fmt::Debug for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = || format!("`{text}` is not a duration; write for example 500ms, 5s or 2h");
        let duration: jiff::SignedDuration = text.parse().map_err(|_| hint())?;
        Duration::try_from(duration).map(Self).map_err(|_| hint())
    }
}

impl fmt::Display for DurationArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A number of bytes as written in the configuration: `900KiB`, `10MiB`, `1000`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub usize);

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = || format!("`{text}` is not a size; write for example 900KiB, 10MiB or 1000");
        let size: bytesize::ByteSize = text.parse().map_err(|_| hint())?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| hint())
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// Everything found wrong with a configuration; one line each.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds one problem: what is wrong, where, and what to do.
    pub fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Keeps the value, or the problem.
    pub fn check<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(error.to_string())).ok()
    }

    /// Takes over the problems of a part.
    pub fn extend(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    /// `true` when nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One problem.
impl From<String> for Problems {
    fn from(problem: String) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "  - {problem}")?;
        }
        Ok(())
    }
}

/// Flags every service has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operating")]
pub struct ServiceArgs {
    /// Address of the admin server: /livez, /readyz, /metrics
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,

    /// How logs are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace) or `target=level` pairs separated by commas
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,

    /// The longest a clean stop may take before the process ends with code 1
    #[arg(long, env = "SHUTDOWN_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    pub shutdown_timeout: DurationArg,

    /// Check the configuration and exit: 0 if it is good, 2 if not
    #[arg(long)]
    pub check_config: bool,
}

/// The configuration of one service: how it is parsed and what it becomes once it has been checked.
pub trait ServiceConfig: Parser + fmt::Debug {
    /// Name of the service, as in logs and `build_info`.
    const SERVICE: &'static str;
    /// Default of `ADMIN_LISTEN`.
    const ADMIN_LISTEN: &'static str;
    /// Whether SIGHUP makes it read files again; it ends the process where this is not so.
    const RELOADS: bool = false;
    /// Variables whose empty value says something; any other variable that is empty counts as not set, as deployment
    /// tools often leave it.
    const EMPTY_SAYS_SOMETHING: &'static [&'static str] = &[];
    /// The checked form, in which wrong states cannot be expressed.
    type Settings: Send + 'static;

    /// The flags every service has.
    fn service(&self) -> &ServiceArgs;

    /// Checks the whole.
    ///
    /// # Errors
    /// All problems found, not only the first.
    fn validate(&self) -> Result<Self::Settings, Problems>;

    /// The command line's definition, of which `--help` and the reference of the configuration are made.
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
        let command = Self::definition().mut_args(|arg| {
            let is_blank = |name: &std::ffi::OsStr| {
                !Self::EMPTY_SAYS_SOMETHING.iter().any(|exempt| *exempt == name)
                    && std::env::var(name).is_ok_and(|value| value.trim().is_empty())
            };
            if arg.get_env().is_some_and(is_blank) { arg.env(None) } else { arg }
        });
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        match command.clone().try_get_matches_from(&arguments) {
            Ok(matches) => Self::from_arg_matches(&matches),
            Err(first) => Err(all_problems(&command, &arguments, first)),
        }
    }
}

/// clap stops at the first wrong value; this asks for each option on its own, the others taken as they come.
fn all_problems(command: &clap::Command, arguments: &[OsString], first: clap::Error) -> clap::Error {
    if !matches!(
        first.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue | ErrorKind::MissingRequiredArgument
    ) {
        return first;
    }
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for checked in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        let alone = command.clone().mut_args(|arg| {
            if arg.get_id() == checked.get_id() || !arg.get_action().takes_values() {
                return arg;
            }
            arg.required(false).value_parser(clap::builder::OsStringValueParser::new())
        });
        if let Err(error) = alone.try_get_matches_from(arguments) {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let end = text.find("\n\nUsage").or_else(|| text.find("\n\nFor more")).unwrap_or(text.len());
            let text = text[..end].trim_end();
            match text.split_once('\n') {
                Some((_, option)) if error.kind() == ErrorKind::MissingRequiredArgument => {
                    missing.push(format!("\n{option}"));
                }
                _ => problems.push(text.to_owned()),
            }
        }
    }
    if problems.len() + usize::from(!missing.is_empty()) < 2 {
        return first;
    }
    if !missing.is_empty() {
        problems.push(format!("the following required arguments were not provided:{}", missing.concat()));
    }
    let text = format!("{}\n\nFor more information, try '--help'.\n", problems.join("\nerror: "));
    clap::Error::raw(first.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!("500ms".parse::<DurationArg>().unwrap().0, Duration::from_millis(500));
        assert_eq!("2h".parse::<DurationArg>().unwrap().0, Duration::from_secs(7200));
        assert!("-5s".parse::<DurationArg>().unwrap_err().contains("500ms"));
        assert!("5".parse::<DurationArg>().is_err());
        assert_eq!("900KiB".parse::<ByteCount>().unwrap().0, 900 * 1024);
        assert_eq!("1000".parse::<ByteCount>().unwrap().0, 1000);
        assert!("many".parse::<ByteCount>().unwrap_err().contains("10MiB"));
    }

    #[test]
    fn all_problems_are_kept() {
        let mut problems = Problems::default();
        assert_eq!(problems.check("x".parse::<u8>()), None);
        problems.add("second");
        assert_eq!(problems.to_string().lines().count(), 2);
    }
}
