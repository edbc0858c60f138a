//! `setup`: plan, apply, status and destroy for all objects that the pipeline needs outside the services.

mod apply;
pub(crate) mod ask;
pub(crate) mod connect;
mod destroy;
mod files;
pub(crate) mod options;
mod show;
mod sinks;
mod webhook;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use setup::clients::Progress;
use setup::desired::Permit;
use setup::error::SetupError;
use setup::journal::Journal;
use setup::observed::Observed;
use setup::plan::{Plan, plan};
use setup::plan_file::PlanFile;
use setup::refusal::Refusal;
use sources::SourceName;

use crate::repeat::Typed;
use crate::{CommandError, Verdict, output};
use connect::Connect;
use options::ConnectArgs;

/// Create and keep what the three services need outside themselves: topics, the objects in Experience Platform, the
/// reporting webhook in Customer.io
///
/// There is no Terraform provider for this. For reviews and GitOps, `setup plan --out FILE` writes every request without a
/// secret, and `setup apply FILE` carries it out only if nothing has moved since.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what `apply` would create and change; nothing is written
    ///
    /// `+` is created, `~` changed, `=` stays. It also names what can never be removed, and the permissions and hosts that
    /// are needed.
    Plan(PlanArgs),
    /// Create and change what the plan shows
    ///
    /// It looks first, adopts nothing unless asked to, and can be killed and run again at any time. The webhook is created
    /// disabled, and enabled once a signed round trip through the public URL has succeeded. Exit code 4: something outside
    /// is waited for; it is named, and the same command continues from there.
    Apply(apply::ApplyArgs),
    /// Show the objects with their ids and what differs. Exit code 1 if something does
    Status(StatusArgs),
    /// Remove what `apply` created, as far as it can be removed: first the webhook, and the flow when the services have
    /// delivered what is in Kafka
    Destroy(destroy::DestroyArgs),
    /// Hold and release the sinks, for example while a flow or a schema is changed
    Sink(sinks::SinkArgs),
    /// Pause and resume the reporting webhook, or enable it step by step
    Webhook(webhook::WebhookArgs),
}

/// The permissions that a person gives for this run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct PermitArgs {
    /// Take over objects of the same name that this tool did not create, and change them
    #[arg(long)]
    adopt: bool,

    /// The former host of this stage's webhook, whose endpoint may be moved
    #[arg(long, value_name = "HOST")]
    move_endpoint: Option<String>,

    /// Enable schema and dataset for Profile, which cannot be undone; the value is the sandbox's name
    #[arg(long, value_name = "SANDBOX")]
    enable_profile: Option<String>,

    /// The sandbox's name, in place of typing it
    #[arg(long, value_name = "NAME")]
    confirm_sandbox: Option<String>,

    /// All sinks of this stage are stopped: a schema or flow that takes events may change
    #[arg(long)]
    sinks_stopped: bool,

    /// Enable the webhooks of these sources although somebody disabled them in Customer.io
    #[arg(long, value_delimiter = ',', value_name = "SOURCE,...")]
    enable_webhook: Vec<SourceName>,
}

impl PermitArgs {
    fn permit(&self) -> Permit {
        Permit {
            adopt: self.adopt,
            move_endpoint: self.move_endpoint.clone(),
            confirmed_sandbox: self.confirm_sandbox.clone(),
            sinks_stopped: self.sinks_stopped,
            enable_webhooks: self.enable_webhook.iter().cloned().collect(),
        }
    }

