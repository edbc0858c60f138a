//! `setup destroy`: removes the objects that `setup apply` created.

use std::time::Duration;

use clap::Args;
use contract::Partition;
use kafka::{KafkaError, TopicName, Watermarks};
use operator::Pipeline;
use operator::dead_letters::count_unresolved;
use serde_json::{Value, json};
use settings::DurationArg;
use setup::clients::Progress;
use setup::desired::Permit;
use setup::destroy::{
    DestroyPermit, DestroyPlan, Drained, Traffic, Undrained, destroy, disable_webhooks, plan_destroy,
};
use setup::journal::Journal;
use setup::topics::TopicWish;
use tokio::time::Instant;

use super::connect::Connect;
use super::options::ConnectArgs;
use super::{ask, looked};
use crate::pipeline::GroupArgs;
use crate::{CommandError, UsageError, Verdict, output};

/// Interval between two reads of what is still in Kafka.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Wait after the webhook was disabled, in which the gateway writes the requests that Customer.io sent before. The
/// gateway responds to each request in less than 4 s.
const LAST_WEBHOOKS: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    groups: GroupArgs,

    /// Ask nothing. A production sandbox also needs --confirm-sandbox
    #[arg(long)]
    yes: bool,

    /// Wait until the services have delivered what is in Kafka and are stopped, before the flow is removed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    wait: Option<DurationArg>,

    /// The sandbox's name, in place of typing it
    #[arg(long, value_name = "NAME", help_heading = "Safety")]
    confirm_sandbox: Option<String>,

    /// Delete the dataset of this name with its records
    #[arg(long, value_name = "DATASET", help_heading = "Safety")]
    delete_data: Option<String>,

    /// Give up so many unresolved dead letters
    #[arg(long, default_value_t = 0, value_name = "COUNT", help_heading = "Safety")]
    abandon: u64,
}

pub(crate) async fn run(args: DestroyArgs, json: bool) -> Result<Verdict, CommandError> {
    let connect = Connect::of(&args.connect)?;
    if connect.desired.stage.is_none() {
        return Err(
            UsageError("topics are never removed by this tool; name --only platform,customerio".to_owned()).into()
        );
    }
    let mut journal = connect.open_journal()?;
    let (observed, _) = looked(&connect, &Permit::default(), &journal).await?;
    let before = traffic(&args, &connect)?;
    let mut permit = DestroyPermit {
        delete_data: args.delete_data.clone(),
        abandon: args.abandon,
        confirmed_sandbox: args.confirm_sandbox.clone(),
        waits: args.wait.is_some(),
    };
    let may_ask = !args.yes && !json && ask::is_possible();
    let mut plan = plan_destroy(&connect.desired, &observed, before, &permit);
    if let Some(confirmation) = plan.confirmation.clone().filter(|_| may_ask && permit.confirmed_sandbox.is_none()) {
        output::problem(&format!("{confirmation}."));
        permit.confirmed_sandbox = Some(ask::line("Type its name to continue:")?);
        plan = plan_destroy(&connect.desired, &observed, before, &permit);
    }
    if json {
        output::json(&plan_json(&plan));
    } else {
        show(&plan);
    }
    if !plan.refusals.is_empty() {
        return Ok(Verdict::Problem);
    }
    if plan.removals.is_empty() {
        if !json {
            output::line("nothing to remove");
        }
        return Ok(Verdict::Good);
    }
    if !is_agreed(&args, may_ask)? {
        output::problem("nothing was changed");
        return Ok(Verdict::Problem);
    }
    carry_out(&args, &connect, &mut journal, plan, before, &permit).await
}

/// Executes a plan that a person has confirmed: disables the webhooks, waits until what is in Kafka is delivered, and
/// removes the objects. `before` is what was in Kafka when the plan was made.
async fn carry_out(
    args: &DestroyArgs,
    connect: &Connect,
    journal: &mut Journal,
    mut plan: DestroyPlan,
    before: Option<Traffic>,
    permit: &DestroyPermit,
) -> Result<Verdict, CommandError> {
    disable_webhooks(&plan, &connect.clients, &mut reporter()).await?;
    let mut now = before;
    if plan.disables_webhooks() || !plan.undrained.is_empty() {
        if plan.removes_flow() && !waited_until_drained(args, connect, &plan, permit).await? {
            return Ok(Verdict::Problem);
        }
        // A dataset that was empty may have received records from the services, and must then be kept.
        let (observed, _) = looked(connect, &Permit::default(), journal).await?;
        now = traffic(args, connect)?;
        let again = plan_destroy(&connect.desired, &observed, now, permit);
        if has_moved(&plan, &again) {
            return Ok(Verdict::Problem);
        }
        plan = again;
    }
    let drained = match Drained::check(now.filter(|_| plan.removes_flow()), permit) {
        Ok(drained) => drained,
        Err(undrained) => {
            show_undrained(&undrained);
            return Ok(Verdict::Problem);
        }
    };
    destroy(&plan, &drained, &connect.clients, journal, &mut reporter()).await?;
    Ok(Verdict::Good)
}

/// Returns true if a person agrees to the removal.
fn is_agreed(args: &DestroyArgs, may_ask: bool) -> Result<bool, CommandError> {
    if args.yes {
        return Ok(true);
    }
    if may_ask {
        return Ok(ask::yes("Remove these objects? Events that are sent meanwhile are lost.")?);
    }
    Err(UsageError("there is no terminal to ask on; look at the list above, and add --yes to remove".to_owned()).into())
}

