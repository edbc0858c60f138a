//! `setup destroy`: removes the objects that `setup apply` created.

use std::time::Duration;

use clap::Args;
use contract::Partition;
use kafka::{KafkaError, TopicName, Watermarks};
use operator::Pipeline;
use operator::dead_letters::count_unresolved;
use serde_json::{Value, json};
use setup::clients::Progress;
use setup::desired::Permit;
use setup::destroy::{DestroyPermit, DestroyPlan, Traffic, destroy, plan_destroy};
use setup::topics::TopicWish;

use super::connect::Connect;
use super::options::ConnectArgs;
use super::{ask, looked};
use crate::pipeline::GroupArgs;
use crate::{CommandError, UsageError, Verdict, output};

#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    groups: GroupArgs,

    /// Ask nothing
    #[arg(long)]
    yes: bool,

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
    let traffic = traffic(&args, &connect)?;
    let mut permit = DestroyPermit {
        delete_data: args.delete_data.clone(),
        abandon: args.abandon,
        confirmed_sandbox: args.confirm_sandbox.clone(),
    };
    let may_ask = !args.yes && !json && ask::is_possible();
    let mut plan = plan_destroy(&connect.desired, &observed, traffic, &permit);
    if let Some(name) = plan.production_sandbox.clone().filter(|_| may_ask && permit.confirmed_sandbox.is_none()) {
        permit.confirmed_sandbox =
            Some(ask::line(&format!("This is the PRODUCTION sandbox `{name}`. Type its name to continue:"))?);
        plan = plan_destroy(&connect.desired, &observed, traffic, &permit);
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
    let agreed = args.yes || (may_ask && ask::yes("Remove these objects? Events that are sent meanwhile are lost.")?);
    if !agreed && !may_ask {
        return Err(UsageError(
            "there is no terminal to ask on; look at the list above, and add --yes to remove".to_owned(),
        )
        .into());
    }
    if !agreed {
        output::problem("nothing was changed");
        return Ok(Verdict::Problem);
    }
    let mut report = |progress: Progress| match progress {
        Progress::Begins { .. } | Progress::Looking(_) => output::progress(&progress.to_string()),
        _ => {
            output::progress_done();
            output::problem(&progress.to_string());
        }
    };
    destroy(&plan, &connect.clients, &mut journal, &mut report).await?;
    Ok(Verdict::Good)
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
    })
}
