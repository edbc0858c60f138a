//! Tests that changes by a person are shown by property and corrected.

use platform::control::{
    FlowAction, Kind, Object, Patch, delete_dataset, delete_object, flow_action, patch_resource, update_dataset,
};
use serde_json::json;
use setup::desired::Permit;
use setup::key::Key;

use crate::world::{World, desired, fresh, signs, stage};

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_by_property_and_corrected() {
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
    assert_eq!(crate::world::refused(run), ["live_flow"]);
    let stopped = Permit { sinks_stopped: true, ..Permit::default() };
    world.apply(&desired, &clients, &stopped).await.unwrap();
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&plan), "=9 ~1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_sends_to_adobes_own_source_is_reported_without_its_query() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.create_webhook("Adobe", "https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=topsecret", true).await;
    let plan = world.plan(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let notes = plan.notes.join("\n");
    assert!(notes.contains("twice") && notes.contains("`Adobe`") && !notes.contains("topsecret"), "{notes}");
}
