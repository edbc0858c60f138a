//! Tests that `setup` recognises its objects after a person has changed them, shows each changed property, and corrects
//! it.

use platform::control::{
    FlowAction, Kind, NewDataset, Object, Patch, SchemaRef, base_connection, create_dataset, delete_dataset,
    delete_object, flow, flow_action, patch_resource, source_connection, target_connection, update_dataset,
    update_object,
};
use serde_json::json;
use setup::apply::Applied;
use setup::desired::Permit;
use setup::destroy::{DestroyPermit, plan_destroy};
use setup::key::Key;
use setup::stage::Stage;

use crate::world::{World, desired, fresh, refused, signs, stage};

/// The objects of Platform that a person can rename.
const RENAMED: [Key; 7] = [
    Key::FieldGroup,
    Key::Schema,
    Key::Dataset,
    Key::BaseConnection,
    Key::SourceConnection,
    Key::TargetConnection,
    Key::Flow,
];

/// Renames an object of the stage, as a person would on Platform's screen.
async fn rename(world: &World, stage: &Stage, key: &Key, id: &str) {
    let client = world.control(stage, "sim-secret", |_| {});
    let named = [Patch::add("/name", json!(format!("renamed {key}")))];
    let titled = [Patch::add("/title", json!(format!("renamed {key}")))];
    let (object, etag) = match key {
        Key::FieldGroup | Key::Schema => {
            let kind = if *key == Key::Schema { Kind::Schema } else { Kind::FieldGroup };
            client.send(&patch_resource(kind, id, &titled, None)).await.unwrap();
            return;
        }
        Key::Dataset => {
            client.send(&update_dataset(id, &named, None)).await.unwrap();
            return;
        }
        Key::BaseConnection => (Object::BaseConnection, client.send(&base_connection(id)).await.unwrap().etag),
        Key::SourceConnection => (Object::SourceConnection, client.send(&source_connection(id)).await.unwrap().etag),
        Key::TargetConnection => (Object::TargetConnection, client.send(&target_connection(id)).await.unwrap().etag),
        _ => (Object::Flow, client.send(&flow(id)).await.unwrap().etag),
    };
    client.send(&update_object(object, id, &etag.unwrap(), &named)).await.unwrap();
}

