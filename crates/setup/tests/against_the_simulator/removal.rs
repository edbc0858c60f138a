//! Tests of `destroy`: the order of the removals, and the objects that are kept.

use platform_sim::{ControlFault, ControlFaultKind};
use serde_json::json;
use setup::desired::{Desired, Permit};
use setup::destroy::{
    Confirmation, DestroyPermit, DestroyPlan, Drained, Traffic, Undrained, destroy, disable_webhooks, plan_destroy,
};
use setup::journal::Journal;
use setup::look;
use setup::observed::Observed;

use crate::world::{World, desired, fresh, signs, stage};

async fn planned(world: &World, traffic: Option<Traffic>, permit: &DestroyPermit) -> DestroyPlan {
    let dev = stage("dev");
    let wish = desired(&dev);
    let journal = Journal::read(&world.state_file(&dev), Some(&dev)).unwrap();
    let observed = look(&wish, &world.clients(&dev), &journal, &mut |_| {}).await.unwrap();
    plan_destroy(&wish, &observed, traffic, permit)
}

async fn carried_out(world: &World, plan: &DestroyPlan) {
    let dev = stage("dev");
    let mut journal = Journal::open(&world.state_file(&dev), Some(&dev)).unwrap();
    disable_webhooks(plan, &world.clients(&dev), &mut |_| {}).await.unwrap();
    let drained = Drained::check(None, &DestroyPermit::default()).unwrap();
    destroy(plan, &drained, &world.clients(&dev), &mut journal, &mut |_| {}).await.unwrap();
}

/// Plans the removal of a part of the set-up in a sandbox. `part` removes all other parts from the desired state.
async fn planned_in(world: &World, sandbox: &str, part: impl Fn(&mut Desired), permit: &DestroyPermit) -> DestroyPlan {
    let stage = stage(sandbox);
    let mut wish = desired(&stage);
    part(&mut wish);
    let journal = Journal::read(&world.state_file(&stage), Some(&stage)).unwrap();
    let observed = look(&wish, &world.clients(&stage), &journal, &mut |_| {}).await.unwrap();
    plan_destroy(&wish, &observed, None, permit)
}

