//! Tests that the simulator refuses everything that the real service refuses, and every misspelt member.

use serde_json::{Value, json};

use crate::setup::{Connected, EVENT_CLASS, Setup, fresh, start, tokens};

struct Raw {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<Value>,
}

fn raw(method: &'static str, path: impl Into<String>) -> Raw {
    Raw { method, path: path.into(), headers: vec![], body: None }
}

impl Raw {
    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends a request with the common headers; returns status and body.
    async fn send(self, setup: &Setup) -> (u16, Value) {
        let token = tokens(&setup.simulator, "sim-secret").token().await.unwrap();
        let url = format!("{}/data{}", setup.simulator.ims_url(), self.path);
        let mut request = setup.http.request(self.method.parse().unwrap(), url);
        let common = [("x-api-key", "sim-client"), ("x-gw-ims-org-id", "ACME@AdobeOrg"), ("x-sandbox-name", "dev")];
        for (name, value) in common.iter().filter(|(name, _)| !self.headers.iter().any(|(own, _)| own == name)) {
            request = request.header(*name, *value);
        }
        for (name, value) in self.headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        if let Some(body) = self.body {
            request = request.body(body.to_string());
            if !self.headers.iter().any(|(name, _)| *name == "content-type") {
                request = request.header("content-type", "application/json");
            }
        }
        let answer = request.bearer_auth(secrecy::ExposeSecret::expose_secret(&token)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }
}

async fn assert_refused(setup: &Setup, raw: Raw, status: u16, words: &str) {
    let name = format!("{} {}", raw.method, raw.path);
    let (found, body) = raw.send(setup).await;
    assert_eq!(found, status, "{name}: {body}");
    assert!(body.to_string().contains(words), "{name}: no `{words}` in {body}");
}

const REGISTRY: &str = "/foundation/schemaregistry/tenant";
const FLOWS: &str = "/foundation/flowservice";

#[tokio::test]
async fn unknown_paths_methods_and_parameters_are_refused() {
    let setup = start(fresh()).await;
    for (raw, status, words) in [
        (raw("GET", "/foundation/schemaregistry/tenant/classes"), 404, "there is no"),
        (raw("GET", "/foundation/conversion/mappingSets"), 404, "there is no"),
        (raw("GET", "/foundation/catalog/dataSet"), 404, "there is no"),
        (raw("DELETE", "/foundation/catalog/dataSets"), 405, "GET, POST"),
        (raw("PUT", format!("{FLOWS}/flows")), 405, "GET, POST"),
        (raw("POST", "/foundation/access-control/acl/reference"), 405, "GET"),
        (raw("GET", "/foundation/catalog/dataSets?nmae=x"), 400, "nmae"),
        (raw("GET", "/foundation/catalog/dataSets?limit=101"), 400, "limit"),
        (raw("GET", format!("{FLOWS}/flows?propert=name==x")), 400, "propert"),
        (raw("GET", format!("{FLOWS}/flows?limit=1&count=true")), 400, "FLOW-1401-400"),
        (raw("GET", "/core/idnamespace/identities?x=1"), 400, "unknown query parameter"),
    ] {
        assert_refused(&setup, raw, status, words).await;
    }
}

#[tokio::test]
async fn requests_without_the_documented_headers_are_refused() {
    let setup = start(fresh()).await;
    let stats = || raw("GET", "/foundation/schemaregistry/stats");
    for (raw, status, words) in [
        (stats().header("x-api-key", ""), 403, "403000"),
        (stats().header("x-api-key", "other"), 403, "403003"),
        (stats().header("x-gw-ims-org-id", ""), 400, "400003"),
        (stats().header("x-gw-ims-org-id", "OTHER@AdobeOrg"), 403, "403025"),
        (stats().header("x-sandbox-name", ""), 400, "x-sandbox-name"),
        (stats().header("x-sandbox-name", "stage"), 403, "stage"),
        (raw("GET", format!("{FLOWS}/flows")).header("x-sandbox-name", ""), 400, "FLOW-2105-400"),
        (raw("GET", format!("{FLOWS}/flows")).header("x-sandbox-name", "stage"), 404, "FLOW-2100-404"),
        (
            raw("POST", format!("{FLOWS}/flows")).body(json!({})).header("content-type", "text/plain"),
            415,
            "Content-Type",
        ),
    ] {
        assert_refused(&setup, raw, status, words).await;
    }
    let url = format!("{}/data/foundation/schemaregistry/stats", setup.simulator.ims_url());
    assert_eq!(setup.http.get(&url).send().await.unwrap().status(), 403, "no token");
    let answer = setup.http.get(&url).bearer_auth("other").header("x-api-key", "sim-client").send().await.unwrap();
    assert_eq!(answer.status(), 401, "a wrong token");
}

#[tokio::test]
async fn the_schema_registry_requires_its_accept_headers() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let list = || raw("GET", format!("{REGISTRY}/schemas"));
    let one = || raw("GET", format!("{REGISTRY}/schemas/{}", connected.schema.alt_id.as_deref().unwrap()));
    let descriptors = || raw("GET", format!("{REGISTRY}/descriptors"));
    for (raw, status, words) in [
        (list(), 400, "XDM-1006-400"),
        (list().header("accept", "application/vnd.adobe.xed+json; version=1"), 400, "XDM-1006-400"),
        (one(), 406, "Not Acceptable"),
        (one().header("accept", "application/vnd.adobe.xed+json"), 400, "XDM-1007-400"),
        (one().header("accept", "application/vnd.adobe.xed+json; version=2"), 406, "no such version"),
        (one().header("accept", "application/json; version=1"), 400, "XDM-1007-400"),
        (descriptors(), 400, "XDM-1008-400"),
        (descriptors().header("accept", "application/vnd.adobe.xed+json"), 400, "XDM-1008-400"),
    ] {
        assert_refused(&setup, raw, status, words).await;
    }
    let accepted = "application/vnd.adobe.xed-id+json";
    let ordered = raw("GET", format!("{REGISTRY}/schemas?orderby=title&start=A")).header("accept", accepted);
    assert_eq!(ordered.send(&setup).await.1["results"].as_array().unwrap().len(), 1);
    let without_order = raw("GET", format!("{REGISTRY}/schemas?start=A")).header("accept", accepted);
    assert_eq!(
        without_order.send(&setup).await.1["results"],
        json!([]),
        "since 2023, `start` without `orderby` gives an empty list"
    );
}