/// Checks whether Kafka still contains something that needs the flow, after the webhooks were disabled. With `--wait`,
/// repeats the check until the time is over. Returns false if something is left, and prints it.
async fn waited_until_drained(
    args: &DestroyArgs,
    connect: &Connect,
    plan: &DestroyPlan,
    permit: &DestroyPermit,
) -> Result<bool, CommandError> {
    let end = args.wait.map(|wait| crate::when::after(Instant::now(), wait.0));
    if connect.clients.kafka.is_none() {
        return Ok(true);
    }
    if plan.disables_webhooks() {
        tokio::time::sleep(LAST_WEBHOOKS).await;
    }
    let mut last: Vec<Undrained> = Vec::new();
    loop {
        let Err(undrained) = Drained::check(traffic(args, connect)?, permit) else { return Ok(true) };
        if end.is_none_or(|end| Instant::now() >= end) {
            show_undrained(&undrained);
            return Ok(false);
        }
        if undrained != last {
            undrained.iter().for_each(|reason| output::problem(&format!("waiting: {reason}")));
        }
        last = undrained;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn show_undrained(undrained: &[Undrained]) {
    undrained.iter().for_each(|reason| output::problem(&reason.to_string()));
    output::problem(
        "nothing is removed yet: the webhook is disabled, and the flow and all other objects stay. After that, run the same command again, or add --wait",
    );
}

/// Returns true if the second plan has a refusal, or more steps than the confirmed plan, and prints the differences.
fn has_moved(confirmed: &DestroyPlan, again: &DestroyPlan) -> bool {
    let mut moved = again.refusals.clone();
    moved.extend(again.not_in(confirmed).into_iter().map(|removal| format!("it would also {removal}")));
    if again.disables_webhooks() {
        moved.push("somebody enabled the webhook again".to_owned());
    }
    if !moved.is_empty() {
        output::problem(&format!(
            "the state has moved while the services delivered: {}. The webhook was disabled and nothing else was changed; run this again",
            moved.join("; ")
        ));
    }
    !moved.is_empty()
}

fn reporter() -> impl FnMut(Progress) + Send {
    |progress: Progress| match progress {
        Progress::Begins { .. } | Progress::Looking(_) => output::progress(&progress.to_string()),
        _ => {
            output::progress_done();
            output::problem(&progress.to_string());
        }
    }
}

/// Reads the lag, members and dead letters from Kafka; `None` if Kafka is not part of the set-up.
fn traffic(args: &DestroyArgs, connect: &Connect) -> Result<Option<Traffic>, CommandError> {
    const TIMEOUT: Duration = Duration::from_secs(8);
    let (Some(topics), Some(wish)) = (&connect.clients.kafka, &connect.desired.topics) else { return Ok(None) };
    let lag = |group: &str, topic: &TopicName| -> Result<u64, KafkaError> {
        let partitions = match topics.partitions(topic, TIMEOUT) {
            Ok(partitions) => partitions,
            Err(KafkaError::NoTopic(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let committed = topics.committed(group, topic, TIMEOUT)?;
        let mut lag = 0;
        for partition in Partition::all(partitions) {
            let Watermarks { low, high } = topics.watermarks(topic, partition, TIMEOUT)?;
            let done = committed.get(&partition).copied().unwrap_or(low).max(low);
            lag += u64::try_from(high.0 - done.0).unwrap_or_default();
        }
        Ok(lag)
    };
    tokio::task::block_in_place(|| {
        let groups = args.groups.groups();
        let lag = lag(&groups.transformer, &wish.topics.raw)? + lag(&groups.sink, &wish.topics.typed)?;
        let members = topics.members(&groups.transformer, TIMEOUT)? + topics.members(&groups.sink, TIMEOUT)?;
        let unresolved = unresolved(args, wish)?;
        Ok(Some(Traffic { lag, members, unresolved }))
    })
}

fn unresolved(args: &DestroyArgs, wish: &TopicWish) -> Result<u64, CommandError> {
    let connection = args.connect.kafka.connection("customerio-aep");
    let connection = connection.map_err(UsageError::from)?;
    let pipeline = Pipeline { connection: &connection, topics: &wish.topics, progress: &output::show_progress };
    let count = count_unresolved(pipeline);
    output::progress_done();
    Ok(u64::try_from(count?)?)
}

fn show(plan: &DestroyPlan) {
    for kept in &plan.kept {
        let word = if kept.forever { "can never be removed" } else { "stays" };
        output::line(&format!("  = {} ({}) {word}: {}", kept.key, kept.id, kept.reason));
    }
    for removal in &plan.removals {
        output::line(&format!("  - {}", removal.text()));
    }
    plan.notes.iter().for_each(|note| output::line(&format!("note: {note}")));
    plan.undrained.iter().for_each(|reason| output::line(&format!("before the flow is removed: {reason}")));
    plan.refusals.iter().for_each(|refusal| output::problem(refusal));
}

fn plan_json(plan: &DestroyPlan) -> Value {
    let kept = |kept: &setup::destroy::Kept| json!({"object": kept.key.to_string(), "id": kept.id, "reason": kept.reason, "forever": kept.forever});
    json!({
        "version": 1,
        "removals": plan.removals.iter().map(setup::destroy::Removal::text).collect::<Vec<_>>(),
        "kept": plan.kept.iter().map(kept).collect::<Vec<_>>(),
        "notes": plan.notes,
        "refusals": plan.refusals,
        "beforeTheFlowIsRemoved": plan.undrained.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
