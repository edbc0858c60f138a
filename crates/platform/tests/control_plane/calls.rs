//! Tests every call, paging, and objects that become visible late.

use std::time::Duration;

use platform::control::{
    ControlClient, ErrorKind, FlowAction, IdType, Kind, NewDescriptor, NewNamespace, Object, Patch, SandboxState,
    Visibility, all_sandboxes, base_connection, base_connections, create_base_connection, create_dataset,
    create_descriptor, create_field_group, create_namespace, create_schema, dataset, datasets, datasets_named,
    delete_dataset, delete_descriptor, delete_object, delete_resource, descriptor, descriptors, effective_policies,
    flow, flow_runs, flows, namespace, namespaces, patch_resource, permission_reference, replace_field_group,
    replace_schema, resource, resources, sandbox, source_connection, source_connections, stats, target_connection,
    target_connections, update_dataset, update_object, usable_sandboxes,
};
use platform_sim::{ControlFault, ControlFaultKind, ControlOptions};
use serde_json::json;
use tokio::time::Instant;

use crate::setup::{self, fresh, kind, start, start_with};

#[tokio::test]
async fn sandboxes_are_listed_with_type_state_and_region() {
    let setup = start(ControlOptions { page_size: 1, ..fresh() }).await;
    for call in [usable_sandboxes(), all_sandboxes()] {
        let found = setup.client.list(&call).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.is_production())).collect();
        assert_eq!(found, [("dev", false), ("prod", true)], "over two pages");
    }
    let creating = ControlFaultKind::SandboxState { sandbox: "dev".to_owned(), state: "creating".to_owned() };
    setup.simulator.add_control_fault(creating.into());
    let dev = setup.client.send(&sandbox("dev")).await.unwrap();
    assert_eq!((dev.state, dev.region.as_deref()), (SandboxState::Creating, Some("VA7")));
    assert!(matches!(kind(setup.client.send(&sandbox("none")).await), ErrorKind::NotFound(_)));
}

#[tokio::test]
async fn missing_permissions_are_visible_in_the_effective_policies() {
    let setup = start(fresh()).await;
    let reference = setup.client.send(&permission_reference()).await.unwrap();
    assert!(reference.permissions.contains("manage-schemas") && reference.resource_types.contains("datasets"));
    let ask = effective_policies(&["/permissions/manage-schemas", "/resource-types/schemas"]);
    assert!(setup.client.send(&ask).await.unwrap().allows("/permissions/manage-schemas", "write"));
    let missing = ControlFaultKind::MissingPermission { permission: "manage-schemas".to_owned() };
    setup.simulator.add_control_fault(missing.into());
    let policies = setup.client.send(&ask).await.unwrap();
    assert!(!policies.allows_any("/permissions/manage-schemas"));
    assert!(policies.allows("/resource-types/schemas", "read") && !policies.allows("/resource-types/schemas", "write"));
    let create = create_field_group(&setup::field_group("Fields", &["a"]));
    let error = setup.client.send(&create).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Forbidden(_)), "{error}");
    assert!(
        error.to_string().contains("manage-schemas") && error.to_string().contains("an Adobe administrator"),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_namespace_with_the_same_code_is_refused() {
    let setup = start(fresh()).await;
    let new = NewNamespace {
        code: "CioId".to_owned(),
        name: "Customer.io".to_owned(),
        description: "d".to_owned(),
        id_type: IdType::CrossDevice,
    };
    let created = setup.client.send(&create_namespace(&new)).await.unwrap();
    assert_eq!((created.custom, created.id_type.as_ref()), (Some(true), Some(&IdType::CrossDevice)));
    assert_eq!(setup.client.send(&namespace(created.id.unwrap())).await.unwrap(), created);
    let all = setup.client.send(&namespaces()).await.unwrap();
    assert!(all.contains(&created) && all.iter().any(|one| one.code == "Email" && one.custom == Some(false)));
    let ErrorKind::AlreadyExists { problem, .. } = kind(setup.client.send(&create_namespace(&new)).await) else {
        panic!("a code was taken twice")
    };
    assert!(problem.has_code("INTEGRATION_CODE_EXISTS"));
    assert!(matches!(kind(setup.client.send(&namespace(1)).await), ErrorKind::NotFound(_)));
}

#[tokio::test]
async fn field_groups_and_schemas_are_created_changed_and_removed() {
    let setup = start(fresh()).await;
    let client = &setup.client;
    assert_eq!(client.send(&stats()).await.unwrap().tenant_id, "acme");
    let group = client.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    let schema = client.send(&create_schema(&setup::schema("Events", &group.id))).await.unwrap();
    assert!(group.id.starts_with("https://ns.adobe.com/acme/mixins/"));
    assert_eq!(schema.references(), [setup::EVENT_CLASS, group.id.as_str()]);

    // A title is unique over both kinds, and the error contains the id of the object with this title.
    for error in [
        kind(client.send(&create_field_group(&setup::field_group("Events", &["a"]))).await),
        kind(client.send(&create_schema(&setup::schema("Events", &group.id))).await),
    ] {
        let ErrorKind::AlreadyExists { existing, .. } = error else { panic!("{error}") };
        assert_eq!(existing.as_deref(), Some(schema.id.as_str()));
    }

    let wider = setup::field_group("Fields", &["a", "b"]);
    let read = client.send(&resource(Kind::FieldGroup, &group.id, false)).await.unwrap();
    let replaced = client.send(&replace_field_group(&group.id, &wider, read.etag.as_deref())).await.unwrap();
    assert_eq!(replaced.version.as_deref(), Some("1.1"));
    let full = client.send(&resource(Kind::Schema, schema.alt_id.as_deref().unwrap(), true)).await.unwrap();
    let fields = &full.document["properties"]["_acme"]["properties"]["customerio"]["properties"];
    assert!(fields.get("a").is_some() && fields.get("b").is_some(), "{fields}");

    let renamed = patch_resource(Kind::Schema, &schema.id, &[Patch::replace("/title", json!("New"))], None);
    assert_eq!(client.send(&renamed).await.unwrap().title, "New");
    let body = platform::control::SchemaBody { title: "Newer".to_owned(), ..setup::schema("x", &group.id) };
    assert_eq!(client.send(&replace_schema(&schema.id, &body, None)).await.unwrap().title, "Newer");
    let found = client.list(&resources(Kind::Schema, Some("Newer"))).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [schema.id.as_str()]);
    assert!(client.list(&resources(Kind::Schema, Some("Events"))).await.unwrap().is_empty());

    let error = kind(client.send(&delete_resource(Kind::FieldGroup, &group.id)).await);
    assert!(matches!(error, ErrorKind::Rejected { status: 400, .. }), "the field group is in use: {error}");
    client.send(&delete_resource(Kind::Schema, &schema.id)).await.unwrap();
    client.send(&delete_resource(Kind::FieldGroup, &group.id)).await.unwrap();
    assert!(matches!(kind(client.send(&resource(Kind::Schema, &schema.id, false)).await), ErrorKind::NotFound(_)));
}