/// Returns a copy of a body with one member misspelt. `parent` is the JSON Pointer to the object with the member.
fn misspelt(body: &Value, parent: &str, name: &str) -> Value {
    let mut body = body.clone();
    let object = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let value = object.remove(name).unwrap();
    object.insert(format!("{name}X"), value);
    body
}

/// A path, the correct body, and some members of the body, each as JSON Pointer to its parent and its name.
type Body = (String, Value, Vec<(&'static str, &'static str)>);

fn bodies(connected: &Connected) -> Vec<Body> {
    let spec = |id: &str| json!({"id": id, "version": "1.0"});
    let (http_api, lake) = ("bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "c604ff05-7f1a-43c0-8e18-33bf874cb11c");
    let kind = "application/vnd.adobe.xed-full+json;version=1";
    let definition = json!({"type": "object", "properties": {"_acme": {"type": "object", "properties": {"x": {"type": "string", "title": "x"}}}}});
    vec![
        (
            format!("{REGISTRY}/fieldgroups"),
            json!({"title": "T", "description": "d", "type": "object", "meta:intendedToExtend": [EVENT_CLASS],
                "definitions": {"c": definition}, "allOf": [{"$ref": "#/definitions/c"}]}),
            vec![
                ("", "title"),
                ("", "description"),
                ("", "meta:intendedToExtend"),
                ("/definitions/c/properties/_acme/properties/x", "title"),
            ],
        ),
        (
            format!("{REGISTRY}/schemas"),
            json!({"title": "S", "description": "d", "type": "object", "allOf": [{"$ref": EVENT_CLASS}]}),
            vec![("", "title"), ("", "allOf"), ("/allOf/0", "$ref")],
        ),
        (
            format!("{REGISTRY}/descriptors"),
            json!({"@type": "xdm:descriptorIdentity", "xdm:sourceSchema": connected.schema.id, "xdm:sourceVersion": 1,
                "xdm:sourceProperty": "/_acme/customerio/metric", "xdm:namespace": "Email", "xdm:property": "xdm:code", "xdm:isPrimary": false}),
            vec![("", "@type"), ("", "xdm:isPrimary"), ("", "xdm:namespace")],
        ),
        (
            "/core/idnamespace/identities".to_owned(),
            json!({"name": "n", "code": "Code1", "idType": "Cross_device", "description": "d"}),
            vec![("", "name"), ("", "idType"), ("", "description")],
        ),
        (
            "/foundation/catalog/dataSets".to_owned(),
            json!({"name": "n", "schemaRef": {"id": connected.schema.id, "contentType": kind}, "enableErrorDiagnostics": true, "tags": {}}),
            vec![("", "name"), ("", "enableErrorDiagnostics"), ("/schemaRef", "contentType")],
        ),
        (
            format!("{FLOWS}/connections"),
            json!({"name": "n", "connectionSpec": spec(http_api), "auth": {"specName": "Streaming Connection",
                "params": {"sourceId": "s", "dataType": "xdm", "name": "n", "authenticationRequired": true}}}),
            vec![
                ("", "auth"),
                ("/auth", "specName"),
                ("/auth/params", "authenticationRequired"),
                ("/connectionSpec", "version"),
            ],
        ),
        (
            format!("{FLOWS}/sourceConnections"),
            json!({"name": "n", "baseConnectionId": connected.base, "connectionSpec": spec(http_api), "data": {"format": "json"}}),
            vec![("", "baseConnectionId"), ("", "data"), ("/data", "format")],
        ),
        (
            format!("{FLOWS}/targetConnections"),
            json!({"name": "n", "connectionSpec": spec(lake), "params": {"dataSetId": connected.dataset},
                "data": {"format": "json", "schema": {"id": connected.schema.id, "version": kind}}}),
            vec![("/params", "dataSetId"), ("/data/schema", "version"), ("", "data")],
        ),
        (
            format!("{FLOWS}/flows"),
            json!({"name": "n", "flowSpec": spec("d8a6f005-7eaf-4153-983e-e8574508b877"),
                "sourceConnectionIds": [connected.source], "targetConnectionIds": [connected.target]}),
            vec![("", "flowSpec"), ("", "sourceConnectionIds"), ("", "targetConnectionIds")],
        ),
    ]
}

#[tokio::test]
async fn a_misspelt_member_is_refused_in_every_body() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    for (path, body, members) in bodies(&connected) {
        for (parent, name) in members {
            let wrong = raw("POST", path.clone()).body(misspelt(&body, parent, name));
            assert_refused(&setup, wrong, 400, name).await;
        }
        let (status, answer) = raw("POST", path.clone()).body(body).send(&setup).await;
        assert!(matches!(status, 200 | 201), "{path}: {status} {answer}");
    }
}

