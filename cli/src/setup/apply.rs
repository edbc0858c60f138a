//! `setup apply`: applies the plan, writes the services' variables, and enables the webhooks.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use customerio_api::{MessageContent, Resolution, SigningKeySource};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use settings::{DurationArg, SecretSource};
use setup::apply::Applied;
use setup::clients::Progress;
use setup::desired::Permit;
use setup::enable::{Enabling, Waiting, enable};
use setup::env_text::secret_manifest;
use setup::error::SetupError;
use setup::journal::Journal;
use setup::key::Target;
use setup::observed::Observed;
use setup::plan::Plan;
use setup::plan_file::PlanFile;
use setup::refusal::Refusal;
use setup::round_trip::RoundTrips;
use setup::settling::not_before;
use setup::values::PlatformValues;
use sources::SourceName;

use super::connect::Connect;
use super::options::{ConnectArgs, EventChoice};
use super::sinks::SinksHeldArgs;
use super::{PermitArgs, ask, files, looked, refusals, show, with_topics};
use crate::{CommandError, UsageError, Verdict, output};

/// Interval between two checks of the awaited conditions.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A plan that `setup plan --out` has written; it is carried out only if the state is still the same
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    permit: PermitArgs,

    /// Ask nothing. A production sandbox also needs --confirm-sandbox
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    sinks: SinksHeldArgs,

    /// Wait until the gateway responds at the public URL and Platform loses no more events, instead of ending with exit
    /// code 4. A missing signing key or permission still ends the command
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    wait: Option<DurationArg>,

    /// Write the services' variables into this `.env` file; other entries stay as they are
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    write_env: Option<PathBuf>,

    /// Print the services' variables
    #[arg(long, help_heading = "Result")]
    print_env: bool,

    /// Print a Kubernetes secret with the services' secrets; it holds them as they are
    #[arg(long, help_heading = "Result")]
    secret_yaml: bool,

    /// Folder for the secrets that the services read
    #[arg(long, default_value = "secrets", value_name = "PATH", help_heading = "Result")]
    secrets_dir: PathBuf,
}

pub(crate) async fn run(args: ApplyArgs, json: bool) -> Result<Verdict, CommandError> {
    let mut connect = Connect::of(&args.connect)?;
    args.permit.apply_to(&mut connect)?;
    let mut permit = args.permit.permit();
    if !args.sinks.check(&mut permit).await? {
        return Ok(Verdict::Problem);
    }
    let stage = connect.desired.stage.clone();
    let mut journal = connect.open_journal()?;
    let (mut observed, mut plan) = looked(&connect, &permit, &journal).await?;
    if let Some(path) = &args.file {
        refuse_moved(path, &plan, &connect)?;
    }
    let may_ask = !args.yes && !json && ask::is_possible();
    if may_ask && ask_choices(&mut connect, &plan)? {
        plan = setup::plan::plan(&connect.desired, &observed, &permit);
    }
    if !json {
        show::plan(&connect, &plan, &[]);
    }
    if !confirmed(&args, &plan, &mut permit, may_ask)? {
        output::problem("nothing was changed");
        return Ok(Verdict::Problem);
    }
    if may_ask && plan.has_changes() {
        // The state may have changed while the person was deciding.
        let (looked_again, again) = looked(&connect, &permit, &journal).await?;
        let moved = PlanFile::of(&plan, stage.as_ref()).moved(&PlanFile::of(&again, stage.as_ref()));
        if !moved.is_empty() {
            return Err(SetupError::Moved(moved).into());
        }
        observed = looked_again;
    }
    let mut report = reporter(json);
    let applied = setup::apply::apply(&connect.desired, &permit, &connect.clients, &mut journal, observed, &mut report);
    let mut applied = applied.await?;
    let mut written = Written::default();
    keys(&mut connect, &applied, &args, may_ask, &mut written).await?;
    write(&args, &connect, &applied, &mut written)?;
    let waiting = second_phase(&args, &connect, &permit, &journal, &mut applied, json).await?;
    finish(&args, &connect, &applied, &waiting, &written, json)
}

fn refuse_moved(path: &Path, plan: &Plan, connect: &Connect) -> Result<(), CommandError> {
    let text = settings::read_text(path).map_err(|error| UsageError(error.to_string()))?;
    let file = PlanFile::read(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())))?;
    let moved = file.moved(&PlanFile::of(plan, connect.desired.stage.as_ref()));
    if moved.is_empty() { Ok(()) } else { Err(SetupError::Moved(moved).into()) }
}

