//! The set-up behind the console's screen "Connect". It does what the commands `check`, `setup plan` and `setup apply`
//! do with the same options.

use console::connect::{Answering, Changed, ConnectSource, Part, Seen, SeenWebhook, TestEvent};
use customerio_api::{EventSelection, MessageContent, Resolution, SubscribableEvent, Webhook};
use settings::Variables;
use setup::check::{Line, invalid_option};
use setup::desired::Permit;
use setup::enable::{Enabling, enable};
use setup::error::SetupError;
use setup::key::{Key, Target};
use setup::observed::Observed;
use setup::plan::{Plan, plan};
use setup::plan_file::PlanFile;
use setup::round_trip::RoundTrips;
use setup::settling::not_before;
use setup::switch::{Paused, Resumed, Switch};
use sources::SourceName;

use crate::check::{self, CheckArgs};
use crate::check_config;
use crate::setup::connect::Connect;
use crate::setup::options::Part as Only;

/// Access to the set-up with the options of the process.
#[derive(Debug)]
pub(super) struct SetupOf {
    args: CheckArgs,
    variables: Variables,
}

impl SetupOf {
    pub(super) fn new(args: CheckArgs, variables: Variables) -> Self {
        Self { args, variables }
    }

    /// Returns the clients and the desired state, or all problems of the options.
    fn connect(&self) -> Result<Connect, String> {
        Connect::of(&self.args.connect).map_err(|error| error.to_string())
    }
}

impl ConnectSource for SetupOf {
    fn check(&self, part: Part) -> Answering<'_, Vec<Line>> {
        let only = match part {
            Part::Configuration => return Box::pin(async { check_config::lines(&self.variables) }),
            Part::Kafka => Only::Kafka,
            Part::Platform => Only::Platform,
            Part::CustomerIo => Only::Customerio,
        };
        let mut args = self.args.clone();
        args.connect.only = vec![only];
        Box::pin(async move {
            match Box::pin(check::without_test(&args, &self.variables)).await {
                // The findings about the configuration are left out here: `Part::Configuration` shows them.
                Ok(lines) => lines.into_iter().filter(|line| line.id != "configuration").collect(),
                Err(error) => vec![invalid_option(&error.to_string())],
            }
        })
    }

    fn plan(&self) -> Answering<'_, Result<Seen, String>> {
        Box::pin(async {
            let connect = self.connect()?;
            let (observed, plan) = look(&connect, &Permit::default()).await?;
            Ok(seen(&connect, &observed, plan))
        })
    }

    fn apply<'a>(
        &'a self,
        seen: &'a PlanFile,
        confirmed_sandbox: Option<String>,
        report: &'a mut (dyn FnMut(String) + Send),
    ) -> Answering<'a, Result<Changed, String>> {
        Box::pin(async move {
            let connect = self.connect()?;
            let permit = Permit { confirmed_sandbox, ..Permit::default() };
            let round_trips = RoundTrips::new()?;
            apply(&connect, &permit, seen, round_trips, report).await.map_err(|error| error.to_string())
        })
    }

    fn pause<'a>(&'a self, source: &'a str) -> Answering<'a, Result<bool, String>> {
        Box::pin(async move {
            let (connect, source) = (self.connect()?, name(source)?);
            let mut journal = connect.open_journal().map_err(|error| error.to_string())?;
            let switch = Switch { desired: &connect.desired, clients: &connect.clients, source: &source };
            let paused = switch.pause(&mut journal, &mut |_| {}).await;
            Ok(paused.map_err(|error| error.to_string())? == Paused::Now)
        })
    }

    fn resume<'a>(&'a self, source: &'a str) -> Answering<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            let (connect, source) = (self.connect()?, name(source)?);
            let journal = connect.read_journal().map_err(|error| error.to_string())?;
            let (observed, plan) = look(&connect, &Permit::default()).await?;
            let not_before = not_before(&plan, &observed, connect.settling);
            let enabling = Enabling { keys: connect.keys.clone(), round_trips: RoundTrips::new()?, not_before };
            let switch = Switch { desired: &connect.desired, clients: &connect.clients, source: &source };
            match switch.resume(&journal, &enabling, &mut |_| {}).await.map_err(|error| error.to_string())? {
                Resumed::Now | Resumed::Already => Ok(Vec::new()),
                Resumed::Waits(waiting) => Ok(vec![waiting.to_string()]),
            }
        })
    }

    fn send<'a>(&'a self, event: &'a TestEvent) -> Answering<'a, Result<(), String>> {
        Box::pin(async move {
            let (connect, source) = (self.connect()?, name(&event.source)?);
            let wish = connect.desired.webhooks.iter().find(|wish| wish.source == source);
            let wish = wish.ok_or("there is no public address for this source")?;
            let key = connect.keys.get(&source).ok_or("the signing key of this source is not configured")?;
            let sent = RoundTrips::new()?.send_event(&wish.endpoint, key, &event.body).await;
            sent.map_err(|error| error.to_string())
        })
    }
}

fn name(source: &str) -> Result<SourceName, String> {
    source.parse().map_err(|_| "there is no such source".to_owned())
}