#[tokio::test]
async fn spellings_that_other_clients_use_are_accepted() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    for (mut path, mut body, _) in bodies(&connected) {
        if path.ends_with("/connections") || path.ends_with("/sourceConnections") {
            body["providerId"] = json!("521eee4d-8cbe-4906-bb48-fb6bd4450033");
        }
        if path.ends_with("/targetConnections") {
            body["data"]["schema"]["version"] = json!("application/vnd.adobe.xed-full+json;version=1.0");
        }
        if path.ends_with("/flows") {
            body["transformations"] = json!([]);
        }
        path.push_str(if path.ends_with("/dataSets") { "?requestDataSource=false" } else { "/" });
        let (status, answer) = raw("POST", path.clone()).body(body).send(&setup).await;
        assert!(matches!(status, 200 | 201), "{path}: {status} {answer}");
    }
    let (status, answer) = raw("GET", format!("{FLOWS}/flows?limit=1&count=False")).send(&setup).await;
    assert_eq!((status, answer["items"].as_array().map(Vec::len)), (200, Some(1)));
    let not_adhoc =
        format!("{REGISTRY}/schemas?property=meta%3Aextends%21%3Dhttps%3A%2F%2Fns.adobe.com%2Fxdm%2Fdata%2Fadhoc");
    let (status, answer) = raw("GET", not_adhoc).header("accept", "application/vnd.adobe.xed+json").send(&setup).await;
    assert_eq!((status, answer["results"].as_array().map(Vec::len)), (200, Some(2)));
}