fn id_of(applied: &Applied, key: &Key) -> String {
    applied.plan.object(key).unwrap().id.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn renamed_objects_are_recognised_by_their_mark_without_the_state_file() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (desired, clients) = (desired(&dev), world.clients(&dev));
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    for key in &RENAMED {
        rename(&world, &dev, key, &id_of(&applied, key)).await;
    }
    let webhook = world.webhooks(130_001).await[0].clone();
    let name = webhook["name"].as_str().unwrap().replace("Adobe Experience Platform", "renamed");
    world.change_webhook(&webhook["id"], json!({"name": name})).await;
    std::fs::remove_file(world.state_file(&dev)).unwrap();

    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    assert_eq!(signs(&plan), "=9 ~1", "enabling the webhook is the only step");
    for key in &RENAMED {
        assert_eq!(plan.object(key).unwrap().id, Some(id_of(&applied, key)), "{key}");
        assert_eq!(plan.object(key).unwrap().name, format!("renamed {key}"));
    }
    let again = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(again.changed.is_empty(), "{:?}", again.changed);
    let removals = plan_destroy(&desired, &again.observed, None, &DestroyPermit::default()).removals;
    let removed: Vec<Key> = removals.iter().map(setup::destroy::Removal::key).collect();
    assert!(RENAMED.iter().all(|key| removed.contains(key)) && removed.len() == 8, "{removals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_schema_that_no_dataset_refers_to_is_recognised_by_its_mark() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (desired, clients) = (desired(&dev), world.clients(&dev));
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let client = world.control(&dev, "sim-secret", |_| {});
    // Recreates the state of a run that was killed before it created the dataset.
    for (key, object) in [(Key::Flow, Object::Flow), (Key::TargetConnection, Object::TargetConnection)] {
        client.send(&delete_object(object, &id_of(&applied, &key))).await.unwrap();
    }
    client.send(&delete_dataset(&id_of(&applied, &Key::Dataset))).await.unwrap();
    for key in [Key::FieldGroup, Key::Schema] {
        rename(&world, &dev, &key, &id_of(&applied, &key)).await;
    }
    std::fs::remove_file(world.state_file(&dev)).unwrap();
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&plan), "+3 =6 ~1");
    for key in [Key::FieldGroup, Key::Schema] {
        assert_eq!(plan.object(&key).unwrap().id, Some(id_of(&applied, &key)), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_object_with_our_mark_is_refused_whatever_its_name_is() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (desired, clients) = (desired(&dev), world.clients(&dev));
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let copy = NewDataset {
        name: "A copy".to_owned(),
        description: dev.shared_mark().on("a copy"),
        schema: SchemaRef::version_1(&id_of(&applied, &Key::Schema)),
        tags: std::collections::BTreeMap::new(),
    };
    world.control(&dev, "sim-secret", |_| {}).send(&create_dataset(&copy)).await.unwrap();
    let run = world.apply(&desired, &clients, &Permit::default()).await;
    assert_eq!(refused(run), ["several_marked"]);
    let journal = setup::journal::Journal::read(&world.state_file(&dev), Some(&dev)).unwrap();
    let observed = setup::look(&desired, &clients, &journal, &mut |_| {}).await.unwrap();
    let plan = plan_destroy(&desired, &observed, None, &DestroyPermit::default());
    assert!(plan.refusals.iter().any(|refusal| refusal.contains("several objects carry the mark")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_property_that_a_person_changed_is_shown_in_the_plan_and_corrected_by_apply() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (desired, clients) = (desired(&dev), world.clients(&dev));
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let id = |key: Key| applied.plan.object(&key).unwrap().id.clone().unwrap();
    let client = world.control(&dev, "sim-secret", |_| {});
    let off = Patch::add("/enableErrorDiagnostics", json!(false));
    client.send(&update_dataset(&id(Key::Dataset), &[off], None)).await.unwrap();
    client.send(&flow_action(&id(Key::Flow), FlowAction::Disable, false)).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    world.change_webhook(&webhook["id"], json!({"events": ["email_sent"], "full_resolution": true})).await;

    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&plan), "=7 ~3");
    let fields = |key: Key| -> Vec<String> {
        let object = plan.object(&key).unwrap();
        object
            .differences
            .iter()
            .map(|difference| format!("{}: {} -> {}", difference.field, difference.current, difference.wanted))
            .collect()
    };
    assert_eq!(fields(Key::Dataset), ["error diagnostics: off -> on"]);
    assert_eq!(fields(Key::Flow), ["state: disabled -> enabled"]);
    let of_webhook = fields(Key::Webhook(sources::SourceName::default()));
    assert!(of_webhook[0].contains("full_resolution: true -> false"), "{of_webhook:?}");
    assert!(of_webhook[1].contains("1 events") && of_webhook[1].contains("72 events"), "{of_webhook:?}");
    assert!(!plan.changes_live_flow, "a disabled flow receives no events");

    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!((signs(&applied.plan).as_str(), applied.changed.len()), ("=9 ~1", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_field_group_lacks_is_added() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (desired, clients) = (desired(&dev), world.clients(&dev));
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let group = applied.plan.object(&Key::FieldGroup).unwrap().id.clone().unwrap();
    let client = world.control(&dev, "sim-secret", |_| {});
    // Recreates the state of an earlier version of this product. Without a dataset, Platform permits removing a field.
    let dataset = applied.plan.object(&Key::Dataset).unwrap().id.clone().unwrap();
    let flow = applied.plan.object(&Key::Flow).unwrap().id.clone().unwrap();
    let target = applied.plan.object(&Key::TargetConnection).unwrap().id.clone().unwrap();
    client.send(&delete_object(Object::Flow, &flow)).await.unwrap();
    client.send(&delete_object(Object::TargetConnection, &target)).await.unwrap();
    client.send(&delete_dataset(&dataset)).await.unwrap();
    let pointer = "/definitions/customFields/properties/_acme/properties/customerio/properties/link/properties/href";
    client.send(&patch_resource(Kind::FieldGroup, &group, &[Patch::remove(pointer)], None)).await.unwrap();
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    let object = plan.object(&Key::FieldGroup).unwrap();
    assert_eq!(object.change.sign(), '~');
    assert_eq!(object.differences[0].field, "field _acme/customerio/link/href");
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&applied.plan), "=9 ~1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_live_flow_is_changed_only_after_the_sinks_are_stopped() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let (mut desired, clients) = (desired(&dev), world.clients(&dev));
    world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    // Enabling Profile changes the schema.
    desired.platform.as_mut().unwrap().profile = true;
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(plan.changes_live_flow);
    let permanent: Vec<_> = plan.permanent.iter().map(|permanent| permanent.key.kind()).collect();
    assert_eq!(permanent, ["schema", "dataset"]);
    let run = world.apply(&desired, &clients, &Permit::default()).await;
    assert_eq!(refused(run), ["live_flow"]);
    let stopped = Permit { sinks_stopped: true, ..Permit::default() };
    world.apply(&desired, &clients, &stopped).await.unwrap();
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&plan), "=9 ~1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_to_adobes_own_source_is_reported_without_the_query_of_its_url() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.create_webhook("Adobe", "https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=topsecret", true).await;
    let plan = world.plan(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let notes = plan.notes.join("\n");
    assert!(notes.contains("twice") && notes.contains("`Adobe`") && !notes.contains("topsecret"), "{notes}");
}