fn reporter(json: bool) -> impl FnMut(Progress) + Send {
    move |progress: Progress| match progress {
        Progress::Looking(_) | Progress::Begins { .. } => output::progress(&progress.to_string()),
        Progress::Done { .. } | Progress::Waits { .. } | Progress::Failed { .. } => {
            output::progress_done();
            if json { output::problem(&progress.to_string()) } else { output::line(&progress.to_string()) }
        }
    }
}

/// Prompts for the settings that have no default. Returns true if one was entered.
fn ask_choices(connect: &mut Connect, plan: &Plan) -> Result<bool, CommandError> {
    let mut is_changed = false;
    for refusal in &plan.refusals {
        let Some(wish) =
            refusal.source().and_then(|source| connect.desired.webhooks.iter_mut().find(|wish| wish.source == *source))
        else {
            continue;
        };
        match refusal {
            Refusal::ChoiceMissing { variable, consequence, .. } => {
                let answer = ask::line(&format!("{variable}: {consequence}\n{variable}?"))?;
                let truth =
                    || answer.parse::<bool>().map_err(|_| UsageError(format!("{variable}: write true or false")));
                match *variable {
                    "CUSTOMERIO_EVENTS" => {
                        let choice = answer.parse::<EventChoice>().map_err(UsageError)?;
                        wish.events = Some(choice.0);
                    }
                    "CUSTOMERIO_FULL_RESOLUTION" => {
                        wish.resolution = Some(if truth()? { Resolution::Every } else { Resolution::FirstOnly });
                    }
                    _ => wish.content = Some(if truth()? { MessageContent::Included } else { MessageContent::Omitted }),
                }
                is_changed = true;
            }
            Refusal::WorkspaceNotNamed { names, .. } => {
                let question = format!("Which workspace does the App API key belong to ({})?", names.join(", "));
                wish.workspace = Some(ask::line(&question)?);
                is_changed = true;
            }
            _ => {}
        }
    }
    Ok(is_changed)
}

/// Returns true if the plan may be applied: it has no steps, or a person agrees.
fn confirmed(args: &ApplyArgs, plan: &Plan, permit: &mut Permit, may_ask: bool) -> Result<bool, CommandError> {
    if !plan.has_changes() {
        return Ok(true);
    }
    if let Some(name) = plan.production_sandbox.as_ref().filter(|_| may_ask && plan.changes(Target::Platform))
        && permit.confirmed_sandbox.is_none()
    {
        permit.confirmed_sandbox =
            Some(ask::line(&format!("This is the PRODUCTION sandbox `{name}`. Type its name to go on:"))?);
    }
    let refusals = refusals(plan, permit);
    if !refusals.is_empty() && plan.general_refusals().next().is_some()
        || refusals.iter().any(|refusal| matches!(refusal, Refusal::ProductionNotConfirmed { .. } | Refusal::LiveFlow))
    {
        return Err(SetupError::Refused(refusals).into());
    }
    // Creating topics cannot lose data, so a plan with only topics does not need a confirmation.
    let only_topics = plan.objects.iter().all(|object| object.steps.is_empty() || object.key.target() == Target::Kafka);
    if args.yes || args.file.is_some() || only_topics {
        return Ok(true);
    }
    if may_ask {
        return Ok(ask::yes("Carry out this plan?")?);
    }
    Err(UsageError("there is no terminal to ask on; look at the plan above, and add --yes to carry it out".to_owned())
        .into())
}

/// The files and entries that were written.
#[derive(Debug, Default)]
struct Written {
    /// Path of the file with the signing key, if one was written.
    signing_keys: Option<PathBuf>,
    /// Names of the entries that changed in the `.env` file.
    env: Vec<String>,
    /// The secrets in plain text, for a Kubernetes manifest.
    manifest: Vec<(String, String)>,
}

/// Gets the missing signing keys, with a service-account token or from a person.
async fn keys(
    connect: &mut Connect,
    applied: &Applied,
    args: &ApplyArgs,
    may_ask: bool,
    written: &mut Written,
) -> Result<(), CommandError> {
    let missing: Vec<SourceName> = connect
        .desired
        .webhooks
        .iter()
        .map(|wish| wish.source.clone())
        .filter(|source| !connect.keys.contains_key(source))
        .collect();
    for source in missing {
        let fetched = fetch(connect, applied, &source).await;
        let key = match fetched {
            Some(Ok(key)) => Some(key),
            Some(Err(error)) => {
                output::problem(&error);
                None
            }
            None => None,
        };
        let key = match key {
            Some(key) => Some(key),
            None if may_ask => ask::secret(&format!(
                "Signing key of source `{source}` (Customer.io: Data & Integrations > Integrations > Reporting Webhooks; it is not shown; empty to go on without):"
            ))?,
            None => None,
        };
        let Some(key) = key else { continue };
        if connect.has_sources_file {
            output::line(&format!(
                "put the signing key of source `{source}` into the file that SOURCES_FILE names for it"
            ));
        } else {
            let path = files::write_secret(&args.secrets_dir, "customerio-signing-keys", &key)?;
            written.signing_keys = Some(path);
        }
        connect.keys.insert(source, key);
    }
    Ok(())
}

