//! Tests of `destroy`: the order of the removals, and the objects that are kept.

use platform_sim::{ControlFault, ControlFaultKind};
use serde_json::json;
use setup::desired::Permit;
use setup::destroy::{DestroyPermit, DestroyPlan, Traffic, destroy, plan_destroy};
use setup::journal::Journal;
use setup::look;

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
    destroy(plan, &world.clients(&dev), &mut journal, &mut |_| {}).await.unwrap();
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
    assert_eq!(signs(&again.plan), "=9 ~1", "it can be set up again");
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
    assert!(said[2].contains("--abandon 3"), "{said:?}");
    let abandon = DestroyPermit { abandon: 3, ..DestroyPermit::default() };
    assert!(refusals(Traffic { unresolved: 3, ..Traffic::default() }, abandon).await.is_empty());
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
