//! `setup apply`: applies the plan, writes the services' variables, and enables the webhooks.

mod args;
mod confirm;
mod keys;
mod next;
mod written;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use jiff::Timestamp;
use setup::apply::Applied;
use setup::desired::Permit;
use setup::enable::{Enabling, Waiting, enable};
use setup::error::SetupError;
use setup::journal::Journal;
use setup::observed::{Observed, ObservedPlatform};
use setup::plan::Plan;
use setup::plan_file::PlanFile;
use setup::round_trip::RoundTrips;
use setup::settling::not_before;
use tokio::time::Instant;

use self::keys::keys;
use self::next::Next;
use self::written::{Written, print_results, write};
use super::connect::Connect;
use super::show::reporter;
use super::{ask, looked, planned, show, with_topics};
use crate::repeat::Typed;
use crate::{Cli, CommandError, UsageError, Verdict, output};

pub(crate) use self::args::ApplyArgs;
pub(crate) use self::written::variables;

/// Interval between two checks of the awaited conditions.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: ApplyArgs, json: bool, typed: &Typed) -> Result<Verdict, CommandError> {
    if args.print_env || args.secret_yaml {
        if json {
            let text = "--json prints the variables itself; leave out --print-env and --secret-yaml, or --json";
            return Err(UsageError(text.to_owned()).into());
        }
        output::reserve_stdout();
    }
    let mut connect = Connect::of_valid_sources(&args.connect)?;
    args.permit.apply_to(&mut connect)?;
    let mut permit = args.permit.permit();
    args.sinks.check(&mut permit).await?;
    let stage = connect.desired.stage.clone();
    let end = args.wait.map(|wait| crate::when::after(Instant::now(), wait.0));
    let mut journal = connect.open_journal()?;
    let (mut observed, mut plan) = looked_when_readable(&connect, &permit, &journal, end).await?;
    if let Some(path) = &args.file {
        refuse_unread(&observed)?;
        refuse_moved(path, &plan, &connect)?;
    }
    let may_ask = !args.yes && !json && ask::is_possible();
    if may_ask && confirm::ask_choices(&mut connect, &plan)? {
        plan = planned(&connect, &observed, &permit);
    }
    if !json {
        show::plan(&connect, &plan, &[]);
    }
    if !confirm::confirmed(&args, &plan, &mut permit, may_ask)? {
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
    let mut run = Run { args: &args, permit: &permit, json, end, written: Written::default() };
    let (applied, waiting) = run.until_nothing_is_missing(&mut connect, &mut journal, observed, may_ask).await?;
    finish(&run, &connect, &applied, &waiting, typed)
}