async fn fetch(
    connect: &Connect,
    applied: &Applied,
    source: &SourceName,
) -> Option<Result<secrecy::SecretString, String>> {
    let account = connect.service_accounts.get(source)?;
    let wish = connect.desired.webhooks.iter().find(|wish| wish.source == *source)?;
    let workspaces = &applied.observed.customerio.get(source)?.workspaces;
    let named = |name: &String| workspaces.iter().find(|workspace| workspace.name == *name);
    let workspace = match &wish.workspace {
        Some(name) => named(name),
        None => workspaces.first().filter(|_| workspaces.len() == 1),
    };
    let Some(workspace) = workspace else {
        return Some(Err(format!(
            "source `{source}`: name its workspace with CUSTOMERIO_WORKSPACE, so that the signing key can be fetched"
        )));
    };
    Some(account.signing_key(workspace.id).await.map_err(|error| error.to_string()))
}

/// The services' variables that follow from the created objects.
pub(crate) fn variables(connect: &Connect, plan: &Plan, observed: &Observed) -> Vec<(String, String)> {
    let Some(stage) = &connect.desired.stage else { return Vec::new() };
    let values = PlatformValues::of(stage, plan, observed, connect.settling);
    values.iter().flat_map(PlatformValues::variables).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes variables and secrets, but never the set-up's own credential.
fn write(args: &ApplyArgs, connect: &Connect, applied: &Applied, written: &mut Written) -> Result<(), CommandError> {
    let mut entries = variables(connect, &applied.plan, &applied.observed);
    if entries.is_empty() {
        return Ok(());
    }
    let platform = &args.connect.platform;
    entries.push(("DEPLOYMENT".to_owned(), platform.deployment.to_string()));
    entries.push(("IMS_URL".to_owned(), platform.ims_url.to_string().trim_end_matches('/').to_owned()));
    entries
        .push(("PLATFORM_API_URL".to_owned(), platform.platform_api_url.to_string().trim_end_matches('/').to_owned()));
    let is_wanted = args.write_env.is_some() || args.print_env || args.secret_yaml;
    if let (Some((client_id, secret)), true) = (&connect.sink_credential, is_wanted) {
        entries.push(("IMS_CLIENT_ID".to_owned(), client_id.clone()));
        let value = secret.read().map_err(|error| error.to_string())?;
        written.manifest.push(("IMS_CLIENT_SECRET".to_owned(), value.expose_secret().to_owned()));
        let path = match secret {
            SecretSource::File(path) => shared_path(args, "IMS_CLIENT_SECRET_FILE", path),
            SecretSource::Value(value) => files::write_secret(&args.secrets_dir, "ims-client-secret", value)?,
        };
        entries.extend(secret_entries("IMS_CLIENT_SECRET", &path));
    }
    let given = args.connect.customerio.signing_keys_file.as_ref();
    let given = given.filter(|path| is_wanted && !connect.has_sources_file && path.exists());
    let given = given.map(|path| shared_path(args, "CUSTOMERIO_SIGNING_KEYS_FILE", path));
    if let Some(path) = written.signing_keys.clone().or(given) {
        entries.extend(secret_entries("CUSTOMERIO_SIGNING_KEYS", &path));
    }
    if let Ok(folder) = args.secrets_dir.canonicalize() {
        // Docker Compose mounts the folder at the same path in the containers.
        entries.push(("SETUP_SECRETS_DIR".to_owned(), folder.display().to_string()));
    }
    for key in connect.keys.values() {
        written.manifest.push(("CUSTOMERIO_SIGNING_KEYS".to_owned(), key.expose_secret().to_owned()));
    }
    if let Some(path) = &args.write_env {
        written.env = files::write_env(path, &entries)?;
    }
    if args.print_env {
        entries.iter().for_each(|(name, value)| output::line(&format!("{name}={value}")));
    }
    if args.secret_yaml {
        if std::io::stdout().is_terminal() {
            output::problem("the manifest below holds secrets as they are; pipe it to `kubectl apply -f -`");
        }
        output::text(&secret_manifest(platform.deployment.as_str(), &written.manifest));
    }
    Ok(())
}

/// The absolute path of a secret's file for the services. Prints a warning if containers cannot read the file.
fn shared_path(args: &ApplyArgs, variable: &str, path: &Path) -> PathBuf {
    let (path, problem) = files::path_for_services(path, &args.secrets_dir);
    if let Some(problem) = problem {
        output::problem(&format!("{variable}: {problem}"));
    }
    path
}

/// The entries for a secret in a file. The variable with the secret itself must be empty, because both together are an
/// error.
fn secret_entries(variable: &str, path: &Path) -> [(String, String); 2] {
    [(variable.to_owned(), String::new()), (format!("{variable}_FILE"), path.display().to_string())]
}

/// Enables the webhooks. With `--wait`, repeats this until no condition is missing or the time is over.
async fn second_phase(
    args: &ApplyArgs,
    connect: &Connect,
    permit: &Permit,
    journal: &Journal,
    applied: &mut Applied,
    json: bool,
) -> Result<Vec<Waiting>, CommandError> {
    let round_trips = RoundTrips::new()?;
    let enabling = Enabling {
        keys: connect.keys.clone(),
        round_trips,
        not_before: not_before(&applied.plan, &applied.observed, connect.settling),
    };
    let end = args.wait.map(|wait| crate::when::after(tokio::time::Instant::now(), wait.0));
    let mut last = Vec::new();
    loop {
        let mut report = reporter(json);
        let (desired, clients) = (&connect.desired, &connect.clients);
        let waiting = enable(desired, permit, clients, journal, applied, &enabling, &mut report).await?;
        let can_pass = waiting.iter().all(|waiting| matches!(waiting, Waiting::Gateway { .. } | Waiting::Time { .. }));
        let has_time = end.is_some_and(|end| tokio::time::Instant::now() < end);
        if waiting.is_empty() || !can_pass || !has_time {
            return Ok(waiting);
        }
        if waiting != last {
            waiting.iter().for_each(|waiting| output::problem(&format!("waiting for {waiting}")));
        }
        let until = waiting.iter().find_map(|waiting| match waiting {
            Waiting::Time { until } => Duration::try_from(until.duration_since(Timestamp::now())).ok(),
            _ => None,
        });
        tokio::time::sleep(until.unwrap_or(LOOK_AGAIN).clamp(Duration::from_millis(100), LOOK_AGAIN)).await;
        last = waiting;
    }
}

fn finish(
    args: &ApplyArgs,
    connect: &Connect,
    applied: &Applied,
    waiting: &[Waiting],
    written: &Written,
    json: bool,
) -> Result<Verdict, CommandError> {
    let variables = variables(connect, &applied.plan, &applied.observed);
    if json {
        let value = show::applied_json(connect, applied, waiting, &variables);
        output::json(&with_topics(value, connect, &applied.plan, Some(applied)));
    } else {
        show::topic_lines(connect, &applied.plan, Some(applied));
        if connect.desired.stage.is_some() {
            show::result(applied, waiting, &next(args, written, waiting, !variables.is_empty()));
        } else {
            applied.plan.problems.iter().for_each(|problem| output::problem(problem));
            applied.plan.notes.iter().for_each(|note| output::line(&format!("note: {note}")));
        }
    }
    if let Some((_, error)) = applied.failures.first() {
        return Ok(if error.is_unanswered() { Verdict::Unanswered } else { Verdict::Problem });
    }
    if !applied.plan.problems.is_empty() {
        return Ok(Verdict::Problem);
    }
    Ok(if waiting.is_empty() { Verdict::Good } else { Verdict::Waiting })
}

/// Lines with the next commands.
fn next(args: &ApplyArgs, written: &Written, waiting: &[Waiting], has_variables: bool) -> Vec<String> {
    let mut next = Vec::new();
    if has_variables && args.write_env.is_none() && !args.print_env {
        next.push("this command with --write-env FILE              # writes the services' variables".to_owned());
    }
    if let Some(path) = args.write_env.as_ref().filter(|_| !written.env.is_empty()) {
        next.push(format!("start the services with the variables in {}", path.display()));
    }
    if waiting.is_empty() {
        next.push("customerio-aep send URL --count 1               # or wait for the first real event".to_owned());
        next.push("customerio-aep find --event-id ID               # follow it to Platform".to_owned());
    } else {
        next.push(
            "this command again, or with --wait              # goes on when nothing is missing any more".to_owned(),
        );
    }
    next
}