#[tokio::test]
async fn bodies_with_wrong_references_or_values_are_refused() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let bodies = bodies(&connected);
    let with = |index: usize, pointer: &str, value: Value| {
        let (path, mut body, _) = bodies[index].clone();
        *body.pointer_mut(pointer).unwrap() = value;
        raw("POST", path).body(body)
    };
    let bare = json!({"type": "object", "properties": {"metric": {"type": "string"}}});
    let other = "https://ns.adobe.com/acme/schemas/0";
    for (raw, status, words) in [
        (with(0, "/definitions/c", bare), 400, "you must use a top level field named _acme"),
        (with(0, "/meta:intendedToExtend", json!([])), 400, "classes that exist"),
        (with(0, "/allOf/0/$ref", json!("#/definitions/none")), 400, "not defined"),
        (with(1, "/allOf/0/$ref", json!("https://ns.adobe.com/acme/mixins/0")), 400, "exactly one class"),
        (with(2, "/xdm:sourceSchema", json!(other)), 404, "XDM-1012-404"),
        (with(2, "/xdm:sourceProperty", json!("/_acme/properties/x")), 400, "no `properties`"),
        (with(3, "/code", json!("with-dash")), 400, "INVALID_REQUEST_PARAMS"),
        (with(3, "/idType", json!("Person")), 400, "INVALID_REQUEST_PARAMS"),
        (with(4, "/schemaRef/id", json!(other)), 400, "does not exist"),
        (with(5, "/connectionSpec/id", json!("x")), 400, "connectionSpec.id"),
        (with(5, "/auth/params/sourceId", json!("base")), 409, "exists already"),
        (with(6, "/baseConnectionId", json!("x")), 400, "does not exist"),
        (with(7, "/params/dataSetId", json!("x")), 400, "does not exist"),
        (with(7, "/data/schema/version", json!("application/vnd.adobe.xed-full+json;version=2")), 400, "FLOW-1425-400"),
        (with(7, "/connectionSpec/id", json!("x")), 400, "FLOW-1307-400"),
        (with(8, "/flowSpec/id", json!("c1a19761-d2c7-4702-b9fa-fe91f0613e81")), 400, "flowSpec.id"),
        (with(8, "/sourceConnectionIds", json!(["x"])), 400, "does not exist"),
    ] {
        assert_refused(&setup, raw, status, words).await;
    }
}

#[tokio::test]
async fn flow_service_updates_require_if_match_and_a_json_patch() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let path = format!("{FLOWS}/flows/{}", connected.flow);
    let patch = || json!([{"op": "replace", "path": "/name", "value": "n"}]);
    assert_refused(&setup, raw("PATCH", path.clone()).body(patch()), 400, "FLOW-1403-400").await;
    assert_refused(
        &setup,
        raw("PATCH", path.clone()).header("if-match", "\"old\"").body(patch()),
        412,
        "FLOW-1404-412",
    )
    .await;
    for wrong in [
        json!({"name": "n"}),
        json!([{"op": "replace", "path": "/nmae", "value": "n"}]),
        json!([{"op": "add", "path": "/nmae", "value": "n"}]),
        json!([{"op": "replace", "path": "/flowSpec/id", "value": "n"}]),
        json!([{"op": "replace", "path": "/name", "vaule": "n"}]),
    ] {
        assert_refused(&setup, raw("PATCH", path.clone()).header("if-match", "*").body(wrong), 400, "FLOW-1000-400")
            .await;
    }
    // Adobe's specification uses upper case and a trailing slash.
    let upper = json!([{"op": "REPLACE", "path": "/name", "value": "n"}]);
    assert_eq!(raw("PATCH", format!("{path}/")).header("if-match", "*").body(upper).send(&setup).await.0, 200);
}
