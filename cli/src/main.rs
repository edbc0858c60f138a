//! `customerio-aep`: everything that an operator does in addition to running the three services.

mod accounting;
mod audit;
mod check;
mod check_config;
mod completions;
mod configuration_page;
mod dead_letters;
mod demo;
mod env_file;
mod find;
mod map;
mod mapping_page;
mod no_value_is_shown;
mod output;
mod send;
mod setup;
mod simulator;
mod sources_page;
mod topics;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use service::{LogFormat, LogLevel, init_logs};
use settings::{Variables, command_line};

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

    /// Log level of the log on standard error
    #[arg(long, global = true, env = "LOG_LEVEL", default_value = "warn", value_name = "LEVEL")]
    log_level: LogLevel,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Send(send::SendArgs),
    Map(map::MapArgs),
    Setup(setup::SetupArgs),
    Check(check::CheckArgs),
    #[command(name = "dead-letters")]
    DeadLetters(dead_letters::DeadLettersArgs),
    Audit(audit::AuditArgs),
    Find(find::FindArgs),
    PlatformSim(simulator::SimulatorArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Completions(completions::CompletionsArgs),
}

/// How a command ended.
enum Verdict {
    Good,
    Problem,
    /// `setup apply` waits for something outside, which it has named.
    Waiting,
    /// Something could not be asked; already reported.
    Unanswered,
    /// The command cannot be run with these arguments or this configuration; already reported.
    UsageError,
}

/// An error that ends a command early; shown to the user as it is.
type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// The command cannot be run with these arguments; it ends with exit code 2.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for UsageError {}

fn main() -> ExitCode {
    let (cli, variables) = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    init_logs(LogFormat::Text, &cli.log_level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let json = cli.json;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args, json).await,
            Command::Send(args) => send::run(args, json).await,
            Command::Map(args) => map::run(&args, json),
            Command::Setup(args) => setup::run(args, json).await,
            Command::Check(args) => check::run(&args, &variables, json).await,
            Command::DeadLetters(args) => dead_letters::run(args, json).await,
            Command::Audit(args) => audit::run(args, json).await,
            Command::Find(args) => find::run(args, json).await,
            Command::PlatformSim(args) => simulator::run(args, json).await,
            Command::CheckConfig(_) => check_config::run(&variables, json),
            Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Problem) => ExitCode::from(1),
        Ok(Verdict::UsageError) => ExitCode::from(2),
        Ok(Verdict::Unanswered) => ExitCode::from(3),
        Ok(Verdict::Waiting) => ExitCode::from(4),
        Err(error) => failed(&error),
    }
}

fn failed(error: &CommandError) -> ExitCode {
    output::problem(&format!("customerio-aep: {error}"));
    ExitCode::from(exit_code(error))
}

/// Returns the exit code for an error that ended a command.
fn exit_code(error: &CommandError) -> u8 {
    if error.is::<UsageError>() {
        return 2;
    }
    let of_setup = error.downcast_ref::<::setup::error::SetupError>();
    if of_setup.is_some_and(|error| error.is_unanswered()) {
        return 3;
    }
    let of_kafka = match of_setup {
        Some(::setup::error::SetupError::Kafka(error)) => Some(error),
        _ => error.downcast_ref::<kafka::KafkaError>(),
    };
    match of_kafka {
        // This is an answer: the requested thing does not exist, or has a problem.
        Some(kafka::KafkaError::NoTopic(_) | kafka::KafkaError::TooFewPartitions { .. }) | None => 1,
        Some(kafka::KafkaError::Configuration(_)) => 2,
        Some(_) => 3,
    }
}

/// The command line and its variables: the environment, then the environment file.
fn parse() -> Result<(Cli, Variables), ExitCode> {
    let wrong = |text: &str| {
        output::problem(&format!("customerio-aep: {text}"));
        ExitCode::from(2)
    };
    let arguments: Vec<_> = std::env::args_os().collect();
    let variables = env_file::variables(&arguments).map_err(|error| wrong(&error))?;
    let parsed = command_line::parse(&Cli::command(), &variables, &arguments);
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map(|cli| (cli, variables)).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        if error.print().is_err() { ExitCode::from(1) } else { ExitCode::from(code) }
    })
}
