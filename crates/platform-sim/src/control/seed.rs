//! Creates the initial state: the sandboxes `dev` and `prod`, each with some of Adobe's standard namespaces. Unless the
//! simulator starts empty, `prod` also has the schema, the dataset and the flow from the settings.

use serde_json::{Map, Value, json};

use crate::control::flow_objects::{DATA_LAKE, HTTP_API, XDM_FLOW};
use crate::control::identity::namespace;
use crate::control::world::{Space, World};
use crate::settings::SimSettings;

const FIELD_GROUP: &str = include_str!("../../../../schemas/xdm/field-group.json");
const SCHEMA: &str = include_str!("../../../../schemas/xdm/schema.json");
const CONTENT_TYPE: &str = "application/vnd.adobe.xed-full+json;version=1";

pub(crate) fn plant(world: &mut World, settings: &SimSettings) {
    for (name, title, kind) in [("dev", "Development", "development"), ("prod", "Prod", "production")] {
        let mut space = Space { title: title.to_owned(), kind, ..Space::default() };
        for (id, code, kind) in [
            (4, "ECID", "COOKIE"),
            (6, "Email", "EMAIL"),
            (7, "Phone", "PHONE"),
            (20_914, "GAID", "DEVICE"),
            (20_915, "IDFA", "DEVICE"),
        ] {
            space.namespaces.seed(&id.to_string(), namespace(id, code, kind, &Map::new(), false));
        }
        world.spaces.insert(name.to_owned(), space);
    }
    if settings.control.fresh {
        return;
    }
    let tenant = world.tenant.clone();
    if let Some(space) = world.spaces.get_mut("prod") {
        schema(space, settings, &tenant);
        flow(space, settings);
    }
}

fn schema(space: &mut Space, settings: &SimSettings, tenant: &str) {
    let group_id = format!("https://ns.adobe.com/{tenant}/mixins/customerio-event-details");
    let read = |text: &str, alt_id: String| {
        let text = text.replace("{TENANT_ID}", tenant).replace("{FIELD_GROUP_ID}", &group_id);
        let mut body: Value = serde_json::from_str(&text).unwrap_or_default();
        body["meta:altId"] = json!(alt_id);
        body
    };
    space.field_groups.seed(&group_id, read(FIELD_GROUP, format!("_{tenant}.mixins.customerio-event-details")));
    let name = settings.schema_id.rsplit('/').next().unwrap_or_default();
    space.schemas.seed(&settings.schema_id, read(SCHEMA, format!("_{tenant}.schemas.{name}")));
    for (id, code) in [(10_000_001, "CustomerioID"), (10_000_002, "CustomerioCioID")] {
        space.namespaces.seed(&id.to_string(), namespace(id, code, "CROSS_DEVICE", &Map::new(), true));
    }
}

fn flow(space: &mut Space, settings: &SimSettings) {
    let name = "Customer.io Message Events";
    let dataset = json!({
        "name": name,
        "schemaRef": {"id": settings.schema_id, "contentType": CONTENT_TYPE},
        "tags": {},
        "enableErrorDiagnostics": true,
    });
    space.datasets.seed(&settings.dataset_id, dataset);
    let spec = |id: &str| json!({"id": id, "version": "1.0"});
    let (base, source, target) = (
        "5104a1ea-0000-4000-a000-000000000001",
        "5104a1ea-0000-4000-a000-000000000002",
        "5104a1ea-0000-4000-a000-000000000003",
    );
    let params = json!({
        "sourceId": "customerio", "dataType": "xdm", "name": name,
        "authenticationRequired": settings.credential.is_some(), "inletId": settings.inlet_id,
    });
    let connection = json!({
        "name": name, "connectionSpec": spec(HTTP_API), "state": "enabled",
        "auth": {"specName": "Streaming Connection", "params": params},
    });
    space.connections.seed(base, connection);
    let connection = json!({
        "name": name, "baseConnectionId": base, "connectionSpec": spec(HTTP_API), "state": "enabled",
        "data": {"format": "json"},
    });
    space.sources.seed(source, connection);
    let connection = json!({
        "name": name, "connectionSpec": spec(DATA_LAKE), "state": "enabled",
        "data": {"format": "json", "schema": {"id": settings.schema_id, "version": CONTENT_TYPE}},
        "params": {"dataSetId": settings.dataset_id},
    });
    space.targets.seed(target, connection);
    let flow = json!({
        "name": name, "flowSpec": spec(XDM_FLOW), "state": "enabled",
        "sourceConnectionIds": [source], "targetConnectionIds": [target],
    });
    space.flows.seed("5104a1ea-0000-4000-a000-000000000004", flow);
}
