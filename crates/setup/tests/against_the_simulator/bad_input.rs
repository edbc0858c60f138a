//! Tests of bad input for `setup apply`: each problem ends the run with a message that contains the cause and the
//! remedy. After the problem is fixed, another run completes the set-up.

use std::time::Duration;

use platform::control::{
    ControlSettings, NewDataset, NewFlow, NewNamespace, NewSourceConnection, SchemaRef, create_dataset, create_flow,
    create_namespace, create_schema, create_source_connection,
};
use platform_sim::{ControlFault, ControlFaultKind, ControlOptions};
use serde_json::json;
use setup::apply::Applied;
use setup::clients::Clients;
use setup::desired::{Desired, Permit};
use setup::error::SetupError;
use setup::stage::Stage;

use crate::world::{World, desired, fresh, refused, signs, stage};

fn text<T: std::fmt::Debug>(run: Result<T, SetupError>) -> String {
    run.unwrap_err().to_string()
}

/// Asserts that no request wrote to Platform or Customer.io.
pub(crate) async fn assert_untouched(world: &World) {
    let requests = world.simulator.control_requests();
    let writes: Vec<_> = requests
        .iter()
        .filter(|request| request.method != "GET" && !request.path.ends_with("effective-policies"))
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert!(world.webhooks(130_001).await.is_empty());
}