/// Reads the state and computes the plan. With `--wait`, repeats this while the objects in Platform cannot be read
/// because a role is missing. The plan that a person confirms is then complete.
async fn looked_when_readable(
    connect: &Connect,
    permit: &Permit,
    journal: &Journal,
    end: Option<Instant>,
) -> Result<(Observed, Plan), CommandError> {
    let mut has_reported = false;
    loop {
        let (observed, plan) = looked(connect, permit, journal).await?;
        let forbidden = observed.platform.as_ref().and_then(ObservedPlatform::forbidden);
        let (Some(error), true) = (forbidden, has_time(end)) else { return Ok((observed, plan)) };
        if !has_reported {
            output::problem(&format!("waiting for {}", Waiting::Permission(error.to_string())));
            has_reported = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn has_time(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() < end)
}

/// Returns an error if the objects in Platform could not be read, because a plan file cannot be checked without them.
fn refuse_unread(observed: &Observed) -> Result<(), CommandError> {
    match observed.platform.as_ref().and_then(|platform| platform.failure.clone()) {
        Some(error) => Err(SetupError::from(error).into()),
        None => Ok(()),
    }
}

/// A run after the plan was confirmed.
struct Run<'r> {
    args: &'r ApplyArgs,
    permit: &'r Permit,
    json: bool,
    /// The end of `--wait`.
    end: Option<Instant>,
    written: Written,
}

impl Run<'_> {
    /// Applies the plan and enables the webhooks. With `--wait`, repeats both for the remaining steps while a role is
    /// missing.
    async fn until_nothing_is_missing(
        &mut self,
        connect: &mut Connect,
        journal: &mut Journal,
        mut observed: Observed,
        may_ask: bool,
    ) -> Result<(Applied, Vec<Waiting>), CommandError> {
        let mut changed = BTreeMap::new();
        let mut is_first = true;
        loop {
            let mut report = reporter(self.json);
            let (desired, clients) = (&connect.desired, &connect.clients);
            let applied = setup::apply::apply(desired, self.permit, clients, journal, observed, &mut report).await?;
            let mut applied = Applied { changed: changed.into_iter().chain(applied.changed).collect(), ..applied };
            if is_first {
                keys(connect, &applied, self.args, may_ask, &mut self.written).await?;
            }
            write(self.args, connect, &applied, &mut self.written)?;
            let waiting = self.second_phase(connect, journal, &mut applied).await?;
            let waits_for_a_role = waiting.iter().any(|waiting| matches!(waiting, Waiting::Permission(_)));
            if !waits_for_a_role || !waiting.iter().all(can_pass) || !has_time(self.end) {
                connect.add_source_problems(&mut applied.plan);
                print_results(self.args, connect, &applied, &self.written)?;
                return Ok((applied, waiting));
            }
            if is_first {
                waiting.iter().for_each(|waiting| output::problem(&format!("waiting for {waiting}")));
            }
            is_first = false;
            changed = applied.changed;
            tokio::time::sleep(LOOK_AGAIN).await;
            observed = looked(connect, self.permit, journal).await?.0;
        }
    }

    /// Enables the webhooks. With `--wait`, repeats this until all conditions are met or the time is over. If a role or
    /// a signing key is missing, returns at once, because repeating this phase does not help.
    async fn second_phase(
        &self,
        connect: &Connect,
        journal: &Journal,
        applied: &mut Applied,
    ) -> Result<Vec<Waiting>, CommandError> {
        let round_trips = RoundTrips::new()?;
        let enabling = Enabling {
            keys: connect.keys.clone(),
            round_trips,
            not_before: not_before(&applied.plan, &applied.observed, connect.settling),
        };
        let mut last = Vec::new();
        loop {
            let mut report = reporter(self.json);
            let (desired, clients) = (&connect.desired, &connect.clients);
            let waiting = enable(desired, self.permit, clients, journal, applied, &enabling, &mut report).await?;
            let needs_a_role = waiting.iter().any(|waiting| matches!(waiting, Waiting::Permission(_)));
            if waiting.is_empty() || needs_a_role || !waiting.iter().all(can_pass) || !has_time(self.end) {
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
}

/// Returns true if the condition can be met while this command waits. A person has to enter a missing signing key, so
/// this command cannot wait for it.
fn can_pass(waiting: &Waiting) -> bool {
    !matches!(waiting, Waiting::SigningKey(_))
}

fn refuse_moved(path: &Path, plan: &Plan, connect: &Connect) -> Result<(), CommandError> {
    let text = settings::read_text(path).map_err(|error| UsageError(error.to_string()))?;
    let file = PlanFile::read(&text).map_err(|error| UsageError(format!("{}: {error}", path.display())))?;
    let moved = file.moved(&PlanFile::of(plan, connect.desired.stage.as_ref()));
    if moved.is_empty() { Ok(()) } else { Err(SetupError::Moved(moved).into()) }
}

fn finish(
    run: &Run<'_>,
    connect: &Connect,
    applied: &Applied,
    waiting: &[Waiting],
    typed: &Typed,
) -> Result<Verdict, CommandError> {
    let variables = variables(connect, &applied.plan, &applied.observed);
    if run.json {
        let value = show::applied_json(connect, applied, waiting, &variables);
        output::json(&with_topics(value, connect, &applied.plan, Some(applied)));
    } else {
        show::topic_lines(connect, &applied.plan, Some(applied));
        if connect.desired.stage.is_some() {
            let next = Next {
                args: run.args,
                typed,
                written: &run.written,
                waiting,
                has_failed: !applied.failures.is_empty() || !connect.source_problems.is_empty(),
                has_variables: !variables.is_empty(),
                production_sandbox: applied.plan.production_sandbox.as_deref(),
                not_before: not_before(&applied.plan, &applied.observed, connect.settling),
            };
            let inlet = variables.iter().find(|(name, _)| name == "PLATFORM_INLET_URL").map(|(_, url)| url.as_str());
            show::result(applied, inlet, waiting, &next.lines(&Cli::command(), Timestamp::now()));
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
