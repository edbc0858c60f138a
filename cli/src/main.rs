//! `customerio-aep`: the command-line tool for everything that an operator does apart from running the three services.

mod audit;
mod check;
mod check_config;
mod completions;
mod configuration_page;
mod console;
mod dead_letters;
mod demo;
mod env_file;
mod exit;
mod find;
mod map;
mod no_value_is_shown;
mod output;
mod pipeline;
mod printable;
mod repeat;
mod send;
mod setup;
mod simulator;
mod status;
mod table;
mod tail;
mod topics;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use service::{LogFormat, LogLevel, init_logs};
use settings::command_line::{self, Refused, Required};
use settings::{Problems, Variables};

use repeat::Typed;

pub(crate) use exit::{CommandError, UsageError, Verdict};

/// The operator's tool of the Customer.io source for Adobe Experience Platform.
///
/// Exit codes: 0 success; 1 found a problem; 2 usage or configuration error; 3 no answer, because Kafka or another
/// service did not respond or denied the request; 4 `setup apply` waits for something outside; 130 ended by Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "customerio-aep", version = service::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Print the result as JSON, also a failure: one object, or with `--json=lines` one object on each line
    #[arg(
        long,
        global = true,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "object",
        value_name = "FORMAT"
    )]
    json: Option<output::Json>,

    /// File with `NAME=value` entries for variables that are not set, as Docker Compose reads it: quote a value of
    /// several
    /// lines [default: ./.env if there is one]
    #[arg(long, global = true, value_name = "PATH")]
    env_file: Option<std::path::PathBuf>,

    /// When texts have colour; NO_COLOR turns it off as well
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: output::ColorWhen,

    /// Log level of the log on standard error [default: warn; info for `console`, whose log has the audit log]
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Send(send::SendArgs),
    Map(map::MapArgs),
    Setup(setup::SetupArgs),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    #[command(name = "dead-letters")]
    DeadLetters(dead_letters::DeadLettersArgs),
    Audit(audit::AuditArgs),
    Find(find::FindArgs),
    Tail(tail::TailArgs),
    Console(Box<console::ConsoleCommand>),
    PlatformSim(simulator::SimulatorArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Completions(completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = parse(&arguments).and_then(|(cli, variables, typed)| run(cli, &variables, &typed));
    exit::exit_code(&result, asks_for_json(&arguments))
}

fn run(cli: Cli, variables: &Variables, typed: &Typed) -> Result<Verdict, CommandError> {
    cli.color.apply();
    init_logs(LogFormat::Text, &log_level(&cli));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let json = cli.json.inspect(|format| format.apply()).is_some();
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args, json).await,
            Command::Send(args) => send::run(args, json).await,
            Command::Map(args) => map::run(&args, json),
            Command::Setup(args) => Box::pin(setup::run(args, json, typed)).await,
            Command::Check(args) => check::run(&args, variables, json).await,
            Command::Status(args) => status::run(args, json).await,
            Command::DeadLetters(args) => dead_letters::run(args, json),
            Command::Audit(args) => audit::run(args, json).await,
            Command::Find(args) => find::run(args, json).await,
            Command::Tail(args) => tail::run(args, json).await,
            Command::Console(args) => console::run(*args, variables).await,
            Command::PlatformSim(args) => simulator::run(args, json).await,
            Command::CheckConfig(_) => check_config::run(variables, json),
            Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// The log level from the option, or else the default of the command.
fn log_level(cli: &Cli) -> LogLevel {
    let of_command = match &cli.command {
        Command::Console(_) => "info",
        _ => "warn",
    };
    cli.log_level.clone().unwrap_or_else(|| of_command.parse().expect("the name of a level"))
}

/// Parses the command line. The value of a variable comes from the environment, or else from a file (see `env_file`).
fn parse(arguments: &[OsString]) -> Result<(Cli, Variables, Typed), CommandError> {
    let variables = env_file::variables(arguments).map_err(UsageError)?;
    let command = Cli::command();
    let matches = command_line::parse(&command, &variables, arguments, Required::Here);
    let matches = matches.map_err(|refused| unusable(refused, &variables))?;
    let typed = Typed::of(&command, &matches);
    Ok((Cli::from_arg_matches(&matches)?, variables, typed))
}

/// Returns the error for a command line that cannot be parsed. If values are invalid, the error also contains the
/// problems of the other options.
fn unusable(Refused { error, invalid }: Refused, variables: &Variables) -> CommandError {
    let Some(invalid) = invalid else { return error.into() };
    let values = invalid.problems.len();
    let problems = invalid.with_others(|cli: &Cli| cli.command.problems(variables));
    // Without other problems, clap's own error is better, because it also refers to the help.
    if problems.each().count() > values { UsageError::from(problems).into() } else { error.into() }
}

impl Command {
    /// Returns the problems of the command's options, without a connection. Only the commands listed here check several
    /// groups of options.
    fn problems(&self, variables: &Variables) -> Problems {
        match self {
            Self::Audit(args) => args.problems(),
            Self::Status(args) => args.problems(),
            Self::Console(args) => args.problems(variables),
            _ => Problems::default(),
        }
    }
}

/// Whether the arguments ask for JSON. The function reads unparsed arguments, because a parse error is also printed as
/// JSON.
fn asks_for_json(arguments: &[OsString]) -> bool {
    let arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    arguments
        .take_while(|argument| argument != "--")
        .any(|argument| argument == "--json" || argument.starts_with("--json="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> =
            std::iter::once("customerio-aep").chain(arguments.iter().copied()).map(Into::into).collect();
        let variables = Variables::none();
        let refused = command_line::parse(&Cli::command(), &variables, &arguments, Required::Here).unwrap_err();
        unusable(refused, &variables).to_string()
    }

    #[test]
    fn invalid_values_and_all_other_problems_of_the_options_are_reported_together() {
        let kafka = ["--kafka-bootstrap-servers=a:1", "--kafka-ssl-key=/nowhere"];
        let text =
            refused(&[&["audit", "--late=soon", "--limit=x", "--identity-namespace-id=Email"], &kafka[..]].concat());
        for part in ["these options are invalid", "--late", "--limit", "IDENTITY_NAMESPACE_ID", "KAFKA_SSL_KEY"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = refused(&[&["status", "--watch=soon", "--sources-file=/nowhere"], &kafka[..]].concat());
        for part in ["these options are invalid", "--watch", "SOURCES_FILE", "KAFKA_SSL_KEY"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = refused(&[&["console", "--dedup-max-ids=x", "--console-auth=basic"], &kafka[..]].concat());
        for part in ["these options are invalid", "--dedup-max-ids", "CONSOLE_USERS_FILE", "KAFKA_SSL_KEY"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = refused(&["audit", "--late=soon", "--kafka-bootstrap-servers=a:1"]);
        assert!(text.starts_with("error: invalid value") && text.contains("--help"), "{text}");
    }

    #[test]
    fn json_can_be_requested_before_and_after_the_command_and_with_a_format() {
        let asks = |arguments: &[&str]| asks_for_json(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        for arguments in [&["--json", "audit"][..], &["audit", "--json"], &["find", "--json=lines", "x"]] {
            assert!(asks(arguments), "{arguments:?}");
        }
        assert!(!asks(&["audit"]) && !asks(&["find", "--", "--json"]));
        for (arguments, format) in [
            (&["completions", "bash"][..], None),
            (&["completions", "bash", "--json"], Some(output::Json::Object)),
            (&["--json=lines", "completions", "bash"], Some(output::Json::Lines)),
        ] {
            let cli = Cli::try_parse_from([&["customerio-aep"], arguments].concat()).unwrap();
            assert_eq!(cli.json, format, "{arguments:?}");
        }
    }
}
