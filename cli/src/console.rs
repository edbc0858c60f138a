//! The command `console`: serves the browser console and manages its users.

mod connect;
mod users;

use std::ffi::OsString;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use console::dead_letters::DeadLetterTopic;
use console::events::EventTopics;
use console::{
    Connect, Console, ConsoleArgs, DeadLetters, Events, Overview, PipelineAccess, PositionsOf, Proof, Screens, Server,
    Settings,
};
use kafka::Connection;
use mapping::Sources;
use mapping_options::MappingArgs;
use operator::PipelineTopics;
use operator::status::{AdminAddresses, Asked, Inquiry};
use service::shutdown_on_signal;
use settings::command_line::{self, Refused, Required};
use settings::{Problems, Variables};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::audit::DedupArgs;
use crate::check::CheckArgs;
use crate::status::ask::Targets;
use crate::{CommandError, UsageError, Verdict, output};
use connect::SetupOf;

/// Serve the browser console: overview, events, dead letters, proof and connecting
///
/// On a loopback address there is no login, and everyone on this machine is an operator. On another address it starts only
/// with CONSOLE_AUTH=basic or CONSOLE_AUTH=proxy. It reads what the other commands read, and its screens show what they
/// print. The mapping options are read from the variables. docs/console.md describes the screens and the roles.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConsoleCommand {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Manage the users for CONSOLE_AUTH=basic
    #[command(subcommand)]
    Users(users::UsersAction),
}

/// Options with which the console reaches Kafka, the services, Platform and Customer.io.
#[derive(Debug, Args)]
#[command(
    mut_arg("only", |arg| arg.hide(true)),
    mut_arg("wait", |arg| arg.hide(true)),
    mut_arg("end_to_end", |arg| arg.hide(true)),
    mut_arg("wait_run", |arg| arg.hide(true)),
    mut_arg("confirm_sandbox", |arg| arg.hide(true)),
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    console: ConsoleArgs,

    /// Make an operator with a random password if CONSOLE_USERS_FILE does not exist, and print the password once: for a
    /// trial
    #[arg(long, help_heading = "Console")]
    first_user: bool,

    /// Ask the running console whether it answers and exit: 0 if it does, 1 if not
    #[arg(long, help_heading = "Console")]
    health: bool,

    /// Admin addresses of the services; a port alone is on the host before it, and a name with several addresses is asked
    /// at each
    #[arg(
        long,
        env = "CONSOLE_SERVICES",
        default_value = "127.0.0.1:9464,9465,9466",
        value_name = "HOST:PORT,...",
        help_heading = "Services"
    )]
    services: AdminAddresses,

    #[command(flatten)]
    dedup: DedupArgs,

    #[command(flatten)]
    check: CheckArgs,
}

/// The options of the console as a command line of their own, without the subcommands.
#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    serve: ServeArgs,
}

/// The mapping options as a command line of their own. Their values come only from the variables.
#[derive(Debug, Parser)]
struct OfVariables {
    #[command(flatten)]
    mapping: MappingArgs,
}

pub(crate) async fn run(command: ConsoleCommand, variables: &Variables) -> Result<Verdict, CommandError> {
    match command.action {
        Some(Action::Users(action)) => users::run(&action),
        None if command.serve.health => health(&command.serve.console).await,
        None => {
            let stop = CancellationToken::new();
            shutdown_on_signal(stop.clone())?;
            let listener = bind(&command.serve.console).await?;
            let address = listener.local_addr()?;
            let server = server(command.serve, variables, listener, None)?;
            output::line(&format!("The console is at http://{address}; Ctrl-C ends it."));
            server.serve(stop).await;
            Ok(Verdict::Good)
        }
    }
}

