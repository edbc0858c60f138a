//! Formats plans and results as text and as JSON.

use serde_json::{Value, json};
use setup::apply::Applied;
use setup::clients::Progress;
use setup::enable::Waiting;
use setup::key::{Key, Target};
use setup::plan::{Change, Difference, Plan, Planned};
use setup::refusal::Refusal;

use super::connect::Connect;
use crate::output;

/// Prints a plan as text.
pub(crate) fn plan(connect: &Connect, plan: &Plan, refusals: &[Refusal]) {
    if let Some(stage) = &connect.desired.stage {
        let kind = if plan.production_sandbox.is_some() { " (PRODUCTION)" } else { "" };
        output::line(&format!(
            "stage: deployment {}, organisation {}, sandbox {}{kind}",
            stage.deployment, stage.organisation, stage.sandbox
        ));
    }
    for object in &plan.objects {
        output::line(&object_line(object));
        for difference in &object.differences {
            output::line(&format!("      {}: {} -> {}", difference.field, difference.current, difference.wanted));
        }
    }
    let (create, update, keep) = counts(plan);
    output::line(&format!("{create} to create, {update} to change, {keep} as they should be"));
    let section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            output::line(&format!("{title}:"));
            lines.iter().for_each(|line| output::line(&format!("  - {line}")));
        }
    };
    section(
        "can never be removed",
        plan.permanent.iter().map(|permanent| format!("{}: {}", permanent.key, permanent.reason)).collect(),
    );
    if plan.changes(Target::Platform) || plan.unread.is_some() {
        section("permissions that the credential needs", plan.permissions.iter().map(permission).collect());
    }
    if plan.has_changes() {
        section("hosts that must be reachable from here", connect.hosts.clone());
    }
    section("notes", plan.notes.clone());
    plan.problems.iter().for_each(|problem| output::problem(problem));
    if let Some(reason) = &plan.unread {
        output::problem(&format!(
            "the objects in Platform are not part of this plan, because they cannot be read: {reason}"
        ));
    }
    for refusal in refusals {
        output::problem(&format!("not possible yet ({}): {refusal}", refusal.who()));
    }
}

fn permission(permission: &setup::plan::Permission) -> String {
    let state = match permission.granted {
        Some(true) => "granted",
        Some(false) => "MISSING",
        None => "unknown",
    };
    format!("{} ({state})", permission.title)
}

fn counts(plan: &Plan) -> (usize, usize, usize) {
    let count = |change| plan.objects.iter().filter(|object| object.change == change).count();
    (count(Change::Create), count(Change::Update), count(Change::Keep))
}

fn object_line(object: &Planned) -> String {
    let id = object.id.as_deref().filter(|id| Some(*id) != object.key.name()).map(|id| format!(" ({id})"));
    let name = if object.key.name() == Some(object.name.as_str()) {
        object.key.to_string()
    } else {
        format!("{} `{}`", object.key, object.name)
    };
    format!("  {} {name}{}", object.change.sign(), id.unwrap_or_default())
}

/// Prints the state of each topic and its number of partitions.
pub(crate) fn topic_lines(connect: &Connect, plan: &Plan, done: Option<&Applied>) {
    for object in plan.objects.iter().filter(|object| object.key.target() == Target::Kafka) {
        let state = match (object.change, done) {
            (_, Some(applied)) if applied.changed.contains_key(&object.key) => "created",
            (Change::Create, _) => "would create",
            _ => "exists",
        };
        output::line(&format!("{state:12} {} ({} partitions)", object.name, partitions(connect, object, done)));
    }
}

fn partitions(connect: &Connect, object: &Planned, done: Option<&Applied>) -> usize {
    let found = done.and_then(|applied| applied.observed.kafka.as_ref()?.topics.get(&object.name));
    let wanted = connect.desired.topics.as_ref().map_or(0, |wish| wish.partitions);
    found.map_or_else(|| usize::try_from(wanted).unwrap_or(0), |topic| topic.partitions)
}

fn difference(difference: &Difference) -> Value {
    json!({"field": difference.field, "current": difference.current, "wanted": difference.wanted})
}

fn object(object: &Planned) -> Value {
    json!({
        "object": object.key.to_string(),
        "part": object.key.target().as_str(),
        "kind": object.key.kind(),
        "name": object.name,
        "id": object.id,
        "change": object.change.as_str(),
        "differences": object.differences.iter().map(difference).collect::<Vec<_>>(),
        "requests": object.requests().collect::<Vec<_>>(),
    })
}

