//! Tests of existing objects whose `sourceId` or title conflicts with ours: the run ends with a message that names the
//! existing object. If the lists do not contain it, the run first waits until a new object must be visible.

use std::time::Duration;

use platform::control::{NewBaseConnection, create_base_connection, create_schema};
use serde_json::json;
use setup::desired::Permit;
use setup::stage::Stage;

use crate::bad_input::run;
use crate::world::{World, desired, fresh, refused, signs, stage};

/// Creates a base connection with this `sourceId`, as a person would. Returns its id.
async fn base_by_hand(world: &World, stage: &Stage, source_id: &str) -> String {
    let new = NewBaseConnection {
        name: "By hand".to_owned(),
        description: "by hand".to_owned(),
        source_id: source_id.to_owned(),
    };
    world.control(stage, "sim-secret", |_| {}).send(&create_base_connection(&new)).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_id_that_exists_in_another_sandbox_ends_the_run_after_one_wait_for_visibility() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    base_by_hand(&world, &stage("prod"), &dev.source_id()).await;
    let before = world.creates("/flowservice/connections");
    let begun = std::time::Instant::now();
    let error = run(&world, &desired(&dev), &Permit::default()).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "the run waited more than once: {:?}", begun.elapsed());
    let text = error.as_ref().unwrap_err().to_string();
    assert!(text.contains("customerio-aep.dev") && text.contains("in another sandbox"), "{text}");
    assert_eq!(refused(error), ["exists_elsewhere"]);
    assert_eq!(world.creates("/flowservice/connections") - before, 2, "one repetition after the wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_connection_with_our_source_id_and_another_name_is_adopted_only_with_permission() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let id = base_by_hand(&world, &dev, &dev.source_id()).await;
    let error = run(&world, &desired(&dev), &Permit::default()).await;
    let text = error.as_ref().unwrap_err().to_string();
    assert!(text.contains(&id) && text.contains("By hand") && text.contains("--adopt"), "{text}");
    assert_eq!(refused(error), ["source_id_taken"]);
    let adopt = Permit { adopt: true, ..Permit::default() };
    let applied = run(&world, &desired(&dev), &adopt).await.unwrap();
    let base = applied.plan.object(&setup::key::Key::BaseConnection).unwrap();
    assert_eq!((base.change.sign(), base.id.as_deref()), ('=', Some(id.as_str())));
    assert_eq!(signs(&applied.plan), "=9 ~1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_with_the_title_of_our_field_group_ends_the_run_and_is_named_in_the_error() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    // A schema gets the title of our field group. Titles must be unique among schemas and field groups together.
    let title = setup_title(&world, &dev).await;
    let body = json!({"type": "object", "title": title, "description": "by hand",
        "allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}]});
    let body = serde_json::from_value(body).unwrap();
    let id = world.control(&dev, "sim-secret", |_| {}).send(&create_schema(&body)).await.unwrap().id;
    let begun = std::time::Instant::now();
    let error = run(&world, &desired(&dev), &Permit::default()).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "the run waited more than once");
    let text = error.as_ref().unwrap_err().to_string();
    assert!(text.contains(&id) && text.contains("field group") && text.contains("DEPLOYMENT"), "{text}");
    assert_eq!(refused(error), ["exists_elsewhere"]);
    assert_eq!(world.creates("/tenant/fieldgroups"), 2, "one repetition after the wait");
}

/// The title that our field group gets.
async fn setup_title(world: &World, stage: &Stage) -> String {
    let plan = world.plan(&desired(stage), &world.clients(stage), &Permit::default()).await.unwrap();
    plan.object(&setup::key::Key::FieldGroup).unwrap().name.clone()
}