/// Requests `/livez` from the console on this machine and returns whether it succeeds.
async fn health(args: &ConsoleArgs) -> Result<Verdict, CommandError> {
    let url = format!("http://{}/livez", service::reachable(args.console_listen));
    let http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(3)).build()?;
    let problem = match http.get(&url).send().await {
        Ok(answer) if answer.status().is_success() => return Ok(Verdict::Good),
        Ok(answer) => format!("{url} answers {}", answer.status()),
        Err(error) => format!("no response from {url}: {error}; is the console running with this CONSOLE_LISTEN?"),
    };
    output::problem(&problem);
    Ok(Verdict::Problem)
}

/// Binds the address of the console.
pub(crate) async fn bind(args: &ConsoleArgs) -> Result<TcpListener, CommandError> {
    let address = args.console_listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address} for the console: {error}; choose another CONSOLE_LISTEN")
    })?;
    Ok(listener)
}

/// Creates the server, like [`server`], from command-line arguments. The demo uses this function.
pub(crate) fn server_of(
    arguments: Vec<String>,
    variables: &Variables,
    listener: TcpListener,
    handed: Option<PositionsOf>,
) -> Result<Server, CommandError> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let command = <Serve as clap::CommandFactory>::command();
    let matches = command_line::parse(&command, variables, &arguments, Required::Here).map_err(clap::Error::from)?;
    let serve = <Serve as clap::FromArgMatches>::from_arg_matches(&matches)?.serve;
    server(serve, variables, listener, handed)
}

/// Creates the server on a bound listener. `handed` provides the offsets of the services if the brokers do not store
/// them.
pub(crate) fn server(
    mut args: ServeArgs,
    variables: &Variables,
    listener: TcpListener,
    handed: Option<PositionsOf>,
) -> Result<Server, CommandError> {
    // If the option contains port 0, only the listener has the actual port.
    args.console.console_listen = listener.local_addr()?;
    if args.first_user {
        make_first_user(&args.console)?;
    }
    let Built { settings, targets, sources } = args.build(variables).map_err(UsageError::from)?;
    let screens = screens(args, variables, targets, &sources, handed)?;
    Ok(Server::new(listener, &Console::new(settings, screens)))
}

/// The values that are built from the options before a connection is opened.
struct Built {
    settings: Settings,
    targets: Targets,
    sources: Sources,
}

impl ServeArgs {
    /// Builds the values. The error contains the problems of all options.
    fn build(&self, variables: &Variables) -> Result<Built, Problems> {
        let mut problems = Problems::default();
        let settings = problems.collect(self.console.validate());
        let targets = Targets::of(&self.check.connect, self.check.platform_flow_id.as_deref());
        let targets = problems.collect(targets);
        let sources = problems.collect(sources_of(variables));
        match (settings, targets, sources) {
            (Some(settings), Some(targets), Some(sources)) => Ok(Built { settings, targets, sources }),
            _ => Err(problems),
        }
    }
}

impl ConsoleCommand {
    /// The problems of the options.
    pub(crate) fn problems(&self, variables: &Variables) -> Problems {
        let asks_nothing = self.action.is_some() || self.serve.health;
        // With --first-user, the users file may not exist yet.
        if asks_nothing || self.serve.first_user {
            return Problems::default();
        }
        self.serve.build(variables).err().unwrap_or_default()
    }
}

/// Creates the first user if there is no users file yet, and prints the password, which is not shown again.
fn make_first_user(args: &ConsoleArgs) -> Result<(), CommandError> {
    let Some(path) = &args.console_users_file else { return Ok(()) };
    if let Some(first) = console::first_user(path)? {
        output::line(&format!(
            "The console's first user is `{}` with the password {}; it is not shown again.",
            first.name,
            secrecy::ExposeSecret::expose_secret(&first.password)
        ));
    }
    Ok(())
}