#[tokio::test]
async fn a_schema_in_use_accepts_only_additional_fields() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let client = &setup.client;
    let other = setup::field_group("Fields", &["other"]);
    let error = client.send(&replace_field_group(&connected.field_group.id, &other, None)).await.unwrap_err();
    assert!(error.to_string().contains("metric"), "{error}");
    let union = [Patch::add("/meta:immutableTags", json!(["union"]))];
    let schema = client.send(&patch_resource(Kind::Schema, &connected.schema.id, &union, None)).await.unwrap();
    assert!(schema.is_profile_enabled());
    let remove = [Patch::remove("/meta:immutableTags")];
    let error = kind(client.send(&patch_resource(Kind::Schema, &connected.schema.id, &remove, None)).await);
    assert!(matches!(error, ErrorKind::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn descriptors_are_created_listed_and_removed() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let client = &setup.client;
    let new = NewDescriptor {
        source_schema: connected.schema.id.clone(),
        source_property: "/_acme/customerio/metric".to_owned(),
        namespace: "Email".to_owned(),
        is_primary: true,
    };
    let created = client.send(&create_descriptor(&new)).await.unwrap();
    assert_eq!(client.send(&descriptor(&created.id)).await.unwrap(), created);
    assert_eq!(client.list(&descriptors()).await.unwrap(), std::slice::from_ref(&created));
    let second = NewDescriptor { source_property: "/_acme/customerio/other".to_owned(), ..new.clone() };
    let unknown = NewDescriptor { namespace: "None".to_owned(), is_primary: false, ..second.clone() };
    for wrong in [second, unknown] {
        let error = kind(client.send(&create_descriptor(&wrong)).await);
        assert!(matches!(error, ErrorKind::Rejected { status: 400, .. }), "{error}");
    }
    client.send(&delete_descriptor(&created.id)).await.unwrap();
    assert!(client.list(&descriptors()).await.unwrap().is_empty());
}

#[tokio::test]
async fn datasets_are_created_tagged_and_removed() {
    let setup = start(fresh()).await;
    let client = &setup.client;
    let group = client.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    let schema = client.send(&create_schema(&setup::schema("Events", &group.id))).await.unwrap();
    let id = client.send(&create_dataset(&setup::dataset("Events", &schema.id))).await.unwrap();
    let read = client.send(&dataset(&id)).await.unwrap();
    assert_eq!((read.name.as_str(), read.error_diagnostics), ("Events", Some(true)));
    assert_eq!(read.tags["customerio-aep"], ["mark"]);
    assert!(read.schema.as_ref().unwrap().is_same(&platform::control::SchemaRef::version_1(&schema.id)));

    let profile = [Patch::add("/tags/unifiedProfile", json!(["enabled:true"]))];
    let error = client.send(&update_dataset(&id, &profile, read.etag.as_deref())).await.unwrap_err();
    assert!(error.to_string().contains("To enable profile datasets"), "{error}");
    let union = [Patch::add("/meta:immutableTags", json!(["union"]))];
    client.send(&patch_resource(Kind::Schema, &schema.id, &union, None)).await.unwrap();
    assert_eq!(client.send(&update_dataset(&id, &profile, read.etag.as_deref())).await.unwrap(), id);
    assert!(client.send(&dataset(&id)).await.unwrap().is_profile_enabled());
    assert_eq!(client.list(&datasets_named("Events")).await.unwrap().len(), 1);
    assert!(client.list(&datasets_named("Event")).await.unwrap().is_empty());
    client.send(&delete_dataset(&id)).await.unwrap();
    assert!(matches!(kind(client.send(&dataset(&id)).await), ErrorKind::NotFound(_)));
}

#[tokio::test]
async fn an_http_api_connection_is_created_changed_and_removed() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let client = &setup.client;
    let base = client.send(&base_connection(&connected.base)).await.unwrap();
    let params = base.params().unwrap();
    assert_eq!((params.data_type.as_deref(), params.authentication_required), (Some("xdm"), Some(true)));
    let inlet = params.inlet_url.clone().unwrap();
    assert!(inlet.starts_with(&format!("{}/collection/sim", setup.simulator.ims_url())), "{inlet}");
    let source = client.send(&source_connection(&connected.source)).await.unwrap();
    assert_eq!(source.base_connection_id.as_deref(), Some(connected.base.as_str()));
    let target = client.send(&target_connection(&connected.target)).await.unwrap();
    assert_eq!(target.dataset_id(), Some(connected.dataset.as_str()));
    let read = client.send(&flow(&connected.flow)).await.unwrap();
    assert!(read.is_enabled() && read.inlet_url() == Some(inlet.as_str()));

    let named = Some(("name", "base"));
    assert_eq!(client.list(&base_connections(named)).await.unwrap(), [base]);
    assert!(client.list(&base_connections(Some(("name", "other")))).await.unwrap().is_empty());
    assert_eq!(client.list(&source_connections(Some(("name", "source")))).await.unwrap(), [source]);
    assert_eq!(
        client.list(&target_connections(Some(("params.dataSetId", &connected.dataset)))).await.unwrap(),
        [target]
    );

    let rename = [Patch::replace("/name", json!("renamed"))];
    let changed = update_object(Object::Flow, &connected.flow, read.etag.as_deref().unwrap(), &rename);
    client.send(&changed).await.unwrap();
    assert_eq!(client.list(&flows(Some(("name", "renamed")))).await.unwrap()[0].id, connected.flow);
    client.set_flow_state(&connected.flow, FlowAction::Disable).await.unwrap();
    assert!(!client.send(&flow(&connected.flow)).await.unwrap().is_enabled());
    assert!(client.list(&flow_runs(&connected.flow)).await.unwrap().is_empty());

    let in_use = kind(client.send(&delete_object(Object::BaseConnection, &connected.base)).await);
    assert!(matches!(&in_use, ErrorKind::Rejected { problem, .. } if problem.has_code("1418-400")), "{in_use}");
    for (object, id) in [
        (Object::Flow, &connected.flow),
        (Object::TargetConnection, &connected.target),
        (Object::SourceConnection, &connected.source),
        (Object::BaseConnection, &connected.base),
    ] {
        client.send(&delete_object(object, id)).await.unwrap();
    }
    assert!(client.list(&flows(None)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flow_action_refused_with_400_is_sent_again_with_sub_op() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    setup.simulator.add_control_fault(ControlFault::status(400, 1).on("POST", "/action"));
    setup.client.set_flow_state(&connected.flow, FlowAction::Disable).await.unwrap();
    let sent: Vec<_> =
        setup.requests("POST", "/action").into_iter().map(|request| (request.path, request.status)).collect();
    assert!(sent[0].0.ends_with("?op=DISABLE") && sent[0].1 == 400, "{sent:?}");
    assert!(sent[1].0.ends_with("?op=DISABLE&subOp=APPLY") && sent[1].1 == 200, "{sent:?}");
}

#[tokio::test]
async fn lists_are_read_over_all_pages() {
    let setup = start(ControlOptions { page_size: 2, ..fresh() }).await;
    let client = &setup.client;
    let mut groups = Vec::new();
    for number in 0..5 {
        let body = setup::field_group(&format!("Fields & more {number}"), &["a"]);
        groups.push(client.send(&create_field_group(&body)).await.unwrap().id);
        client.send(&create_base_connection(&setup::base(&format!("base {number}")))).await.unwrap();
    }
    let schema = client.send(&create_schema(&setup::schema("Events", &groups[0]))).await.unwrap();
    for number in 0..5 {
        client.send(&create_dataset(&setup::dataset(&format!("set {number}"), &schema.id))).await.unwrap();
    }
    let found = client.list(&resources(Kind::FieldGroup, None)).await.unwrap();
    assert_eq!(found.into_iter().map(|one| one.id).collect::<Vec<_>>(), groups);
    let found = client.list(&base_connections(None)).await.unwrap();
    let names: Vec<_> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["base 0", "base 1", "base 2", "base 3", "base 4"]);
    let found = client.list(&datasets()).await.unwrap();
    let names: Vec<_> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["set 0", "set 1", "set 2", "set 3", "set 4"]);
    assert_eq!(setup.requests("GET", "/connections").len(), 3, "pages of two");
}