    /// Checks the names in `--enable-webhook` and `--enable-profile`. Enables Profile in the desired state if the name
    /// in `--enable-profile` is that of the sandbox.
    fn apply_to(&self, connect: &mut Connect) -> Result<(), crate::UsageError> {
        if self.enable_webhook.iter().any(|source| !connect.sources.contains_key(source)) {
            let names: Vec<&str> = connect.sources.keys().map(SourceName::as_str).collect();
            let names = names.join(", ");
            return Err(crate::UsageError(format!(
                "--enable-webhook names a source that does not exist; there are: {names}"
            )));
        }
        let Some(named) = &self.enable_profile else { return Ok(()) };
        let sandbox = connect.desired.stage.as_ref().map(|stage| stage.sandbox.as_str());
        if sandbox != Some(named.as_str()) {
            return Err(crate::UsageError(
                "--enable-profile does not name the sandbox of PLATFORM_SANDBOX; nothing was changed".to_owned(),
            ));
        }
        if let Some(platform) = &mut connect.desired.platform {
            platform.profile = true;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    permit: PermitArgs,

    /// Exit code 1 also if there is something to create or change
    #[arg(long)]
    detailed_exitcode: bool,

    /// Write the plan to this file: every request's method, path and body, and no secret
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[cfg(test)]
impl SetupArgs {
    /// The options of `setup apply`.
    pub(crate) fn apply_args(&self) -> Option<&apply::ApplyArgs> {
        match &self.action {
            Action::Apply(args) => Some(args),
            _ => None,
        }
    }
}

pub(crate) async fn run(args: SetupArgs, json: bool, typed: &Typed) -> Result<Verdict, CommandError> {
    match args.action {
        Action::Plan(args) => run_plan(&args, json).await,
        Action::Apply(args) => apply::run(args, json, typed).await,
        Action::Status(args) => run_status(&args, json).await,
        Action::Destroy(args) => destroy::run(args, json).await,
        Action::Sink(args) => sinks::run(args, json).await,
        Action::Webhook(args) => webhook::run(args, json).await,
    }
}

/// Reads the current objects in Kafka, the Schema Registry, Platform and Customer.io, and computes the plan.
async fn looked(connect: &Connect, permit: &Permit, journal: &Journal) -> Result<(Observed, Plan), SetupError> {
    let mut report = |progress: Progress| output::progress(&progress.to_string());
    let observed = setup::look(&connect.desired, &connect.clients, journal, &mut report).await;
    output::progress_done();
    let observed = observed?;
    let plan = planned(connect, &observed, permit);
    Ok((observed, plan))
}

/// Computes the plan, and adds the problems of single sources in the sources file.
fn planned(connect: &Connect, observed: &Observed, permit: &Permit) -> Plan {
    let mut plan = plan(&connect.desired, observed, permit);
    connect.add_source_problems(&mut plan);
    plan
}

async fn run_plan(args: &PlanArgs, json: bool) -> Result<Verdict, CommandError> {
    let mut connect = Connect::of_valid_sources(&args.connect)?;
    args.permit.apply_to(&mut connect)?;
    let permit = args.permit.permit();
    let journal = connect.read_journal()?;
    let (_, plan) = looked(&connect, &permit, &journal).await?;
    let refusals = plan.refusals.clone();
    if json {
        output::json(&with_topics(show::plan_json(&connect, &plan, &refusals), &connect, &plan, None));
    } else {
        show::topic_lines(&connect, &plan, None);
        show::plan(&connect, &plan, &refusals);
    }
    if let Some(path) = args.out.as_ref().filter(|_| plan.unread.is_some()) {
        output::problem(&format!("--out {}: not written, because the plan is not complete", path.display()));
    } else if let Some(path) = &args.out {
        let file = PlanFile::of(&plan, connect.desired.stage.as_ref());
        std::fs::write(path, file.to_text()).map_err(|error| format!("--out {}: {error}", path.display()))?;
    }
    if plan.unread.is_some() {
        return Ok(Verdict::Unanswered);
    }
    let is_bad = !plan.problems.is_empty() || !refusals.is_empty();
    let is_pending = args.detailed_exitcode && plan.has_changes();
    Ok(if is_bad || is_pending { Verdict::Problem } else { Verdict::Good })
}

async fn run_status(args: &StatusArgs, json: bool) -> Result<Verdict, CommandError> {
    let connect = Connect::of_valid_sources(&args.connect)?;
    let journal = connect.read_journal()?;
    let (observed, plan) = looked(&connect, &Permit::default(), &journal).await?;
    if json {
        let mut value = show::plan_json(&connect, &plan, &plan.refusals);
        value["variables"] = apply::variables(&connect, &plan, &observed).into_iter().collect();
        output::json(&value);
    } else {
        show::plan(&connect, &plan, &plan.refusals);
    }
    if plan.unread.is_some() {
        return Ok(Verdict::Unanswered);
    }
    let is_good = plan.problems.is_empty() && plan.refusals.is_empty() && !plan.has_changes();
    Ok(if is_good { Verdict::Good } else { Verdict::Problem })
}

/// Adds the topics, each with its state and the differences of its settings, to the JSON of a plan.
fn with_topics(
    mut value: serde_json::Value,
    connect: &Connect,
    plan: &Plan,
    done: Option<&setup::apply::Applied>,
) -> serde_json::Value {
    value["topics"] = show::topics_json(connect, plan, done);
    value
}

/// The reasons why a plan cannot be applied with these permissions.
fn refusals(plan: &Plan, permit: &Permit) -> Vec<Refusal> {
    setup::apply::refusals(plan, permit)
}