fn screens(
    args: ServeArgs,
    variables: &Variables,
    targets: Targets,
    sources: &Sources,
    handed: Option<PositionsOf>,
) -> Result<Screens, CommandError> {
    let ServeArgs { services, dedup, check, .. } = args;
    let inquiry = targets.inquiry(services)?;
    let access = |(connection, topics): &(Connection, PipelineTopics)| {
        Arc::new(PipelineAccess {
            connection: connection.clone(),
            topics: topics.clone(),
            groups: check.end_to_end.groups.groups(),
            sources: sources.clone(),
            max_body: check.connect.topics.max_body.0,
            dedup_window: dedup.window.0,
            dedup_max_ids: dedup.max_ids,
            handed: handed.clone(),
        })
    };
    let pipeline: Asked<Arc<PipelineAccess>> = match &inquiry.kafka {
        Asked::Answer(reached) => Asked::Answer(access(reached)),
        Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
        Asked::Failed(error) => Asked::Failed(error.clone()),
    };
    let inquiry: Arc<Inquiry> = Arc::new(inquiry);
    // Without a tenant id, events are shown with the placeholder that `map` uses.
    let tenant = check.connect.platform.platform_tenant.clone();
    let tenant = tenant.map_or_else(|| "_tenant".parse().map_err(UsageError), Ok)?;
    Ok(Screens {
        overview: Overview::new(inquiry),
        events: Events::new(EventTopics::new(pipeline.clone(), tenant.clone())),
        dead_letters: DeadLetters::new(DeadLetterTopic::new(pipeline.clone(), tenant)),
        proof: Proof::new(pipeline),
        connect: Connect::new(SetupOf::new(check, variables.clone())),
    })
}

/// Builds the mapping options of all sources from the variables, because the console has no flags for them.
fn sources_of(variables: &Variables) -> Result<Sources, Problems> {
    let command = <OfVariables as clap::CommandFactory>::command();
    match command_line::parse(&command, variables, &["console".into()], Required::Here) {
        Ok(matches) => {
            let options = <OfVariables as clap::FromArgMatches>::from_arg_matches(&matches);
            options.map_err(|error| Problems::from(error.to_string()))?.mapping.sources()
        }
        Err(Refused { invalid: Some(invalid), .. }) => {
            Err(invalid.with_others(|options: &OfVariables| options.mapping.sources().err().unwrap_or_default()))
        }
        // `parse` does not collect the problem if the variable of a flag, such as HASH_EMAIL, has an invalid value.
        Err(Refused { error, .. }) => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            Err(text.split("\n\n").next().unwrap_or(text).to_owned().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    fn serve(given: &[&str]) -> ServeArgs {
        let matches = Serve::command().get_matches_from([&["console"], given].concat());
        Serve::from_arg_matches(&matches).unwrap().serve
    }

    fn problems(given: &[&str], variables: &str) -> String {
        let built = serve(given).build(&Variables::with_text(variables).unwrap());
        UsageError::from(built.err().unwrap()).to_string()
    }

    #[test]
    fn the_problems_of_all_options_of_the_console_are_reported_together() {
        let wrong = [
            "--console-auth=basic",
            "--kafka-bootstrap-servers=a:1",
            "--kafka-ssl-key=/nowhere",
            "--app-api-key-file=/nowhere/key",
            "--customerio-public-url=https://events.example.com",
        ];
        let text = problems(&wrong, "ON_MISSING_IDENTITY=maybe\nIDENTITY_NAMESPACE_ID=Email\n");
        for part in [
            "these options are invalid",
            "CONSOLE_USERS_FILE",
            "KAFKA_SSL_KEY",
            "CUSTOMERIO_APP_API_KEY_FILE",
            "invalid value '(not shown)' for 'ON_MISSING_IDENTITY, --on-missing-identity",
            "IDENTITY_NAMESPACE_ID",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(serve(&[]).build(&Variables::none()).is_ok());
    }

    #[tokio::test]
    async fn starting_the_console_with_an_invalid_option_returns_a_usage_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let variables = Variables::with_text("HASH_EMAIL=maybe\n").unwrap();
        let error = server(serve(&[]), &variables, listener, None).err().unwrap();
        assert!(
            error.is::<UsageError>() && error.to_string().contains("- invalid value '(not shown)' for 'HASH_EMAIL"),
            "{error}"
        );
    }
}