#[tokio::test]
async fn a_link_to_another_server_is_not_followed() {
    let setup = start(ControlOptions { page_size: 1, ..fresh() }).await;
    setup.simulator.add_control_fault(ControlFaultKind::ForeignLinks.into());
    let error = setup.client.list(&usable_sandboxes()).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::BadLink(_)) && error.to_string().contains("elsewhere.example"), "{error}");
}

#[tokio::test]
async fn next_page_links_that_form_a_loop_end_with_an_error() {
    let setup = start(fresh()).await;
    let body = Some(r#"{"items":[],"_links":{"next":{"href":"/connections?continuationToken=a"}}}"#.to_owned());
    let circle = ControlFaultKind::Status { status: 200, retry_after: None, body };
    setup.simulator.add_control_fault(ControlFault::from(circle).times(5));
    let error = kind(setup.client.list(&base_connections(None)).await);
    assert!(matches!(error, ErrorKind::BadLink(_)), "{error}");
}

async fn find(client: &ControlClient, name: &str, since: Instant) -> Option<String> {
    let call = base_connections(Some(("name", name)));
    client.find_when_visible(&call, |one| one.name == name, since).await.unwrap().map(|one| one.id)
}

#[tokio::test]
async fn calls_that_wait_for_visibility_succeed_when_an_object_appears_late() {
    let setup = start(ControlOptions { visible_after: Duration::from_millis(400), ..fresh() }).await;
    let client = &setup.client;
    let since = Instant::now();
    let group = client.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    assert!(client.list(&resources(Kind::FieldGroup, None)).await.unwrap().is_empty());
    assert!(matches!(kind(client.send(&resource(Kind::FieldGroup, &group.id, false)).await), ErrorKind::NotFound(_)));
    // A reference to an object that is not visible yet is refused too: with 404 by the Schema Registry, else with 400.
    let schema = client.send_when_visible(&create_schema(&setup::schema("Events", &group.id)), since).await.unwrap();
    let since = Instant::now();
    let create = create_dataset(&setup::dataset("Events", &schema.id));
    assert!(matches!(kind(client.send(&create).await), ErrorKind::Rejected { status: 400, .. }));
    let id = client.send_when_visible(&create, since).await.unwrap();
    assert_eq!(client.send_when_visible(&dataset(&id), Instant::now()).await.unwrap().name, "Events");
    assert_eq!(setup.requests("POST", "/dataSets").iter().filter(|request| request.status == 201).count(), 1);

    let since = Instant::now();
    let created = client.send(&create_base_connection(&setup::base("late"))).await.unwrap().id;
    assert_eq!(find(client, "late", since).await, Some(created));
}

#[tokio::test]
async fn waiting_for_visibility_ends_after_the_time_limit() {
    let short = Visibility { within: Duration::from_millis(200), interval: Duration::from_millis(20) };
    let options = ControlOptions { visible_after: Duration::from_secs(3600), ..fresh() };
    let setup = start_with(options, "sim-secret", |settings| settings.visibility = short).await;
    let client = &setup.client;
    let since = Instant::now();
    let group = client.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    let call = create_schema(&setup::schema("Events", &group.id));
    let error = client.send_when_visible(&call, since).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::NotVisible { .. }), "{error}");
    assert!(error.to_string().contains("Adobe's support"), "{error}");
    client.send(&create_base_connection(&setup::base("late"))).await.unwrap();
    assert_eq!(find(client, "late", Instant::now()).await, None);
    // For an object that was created long ago, the list is read only once.
    if let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(1)) {
        let before = setup.simulator.control_requests().len();
        assert_eq!(find(client, "late", long_ago).await, None);
        assert_eq!(setup.simulator.control_requests().len(), before + 1);
    }
}