/// A plan as JSON.
pub(crate) fn plan_json(connect: &Connect, plan: &Plan, refusals: &[Refusal]) -> Value {
    let permission = |permission: &setup::plan::Permission| json!({"name": permission.name, "title": permission.title, "granted": permission.granted});
    let stage = connect.desired.stage.as_ref().map(|stage| {
        json!({
            "deployment": stage.deployment.as_str(), "organisation": stage.organisation.as_str(),
            "sandbox": stage.sandbox.as_str(), "production": plan.production_sandbox.is_some(),
        })
    });
    let permanent =
        |permanent: &setup::plan::Permanent| json!({"object": permanent.key.to_string(), "reason": permanent.reason});
    json!({
        "version": 1,
        "stage": stage,
        "objects": plan.objects.iter().map(object).collect::<Vec<_>>(),
        "refusals": refusals.iter().map(refusal_json).collect::<Vec<_>>(),
        "problems": plan.problems,
        "unread": plan.unread,
        "notes": plan.notes,
        "permanent": plan.permanent.iter().map(permanent).collect::<Vec<_>>(),
        "permissions": plan.permissions.iter().map(permission).collect::<Vec<_>>(),
        "hosts": connect.hosts,
        "brokers": plan.brokers.map(|(brokers, _)| brokers),
        "replication": plan.brokers.map(|(_, replication)| replication),
    })
}

fn refusal_json(refusal: &Refusal) -> Value {
    json!({"code": refusal.code(), "message": refusal.to_string(), "who": refusal.who().code()})
}

/// The result of a run as JSON.
pub(crate) fn applied_json(
    connect: &Connect,
    applied: &Applied,
    waiting: &[Waiting],
    variables: &[(String, String)],
) -> Value {
    let mut value = plan_json(connect, &applied.plan, &[]);
    let waits =
        |waiting: &Waiting| json!({"for": waiting.code(), "message": waiting.to_string(), "who": waiting.who().code()});
    let failure = |(key, error): &(Key, setup::error::SetupError)| json!({"object": key.to_string(), "code": error.code(), "message": error.to_string(), "who": error.who().code()});
    let changed: Vec<Value> = applied
        .changed
        .iter()
        .map(|(key, change)| json!({"object": key.to_string(), "change": change.as_str()}))
        .collect();
    value["changed"] = json!(changed);
    value["waiting"] = waiting.iter().map(waits).collect();
    value["failures"] = applied.failures.iter().map(failure).collect();
    value["variables"] =
        variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into();
    value
}

/// Prints the end of a run: a table of the objects, the problems, the awaited conditions and the next commands.
pub(crate) fn result(applied: &Applied, inlet: Option<&str>, waiting: &[Waiting], next: &[String]) {
    let rows: Vec<Vec<String>> = applied
        .plan
        .objects
        .iter()
        .map(|object| {
            let state = match applied.changed.get(&object.key) {
                Some(Change::Create) => "created",
                Some(_) => "changed",
                None if object.steps.is_empty() => "unchanged",
                None => "waiting",
            };
            vec![state.to_owned(), object.key.to_string(), object.id.clone().unwrap_or_default()]
        })
        .collect();
    output::table(&["state", "object", "id"], &rows).iter().for_each(|line| output::line(line));
    if let Some(inlet) = inlet {
        output::line(&format!("inlet: {inlet}"));
    }
    for (key, error) in &applied.failures {
        output::problem(&format!("{key} failed ({}): {error}", error.who()));
    }
    applied.plan.problems.iter().for_each(|problem| output::problem(problem));
    for waiting in waiting {
        output::line(&format!("waiting for ({}): {waiting}", waiting.who()));
    }
    if !next.is_empty() {
        output::line("next:");
        next.iter().for_each(|command| output::line(&format!("  {command}")));
    }
}

/// The topics with the differences of their settings, as JSON.
pub(crate) fn topics_json(connect: &Connect, plan: &Plan, done: Option<&Applied>) -> Value {
    let topics = plan.objects.iter().filter(|object| object.key.target() == Target::Kafka);
    let topic = |object: &Planned| {
        let state = match (object.change, done) {
            (_, Some(applied)) if applied.changed.contains_key(&object.key) => "created",
            (Change::Create, _) => "would create",
            _ => "exists",
        };
        let setting = |difference: &Difference| {
            json!({
                "setting": difference.field, "current": difference.current, "wanted": difference.wanted,
                "breaksAPromise": difference.field != "retention.ms",
            })
        };
        json!({
            "topic": object.name,
            "state": state,
            "partitions": partitions(connect, object, done),
            "differences": object.differences.iter().map(setting).collect::<Vec<_>>(),
        })
    };
    topics.map(topic).collect()
}

/// Returns a function that shows the progress of a change: with JSON, on standard error only.
pub(super) fn reporter(json: bool) -> impl FnMut(Progress) + Send {
    move |progress: Progress| match progress {
        Progress::Looking(_) | Progress::Begins { .. } => output::progress(&progress.to_string()),
        Progress::Done { .. } | Progress::Waits { .. } | Progress::Failed { .. } => {
            output::progress_done();
            if json { output::problem(&progress.to_string()) } else { output::line(&progress.to_string()) }
        }
    }
}