pub(crate) async fn run(world: &World, desired: &Desired, permit: &Permit) -> Result<Applied, SetupError> {
    world.apply(desired, &world.clients(desired.stage.as_ref().unwrap()), permit).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_inactive_sandbox_is_refused_before_the_first_write() {
    let world = World::start(fresh()).await;
    let error = text(run(&world, &desired(&stage("stage")), &Permit::default()).await);
    assert!(error.contains("no sandbox `stage`") && error.contains("dev, prod"), "{error}");
    let state = ControlFaultKind::SandboxState { sandbox: "dev".into(), state: "creating".into() };
    world.simulator.add_control_fault(state.into());
    let error = text(run(&world, &desired(&stage("dev")), &Permit::default()).await);
    assert!(error.contains("`dev` is in the state `creating`") && error.contains("wait"), "{error}");
    assert_untouched(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_production_sandbox_must_be_confirmed_by_name() {
    let world = World::start(fresh()).await;
    let desired = desired(&stage("prod"));
    for confirmed in [None, Some("dev".to_owned())] {
        let permit = Permit { confirmed_sandbox: confirmed, ..Permit::default() };
        let run = run(&world, &desired, &permit).await;
        assert!(run.as_ref().unwrap_err().to_string().contains("PRODUCTION sandbox"));
        assert_eq!(refused(run), ["production_not_confirmed"]);
    }
    assert_untouched(&world).await;
    let permit = Permit { confirmed_sandbox: Some("prod".to_owned()), ..Permit::default() };
    run(&world, &desired, &permit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_organisation_or_tenant_is_refused_before_the_first_write() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let clients = world.clients_with(&dev, "wrong", "sim-app-key");
    let error = text(world.apply(&desired(&dev), &clients, &Permit::default()).await);
    assert!(error.contains("IMS refuses the credential") && error.contains("IMS_CLIENT_SECRET"), "{error}");
    let other = Stage { organisation: "OTHER@AdobeOrg".parse().unwrap(), ..dev.clone() };
    let error = text(run(&world, &desired(&other), &Permit::default()).await);
    assert!(error.contains("403025") && error.contains("PLATFORM_IMS_ORG"), "{error}");
    let mut wish = desired(&dev);
    wish.platform.as_mut().unwrap().tenant = Some("other".to_owned());
    assert_eq!(refused(run(&world, &wish, &Permit::default()).await), ["wrong_tenant"]);
    assert_untouched(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_stops_the_run_before_the_first_write() {
    for (permission, title) in [
        ("manage-schemas", "Manage Schemas"),
        ("manage-datasets", "Manage Datasets"),
        ("manage-sources", "Manage Sources"),
        ("manage-identity-namespaces", "Manage Identity Namespaces"),
    ] {
        let world = World::start(fresh()).await;
        world.simulator.add_control_fault(ControlFaultKind::MissingPermission { permission: permission.into() }.into());
        let applied = run(&world, &desired(&stage("dev")), &Permit::default()).await.unwrap();
        let forbidden = applied.forbidden.unwrap().to_string();
        assert!(forbidden.contains(title) && forbidden.contains("Adobe administrator"), "{forbidden}");
        assert!(forbidden.contains("15 minutes"), "{forbidden}");
        let writes = world.simulator.control_requests();
        assert!(
            writes.iter().all(|request| request.method == "GET" || request.path.ends_with("effective-policies")),
            "{permission}"
        );
        let clear = format!("http://{}/admin/control/faults", world.simulator.address());
        world.http.delete(clear).send().await.unwrap().error_for_status().unwrap();
        let applied = run(&world, &desired(&stage("dev")), &Permit::default()).await.unwrap();
        assert!(applied.forbidden.is_none(), "the role has been granted");
        assert_eq!(signs(&applied.plan), "=9 ~1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_lost_during_a_run_stops_the_run_and_the_next_run_completes_the_set_up() {
    let world = World::start(fresh()).await;
    world.simulator.add_control_fault(ControlFault::status(403, 1).on("POST", "/catalog/dataSets"));
    let applied = run(&world, &desired(&stage("dev")), &Permit::default()).await.unwrap();
    let forbidden = applied.forbidden.unwrap().to_string();
    assert!(forbidden.contains("HTTP 403") && forbidden.contains("role"), "{forbidden}");
    assert_eq!(world.creates("/flowservice/flows"), 0);
    let applied = run(&world, &desired(&stage("dev")), &Permit::default()).await.unwrap();
    assert!(applied.forbidden.is_none());
    assert_eq!(signs(&applied.plan), "=9 ~1");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_of_the_app_api_key_has_its_own_message() {
    for (key, words) in [
        ("sim-app-key-eu", "CUSTOMERIO_APP_API_KEY is wrong"),
        ("sim-track-key", "Track API"),
        ("sim-app-key-send-only", "scope leaves this out"),
        ("sim-app-key-elsewhere", "allowed IP addresses"),
    ] {
        let world = World::start(fresh()).await;
        let dev = stage("dev");
        let clients = world.clients_with(&dev, "sim-secret", key);
        let applied = world.apply(&desired(&dev), &clients, &Permit::default()).await.unwrap();
        let problem = applied.plan.problems.join(" ");
        assert!(problem.contains(words), "{key}: {problem}");
        assert_eq!(signs(&applied.plan), "=9", "Platform is set up in spite of the wrong App API key");
        let applied = run(&world, &desired(&dev), &Permit::default()).await.unwrap();
        assert_eq!((signs(&applied.plan).as_str(), world.webhooks(130_001).await.len()), ("=9 ~1", 1));
    }
}

/// Creates a schema with the title of our schema and without our mark, as a person would. `profile` enables it for
/// Profile. Returns the id of the schema.
async fn schema_by_hand(world: &World, stage: &Stage, profile: bool) -> String {
    let mut body = serde_json::Map::new();
    let all_of = json!([{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}]);
    for (name, value) in [
        ("type", json!("object")),
        ("title", json!("Customer.io Message Events")),
        ("description", json!("by hand")),
        ("allOf", all_of),
    ] {
        body.insert(name.to_owned(), value);
    }
    if profile {
        body.insert("meta:immutableTags".to_owned(), json!(["union"]));
    }
    let body = serde_json::from_value(body.into()).unwrap();
    world.control(stage, "sim-secret", |_| {}).send(&create_schema(&body)).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_with_our_title_is_adopted_only_with_the_permit_to_adopt() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let id = schema_by_hand(&world, &dev, false).await;
    let error = text(run(&world, &desired(&dev), &Permit::default()).await);
    assert!(error.contains(&id) && error.contains("--adopt") && error.contains("DEPLOYMENT"), "{error}");
    assert_eq!(world.creates("/tenant/fieldgroups"), 0, "no object is created");
    let adopt = Permit { adopt: true, ..Permit::default() };
    let plan = world.plan(&desired(&dev), &world.clients(&dev), &adopt).await.unwrap();
    let schema = plan.object(&setup::key::Key::Schema).unwrap();
    assert_eq!((schema.change.sign(), schema.id.as_deref()), ('~', Some(id.as_str())));
    run(&world, &desired(&dev), &adopt).await.unwrap();
    // After the adoption, the schema carries our mark, so another run does not need this permit.
    let applied = run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    assert_eq!((signs(&applied.plan).as_str(), world.creates("/tenant/schemas")), ("=9 ~1", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn adopting_a_schema_that_is_enabled_for_profile_is_refused() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    schema_by_hand(&world, &dev, true).await;
    let adopt = Permit { adopt: true, ..Permit::default() };
    let run_1 = run(&world, &desired(&dev), &adopt).await;
    assert!(
        run_1.as_ref().unwrap_err().to_string().contains("add --enable-profile dev;"),
        "the option needs its value"
    );
    assert_eq!(refused(run_1), ["profile_enabled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_another_spelling_or_type_is_refused() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let client = world.control(&dev, "sim-secret", |_| {});
    for (code, kind) in [("customerioid", "Cross_device"), ("CustomerioCioID", "Non_people")] {
        let new = NewNamespace {
            code: code.to_owned(),
            name: code.to_owned(),
            description: "by hand".to_owned(),
            id_type: kind.to_owned().into(),
        };
        client.send(&create_namespace(&new)).await.unwrap();
    }
    let run = run(&world, &desired(&dev), &Permit::default()).await;
    let error = run.as_ref().unwrap_err().to_string();
    assert!(error.contains("exists as `customerioid`") && error.contains("Non_people"), "{error}");
    assert_eq!(refused(run), ["namespace_spelling", "namespace_unfit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_datasets_with_our_mark_are_refused() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let applied = run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let id = |key| applied.plan.object(&key).unwrap().id.clone().unwrap();
    let (schema, dataset) = (id(setup::key::Key::Schema), id(setup::key::Key::Dataset));
    let copy = NewDataset {
        name: "Customer.io Message Events".to_owned(),
        description: dev.shared_mark().on("a copy"),
        schema: SchemaRef::version_1(&schema),
        tags: std::collections::BTreeMap::new(),
    };
    let copy = world.control(&dev, "sim-secret", |_| {}).send(&create_dataset(&copy)).await.unwrap();
    let run = run(&world, &desired(&dev), &Permit::default()).await;
    let error = run.as_ref().unwrap_err().to_string();
    assert!(error.contains(&copy) && error.contains(&dataset) && error.contains("Nothing is changed"), "{error}");
    assert_eq!(refused(run), ["several_marked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_with_another_source_connection_cannot_be_adopted() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    let applied = run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let id = |key| applied.plan.object(&key).unwrap().id.clone().unwrap();
    let client = world.control(&dev, "sim-secret", |_| {});
    let source = NewSourceConnection {
        name: "other".to_owned(),
        description: "by hand".to_owned(),
        base_connection_id: id(setup::key::Key::BaseConnection),
    };
    let source = client.send(&create_source_connection(&source)).await.unwrap().id;
    let flow_id = id(setup::key::Key::Flow);
    client.send(&platform::control::delete_object(platform::control::Object::Flow, &flow_id)).await.unwrap();
    let flow = NewFlow {
        name: "Customer.io Message Events".to_owned(),
        description: "by hand".to_owned(),
        source_connection_id: source,
        target_connection_id: id(setup::key::Key::TargetConnection),
    };
    client.send(&create_flow(&flow)).await.unwrap();
    let adopt = Permit { adopt: true, ..Permit::default() };
    assert_eq!(refused(run(&world, &desired(&dev), &adopt).await), ["cannot_change", "live_flow"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_412_the_object_is_read_again_and_updated() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let client = world.control(&dev, "sim-secret", |_| {});
    let plan = world.plan(&desired(&dev), &world.clients(&dev), &Permit::default()).await.unwrap();
    let dataset = plan.object(&setup::key::Key::Dataset).unwrap().id.clone().unwrap();
    let off = platform::control::Patch::add("/enableErrorDiagnostics", json!(false));
    client.send(&platform::control::update_dataset(&dataset, &[off], None)).await.unwrap();
    world.simulator.add_control_fault(ControlFault::status(412, 1).on("PATCH", "/catalog/dataSets"));
    let applied = run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    assert_eq!(signs(&applied.plan), "=9 ~1");
    assert_eq!(applied.changed.len(), 1, "{:?}", applied.changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_for_a_title_in_use_contains_the_id_of_the_other_resource() {
    let world = World::start(ControlOptions { page_size: 100, ..fresh() }).await;
    let dev = stage("dev");
    // This schema has the title of our field group. A title must be unique among all schemas and field groups.
    let body = json!({
        "type": "object", "title": "Customer.io Message Event Details", "description": "by hand",
        "allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}],
    });
    let body = serde_json::from_value(body).unwrap();
    let id = world.control(&dev, "sim-secret", |_| {}).send(&create_schema(&body)).await.unwrap().id;
    // After "already exists", the run polls the lists for as long as a new object can be missing from them. A shorter
    // time makes the test fast.
    let soon = |settings: &mut ControlSettings| settings.visibility.within = Duration::from_millis(50);
    let clients = Clients { platform: Some(world.control(&dev, "sim-secret", soon)), ..world.clients(&dev) };
    let error = text(world.apply(&desired(&dev), &clients, &Permit::default()).await);
    assert!(
        error.contains(&id) && error.contains("field group") && error.contains("set another DEPLOYMENT"),
        "{error}"
    );
}