fn removals(plan: &DestroyPlan) -> Vec<String> {
    plan.removals.iter().map(|removal| removal.text().split(['`', '(']).next().unwrap().trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_marked_objects_are_removed_in_dependency_order_except_namespaces() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    world.change_webhook(&webhook["id"], json!({"disabled": false})).await;
    world.create_webhook("theirs", "https://other.example.com/", true).await;
    let plan = planned(&world, None, &DestroyPermit::default()).await;
    assert_eq!(
        removals(&plan),
        [
            "disable the webhook default 1",
            "remove the flow",
            "remove the target connection",
            "remove the source connection",
            "remove the base connection",
            "remove the dataset",
            "remove the schema",
            "remove the field group",
            "remove the webhook default 1",
        ]
    );
    assert!(plan.notes[0].contains("add kafka to --only"), "{plan:?}");
    let forever: Vec<_> = plan.kept.iter().filter(|kept| kept.forever).map(|kept| kept.id.as_str()).collect();
    assert_eq!(forever, ["CustomerioID", "CustomerioCioID"]);
    // The removal also completes if the network drops every second response.
    let when = platform_sim::Break::After;
    world.simulator.add_control_fault(ControlFault::from(ControlFaultKind::Reset { when }).every(2));
    carried_out(&world, &plan).await;
    let names: Vec<_> = world.webhooks(130_001).await.iter().map(|webhook| webhook["name"].clone()).collect();
    assert_eq!(names, ["theirs"]);
    let clear = format!("http://{}/admin/control/faults", world.simulator.address());
    world.http.delete(clear).send().await.unwrap().error_for_status().unwrap();
    assert!(planned(&world, None, &DestroyPermit::default()).await.removals.is_empty());
    let again = world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    assert_eq!(signs(&again.plan), "=9 ~1", "all objects can be created again");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_enables_a_webhook_again_that_an_interrupted_removal_disabled() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    let name = webhook["name"].as_str().unwrap().trim_end_matches(" (not enabled yet)").to_owned();
    world.change_webhook(&webhook["id"], json!({"disabled": false, "name": name})).await;
    let mut plan = planned(&world, None, &DestroyPermit::default()).await;
    // Keeps only the first step, as if the run was killed after it.
    plan.removals.truncate(1);
    carried_out(&world, &plan).await;
    let left = world.webhooks(130_001).await[0].clone();
    assert_eq!((&left["disabled"], &left["name"]), (&json!(true), &json!(format!("{name} (not enabled yet)"))));
    let again = world.plan(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    assert!(again.refusals.is_empty(), "{:?}", again.refusals);
    assert_eq!(signs(&again), "=9 ~1", "the webhook is enabled again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_our_mark_is_not_removed() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    world.change_webhook(&webhook["id"], json!({"name": "renamed without the mark"})).await;
    let plan = planned(&world, None, &DestroyPermit::default()).await;
    assert!(removals(&plan).iter().all(|removal| !removal.contains("webhook")), "{plan:?}");
    let kept = |plan: &DestroyPlan| plan.kept.iter().any(|kept| kept.reason.contains("has no mark of this tool"));
    assert!(kept(&plan) && plan.refusals.is_empty(), "{plan:?}");
    // An enabled webhook sends events, so the flow is still needed.
    world.change_webhook(&webhook["id"], json!({"disabled": false})).await;
    let plan = planned(&world, None, &DestroyPermit::default()).await;
    assert!(kept(&plan) && plan.refusals[0].contains("is enabled, and its name has no mark"), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_refused_if_two_webhooks_carry_our_mark() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let name = world.webhooks(130_001).await[0]["name"].as_str().unwrap().to_owned();
    world.create_webhook(&format!("copy of {name}"), "https://copy.example.com/", true).await;
    let plan = planned(&world, None, &DestroyPermit::default()).await;
    assert!(plan.refusals.iter().any(|refusal| refusal.contains("several objects carry the mark")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_the_workspace_cannot_be_read() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let journal = Journal::read(&world.state_file(&dev), Some(&dev)).unwrap();
    let clients = world.clients_with(&dev, "sim-secret", "sim-app-key-eu");
    let observed = look(&desired(&dev), &clients, &journal, &mut |_| {}).await.unwrap();
    let plan = plan_destroy(&desired(&dev), &observed, None, &DestroyPermit::default());
    assert!(plan.refusals.iter().any(|refusal| refusal.contains("its workspace cannot be read")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_only_the_webhook_of_a_production_sandbox_needs_a_confirmation() {
    let world = World::start(fresh()).await;
    let prod = stage("prod");
    let confirmed = Permit { confirmed_sandbox: Some("prod".to_owned()), ..Permit::default() };
    world.apply(&desired(&prod), &world.clients(&prod), &confirmed).await.unwrap();
    let webhook_only = |wish: &mut Desired| wish.platform = None;
    let plan = planned_in(&world, "prod", webhook_only, &DestroyPermit::default()).await;
    assert_eq!(plan.confirmation, Some(Confirmation::Production("prod".to_owned())));
    assert!(plan.refusals[0].contains("PRODUCTION") && plan.refusals[0].contains("--confirm-sandbox prod"), "{plan:?}");
    for (name, is_right) in [("dev", false), ("prod", true)] {
        let permit = DestroyPermit { confirmed_sandbox: Some(name.to_owned()), ..DestroyPermit::default() };
        let plan = planned_in(&world, "prod", webhook_only, &permit).await;
        assert_eq!((removals(&plan).len(), plan.refusals.is_empty()), (1, is_right), "{plan:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_may_be_a_production_sandbox_needs_a_confirmation() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let wish = Desired { platform: None, ..desired(&dev) };
    let mut clients = world.clients(&dev);
    clients.platform = None;
    let journal = Journal::read(&world.state_file(&dev), Some(&dev)).unwrap();
    let observed = look(&wish, &clients, &journal, &mut |_| {}).await.unwrap();
    let refusals = |confirmed: Option<&str>| {
        let confirmed_sandbox = confirmed.map(str::to_owned);
        plan_destroy(&wish, &observed, None, &DestroyPermit { confirmed_sandbox, ..DestroyPermit::default() }).refusals
    };
    assert!(refusals(None)[0].contains("not known whether the sandbox `dev` is a PRODUCTION sandbox"));
    assert!(refusals(Some("dev")).is_empty());
    let plan = planned_in(&world, "dev", |wish| wish.platform = None, &DestroyPermit::default()).await;
    assert_eq!((plan.confirmation, plan.refusals.len()), (None, 0), "a development sandbox needs no confirmation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_with_records_and_its_schema_are_kept_unless_delete_data_is_given() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let applied = world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let objects = applied.observed.platform.as_ref().unwrap().objects.as_ref().unwrap();
    let mut with_records = applied.observed.clone();
    let dataset = &mut with_records.platform.as_mut().unwrap().objects.as_mut().unwrap().datasets[0];
    assert_eq!(objects.datasets[0].last_batch_id, None);
    dataset.last_batch_id = Some("01ABC".to_owned());
    let plan = |permit: &DestroyPermit| plan_destroy(&desired(&dev), &with_records, None, permit);
    let kept = plan(&DestroyPermit::default());
    let ids: Vec<_> = kept.kept.iter().map(|kept| kept.key.kind()).collect();
    assert_eq!(ids, ["dataset", "schema", "field group", "identity namespace", "identity namespace"]);
    assert!(kept.kept[0].reason.contains("--delete-data \"Customer.io Message Events\""));
    let named =
        DestroyPermit { delete_data: Some("Customer.io Message Events".to_owned()), ..DestroyPermit::default() };
    assert!(removals(&plan(&named)).contains(&"remove the dataset".to_owned()));
    let wrong = DestroyPermit { delete_data: Some("Other".to_owned()), ..DestroyPermit::default() };
    assert!(!removals(&plan(&wrong)).contains(&"remove the dataset".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_refused_while_records_are_in_the_pipeline() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let refusals =
        async |traffic: Traffic, permit: DestroyPermit| planned(&world, Some(traffic), &permit).await.refusals;
    assert!(refusals(Traffic::default(), DestroyPermit::default()).await.is_empty());
    let busy = Traffic { lag: 7, members: 2, unresolved: 3 };
    let said = refusals(busy, DestroyPermit::default()).await;
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("not delivered yet") && said[1].contains("--abandon 3"), "{said:?}");
    assert!(said[2].contains("stop the services first"), "{said:?}");
    let abandon = DestroyPermit { abandon: 3, ..DestroyPermit::default() };
    assert!(refusals(Traffic { unresolved: 3, ..Traffic::default() }, abandon).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_disables_the_webhook_before_the_pipeline_is_drained() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    world.change_webhook(&webhook["id"], json!({"disabled": false})).await;
    let busy = Traffic { lag: 7, members: 2, unresolved: 0 };
    let plan = planned(&world, Some(busy), &DestroyPermit::default()).await;
    assert!(plan.refusals.is_empty(), "{plan:?}");
    assert_eq!(plan.undrained, [Undrained::Lag(7), Undrained::Members(2)]);
    disable_webhooks(&plan, &world.clients(&dev), &mut |_| {}).await.unwrap();
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true);
    let requests = world.simulator.control_requests();
    assert!(requests.iter().all(|request| request.method != "DELETE"), "the flow is still needed");
    // `destroy` cannot be called without a `Drained`.
    assert!(Drained::check(Some(busy), &DestroyPermit::default()).is_err());
    let again = planned(&world, Some(busy), &DestroyPermit::default()).await;
    assert_eq!((again.refusals.len(), again.disables_webhooks()), (2, false), "{again:?}");
    assert!(again.not_in(&plan).is_empty(), "{again:?}");
    let waits = DestroyPermit { waits: true, ..DestroyPermit::default() };
    let waiting = planned(&world, Some(busy), &waits).await;
    assert_eq!((waiting.refusals.len(), waiting.undrained.len()), (0, 2), "{waiting:?}");
    // Waiting does not resolve dead letters.
    let unresolved = Traffic { unresolved: 1, ..busy };
    assert!(planned(&world, Some(unresolved), &waits).await.refusals[0].contains("--abandon 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_received_records_while_the_pipeline_was_drained_stays() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let applied = world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let plan = |observed: &Observed| plan_destroy(&desired(&dev), observed, None, &DestroyPermit::default());
    let confirmed = plan(&applied.observed);
    let mut later = applied.observed;
    let objects = later.platform.as_mut().unwrap().objects.as_mut().unwrap();
    objects.datasets[0].last_batch_id = Some("01ABC".to_owned());
    let again = plan(&later);
    assert!(again.not_in(&confirmed).is_empty(), "fewer removals need no new confirmation");
    let more = confirmed.not_in(&again);
    assert!(more[0].starts_with("remove the dataset `"), "{more:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_while_a_missing_permission_hides_the_objects() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.apply(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let fault = ControlFaultKind::MissingPermission { permission: "view-schemas".into() };
    world.simulator.add_control_fault(fault.into());
    let plan = planned(&world, None, &DestroyPermit::default()).await;
    assert!(plan.refusals.iter().any(|refusal| refusal.contains("nothing is removed")), "{plan:?}");
}
