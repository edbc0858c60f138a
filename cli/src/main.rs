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
mod send;
mod setup;
mod simulator;
mod status;
mod table;
mod tail;
mod topics;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use service::{LogFormat, LogLevel, init_logs};
use settings::Variables;
use settings::command_line::{self, Required};

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

    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,

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
    let (cli, variables) = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    cli.color.apply();
    init_logs(LogFormat::Text, &log_level(&cli));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::exit_code(&Err(error.into())),
    };
    let json = cli.json;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args, json).await,
            Command::Send(args) => send::run(args, json).await,
            Command::Map(args) => map::run(&args, json),
            Command::Setup(args) => Box::pin(setup::run(args, json)).await,
            Command::Check(args) => check::run(&args, &variables, json).await,
            Command::Status(args) => status::run(args, json).await,
            Command::DeadLetters(args) => dead_letters::run(args, json),
            Command::Audit(args) => audit::run(args, json).await,
            Command::Find(args) => find::run(args, json).await,
            Command::Tail(args) => tail::run(args, json).await,
            Command::Console(args) => console::run(*args, &variables).await,
            Command::PlatformSim(args) => simulator::run(args, json).await,
            Command::CheckConfig(_) => check_config::run(&variables, json),
            Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit::exit_code(&result)
}

/// The log level from the option, or else the default of the command.
fn log_level(cli: &Cli) -> LogLevel {
    let of_command = match &cli.command {
        Command::Console(_) => "info",
        _ => "warn",
    };
    cli.log_level.clone().unwrap_or_else(|| of_command.parse().expect("the name of a level"))
}

/// Parses the command line. Variables come from the environment, and then from the environment file.
fn parse() -> Result<(Cli, Variables), ExitCode> {
    let wrong = |text: &str| {
        output::problem(&format!("customerio-aep: {text}"));
        ExitCode::from(2)
    };
    let arguments: Vec<_> = std::env::args_os().collect();
    let variables = env_file::variables(&arguments).map_err(|error| wrong(&error))?;
    let parsed = command_line::parse(&Cli::command(), &variables, &arguments, Required::Here);
    let parsed = parsed.map_err(clap::Error::from).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| (cli, variables)).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        if error.print().is_err() { ExitCode::from(1) } else { ExitCode::from(code) }
    })
}