async fn look(connect: &Connect, permit: &Permit) -> Result<(Observed, Plan), String> {
    let journal = connect.read_journal().map_err(|error| error.to_string())?;
    let observed = setup::look(&connect.desired, &connect.clients, &journal, &mut |_| {}).await;
    let observed = observed.map_err(|error| error.to_string())?;
    let plan = plan(&connect.desired, &observed, permit);
    // If a permission to read the objects is missing, the plan is incomplete.
    match &plan.unread {
        Some(reason) => Err(reason.clone()),
        None => Ok((observed, plan)),
    }
}

fn seen(connect: &Connect, observed: &Observed, plan: Plan) -> Seen {
    let stage = connect.desired.stage.as_ref();
    let webhook = |wish: &setup::desired::WebhookWish| {
        let found = webhook_of(&plan, observed, &wish.source);
        SeenWebhook {
            source: wish.source.to_string(),
            endpoint: wish.endpoint.to_string(),
            is_enabled: found.map(Webhook::is_enabled),
            channels: found.map(channels).unwrap_or_default(),
            is_full_resolution: found.map(|webhook| webhook.resolution() == Resolution::Every),
            has_content: found.map(|webhook| webhook.content() == MessageContent::Included),
        }
    };
    Seen {
        refusals: setup::apply::refusals(&plan, &Permit::default()),
        file: PlanFile::of(&plan, stage),
        sandbox: stage.map(|stage| stage.sandbox.to_string()),
        not_before: not_before(&plan, observed, connect.settling),
        webhooks: connect.desired.webhooks.iter().map(webhook).collect(),
        plan,
    }
}

/// Returns the webhook of a source if the set-up has created one.
fn webhook_of<'o>(plan: &Plan, observed: &'o Observed, source: &SourceName) -> Option<&'o Webhook> {
    let id = plan.object(&Key::Webhook(source.clone()))?.id.as_deref()?;
    let webhooks = &observed.customerio.get(source)?.webhooks.webhooks;
    webhooks.iter().find(|webhook| webhook.id().to_string() == id)
}

/// Returns the channels with at least one event that the webhook sends. Each has its name, the number of these events,
/// and the number of all its events.
fn channels(webhook: &Webhook) -> Vec<(String, usize, usize)> {
    let chosen: Vec<SubscribableEvent> = webhook.events().iter().filter_map(|event| event.subscribable()).collect();
    let mut channels: Vec<(String, usize, usize)> = Vec::new();
    for event in EventSelection::all().iter() {
        let name = event.channel().as_str();
        if channels.last().is_none_or(|(last, _, _)| last != name) {
            channels.push((name.to_owned(), 0, 0));
        }
        if let Some((_, count, all)) = channels.last_mut() {
            *all += 1;
            *count += usize::from(chosen.contains(&event));
        }
    }
    channels.retain(|(_, count, _)| *count > 0);
    channels
}

/// Executes the plan and enables the webhooks that can be enabled. It does not wait for external systems.
async fn apply(
    connect: &Connect,
    permit: &Permit,
    seen: &PlanFile,
    round_trips: RoundTrips,
    report: &mut (dyn FnMut(String) + Send),
) -> Result<Changed, SetupError> {
    let mut report = |progress: setup::clients::Progress| report(progress.to_string());
    let mut journal = connect.open_journal()?;
    let observed = setup::look(&connect.desired, &connect.clients, &journal, &mut report).await?;
    let now = plan(&connect.desired, &observed, permit);
    let moved = seen.moved(&PlanFile::of(&now, connect.desired.stage.as_ref()));
    if !moved.is_empty() {
        return Err(SetupError::Moved(moved));
    }
    let (desired, clients) = (&connect.desired, &connect.clients);
    let mut applied = setup::apply::apply(desired, permit, clients, &mut journal, observed, &mut report).await?;
    let waiting = if connect.parts.contains(&Target::CustomerIo) {
        let enabling = Enabling {
            keys: connect.keys.clone(),
            round_trips,
            not_before: not_before(&applied.plan, &applied.observed, connect.settling),
        };
        enable(desired, permit, clients, &journal, &mut applied, &enabling, &mut report).await?
    } else {
        Vec::new()
    };
    let changed = applied.changed.iter().map(|(key, change)| format!("{} {key}", change.sign())).collect();
    let failures = applied.failures.iter().map(|(key, error)| format!("{key}: {error}")).collect();
    let waiting = waiting.iter().map(|waiting| (waiting.who().to_string(), waiting.to_string())).collect();
    Ok(Changed { changed, waiting, failures })
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        check: CheckArgs,
    }

    fn setup_of(given: &[&str]) -> SetupOf {
        let command = Variables::none().apply(<Command as clap::CommandFactory>::command());
        let matches = command.get_matches_from([&["console"], given].concat());
        SetupOf::new(Command::from_arg_matches(&matches).unwrap().check, Variables::none())
    }

    #[tokio::test]
    async fn without_options_every_part_of_the_connect_screen_reports_the_missing_options() {
        let setup = setup_of(&[]);
        for part in Part::ALL {
            let lines = setup.check(part).await;
            assert!(
                lines.iter().any(|line| line.level == setup::check::Level::Bad && line.next.is_some()),
                "{part:?}: {lines:?}"
            );
            let is_configuration = part == Part::Configuration;
            assert!(lines.iter().all(|line| (line.id == "configuration") == is_configuration), "{part:?}: {lines:?}");
        }
        let error = setup.plan().await.unwrap_err();
        assert!(error.contains("PLATFORM_SANDBOX is not set"), "{error}");
    }
}
