//! Flow Service: base, source and target connections of the HTTP API source.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::answer::{Answer, Unreadable, no_content, number};
use crate::control::catalog::SchemaRef;
use crate::control::paging::{Page, page};
use crate::control::patch::Patch;
use crate::control::request::{Call, Created, Effect, Method, Request, encode};

pub(crate) const BASE: &str = "/data/foundation/flowservice";
/// Id of the connection specification of the HTTP API source.
pub const HTTP_API_SPEC: &str = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb";
/// Id of the connection specification of the data lake, which is the target.
pub const DATA_LAKE_SPEC: &str = "c604ff05-7f1a-43c0-8e18-33bf874cb11c";
const SPEC_VERSION: &str = "1.0";

/// The id and version of a connection or flow specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRef {
    /// Id of the specification; the same in every organisation.
    pub id: String,
    /// Version of the specification, such as `1.0`.
    #[serde(default)]
    pub version: Option<String>,
}

/// The kinds of objects in Flow Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Base connection: the inlet and its authentication.
    BaseConnection,
    /// Source connection: the message format of a base connection.
    SourceConnection,
    /// Target connection: the dataset and the schema to write.
    TargetConnection,
    /// Flow from a source connection to a target connection.
    Flow,
}

impl Object {
    fn path(self) -> &'static str {
        match self {
            Self::BaseConnection => "connections",
            Self::SourceConnection => "sourceConnections",
            Self::TargetConnection => "targetConnections",
            Self::Flow => "flows",
        }
    }

    pub(crate) fn list(self) -> String {
        format!("{BASE}/{}", self.path())
    }

    pub(crate) fn one(self, id: &str) -> String {
        format!("{BASE}/{}/{}", self.path(), encode(id))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BaseConnection => "base connection",
            Self::SourceConnection => "source connection",
            Self::TargetConnection => "target connection",
            Self::Flow => "flow",
        })
    }
}

/// A base connection, as Flow Service returns it. `auth` contains only the parameters of the HTTP API source, because
/// other sources keep secrets there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BaseConnection {
    /// Id of the base connection.
    pub id: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub name: String,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Version of the object, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// State: `enabled` or another text of Flow Service.
    #[serde(default)]
    pub state: Option<String>,
    /// Connection specification; [`HTTP_API_SPEC`] for the HTTP API source.
    #[serde(rename = "connectionSpec", default)]
    pub spec: Option<SpecRef>,
    /// Authentication and parameters of the inlet.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Time of the last change, in milliseconds since 1970.
    #[serde(rename = "updatedAt", default, deserialize_with = "number")]
    pub updated_at: Option<i64>,
}

/// The authentication part of a base connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Auth {
    /// Name of the authentication specification; `Streaming Connection` for the HTTP API source.
    #[serde(rename = "specName", default)]
    pub spec_name: String,
    /// Parameters of the inlet.
    #[serde(default)]
    pub params: StreamingParams,
}

/// The parameters of a streaming connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StreamingParams {
    /// Id of the source, unique in the organisation.
    #[serde(rename = "sourceId", default)]
    pub source_id: Option<String>,
    /// Format of the messages: `xdm` or `raw`.
    #[serde(rename = "dataType", default)]
    pub data_type: Option<String>,
    /// Whether senders need an access token. If not, anyone who knows the inlet's address can write.
    #[serde(rename = "authenticationRequired", default)]
    pub authentication_required: Option<bool>,
    /// Address of the inlet, which receives the messages.
    #[serde(rename = "inletUrl", default)]
    pub inlet_url: Option<String>,
    /// Id of the inlet.
    #[serde(rename = "inletId", default)]
    pub inlet_id: Option<String>,
}

impl BaseConnection {
    /// Returns the parameters of the inlet, if the response contains them.
    #[must_use]
    pub fn params(&self) -> Option<&StreamingParams> {
        self.auth.as_ref().map(|auth| &auth.params)
    }
}

/// Content of a base connection to create. It uses the HTTP API source with XDM and authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBaseConnection {
    /// Name that people see in Platform.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Id of the source, unique in the organisation.
    pub source_id: String,
}

/// A source connection, as Flow Service returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SourceConnection {
    /// Id of the source connection.
    pub id: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub name: String,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Version of the object, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// State: `enabled` or another text of Flow Service.
    #[serde(default)]
    pub state: Option<String>,
    /// Id of the base connection.
    #[serde(rename = "baseConnectionId", default)]
    pub base_connection_id: Option<String>,
    /// Connection specification; [`HTTP_API_SPEC`] for the HTTP API source.
    #[serde(rename = "connectionSpec", default)]
    pub spec: Option<SpecRef>,
}

/// Content of a source connection to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSourceConnection {
    /// Name that people see in Platform.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Id of the base connection.
    pub base_connection_id: String,
}

/// A target connection, as Flow Service returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetConnection {
    /// Id of the target connection.
    pub id: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub name: String,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Version of the object, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// State: `enabled` or another text of Flow Service.
    #[serde(default)]
    pub state: Option<String>,
    /// Connection specification; [`DATA_LAKE_SPEC`] for the data lake.
    #[serde(rename = "connectionSpec", default)]
    pub spec: Option<SpecRef>,
    #[serde(default)]
    data: Option<TargetData>,
    #[serde(default)]
    params: Option<TargetParams>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetData {
    #[serde(default)]
    schema: Option<TargetSchema>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetSchema {
    id: String,
    /// Content type of the schema. Other services name this field `contentType`.
    #[serde(default)]
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetParams {
    /// Older responses spell this field `datasetId`.
    #[serde(rename = "dataSetId", alias = "datasetId", default)]
    dataset_id: Option<String>,
}

impl TargetConnection {
    /// Returns the id of the dataset that the connection writes to.
    #[must_use]
    pub fn dataset_id(&self) -> Option<&str> {
        self.params.as_ref()?.dataset_id.as_deref()
    }

    /// Returns the schema of the records that the connection writes.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaRef> {
        let schema = self.data.as_ref()?.schema.as_ref()?;
        Some(SchemaRef { id: schema.id.clone(), content_type: schema.version.clone() })
    }
}

/// Content of a target connection to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTargetConnection {
    /// Name that people see in Platform.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Id of the dataset that the connection writes to.
    pub dataset_id: String,
    /// Schema of the dataset, with the same version.
    pub schema: SchemaRef,
}

fn spec(id: &str) -> Value {
    json!({"id": id, "version": SPEC_VERSION})
}

/// Returns the request for all objects, or for the objects with a property such as `("name", "x")` or
/// `("connectionSpec.id", "…")`.
pub(crate) fn list(object: Object, property: Option<(&str, &str)>) -> Request {
    let request = Request::get(object.list());
    match property {
        Some((name, value)) => request.query("property", &format!("{name}=={value}")),
        None => request,
    }
}

/// Reads one object. Flow Service returns it as a list with one entry.
pub(crate) fn one<T: serde::de::DeserializeOwned>(_: &Request, answer: &Answer) -> Result<T, Unreadable> {
    let item = page::<T>(answer, "items")?.items.into_iter().next();
    item.ok_or_else(|| Unreadable("`items` is empty".to_owned()))
}

fn created(_: &Request, answer: &Answer) -> Result<Created, Unreadable> {
    answer.json()
}

/// Lists base connections. `property` restricts the list to a property and its value, such as `("name", "x")`.
#[must_use]
pub fn base_connections(property: Option<(&str, &str)>) -> Call<Page<BaseConnection>> {
    Call::new(list(Object::BaseConnection, property), |_, answer| page(answer, "items"))
}

/// Reads one base connection.
#[must_use]
pub fn base_connection(id: &str) -> Call<BaseConnection> {
    Call::new(Request::get(Object::BaseConnection.one(id)), one)
}

/// Creates a base connection of the HTTP API source, for XDM and with authentication.
#[must_use]
pub fn create_base_connection(new: &NewBaseConnection) -> Call<Created> {
    let body = json!({
        "name": new.name,
        "description": new.description,
        "connectionSpec": spec(HTTP_API_SPEC),
        "auth": {
            "specName": "Streaming Connection",
            "params": {
                "sourceId": new.source_id,
                "dataType": "xdm",
                "name": new.name,
                "authenticationRequired": true,
            },
        },
    });
    Call::new(Request::post(Object::BaseConnection.list(), body), created)
}

/// Lists source connections. `property` restricts the list to a property and its value, such as `("name", "x")`.
#[must_use]
pub fn source_connections(property: Option<(&str, &str)>) -> Call<Page<SourceConnection>> {
    Call::new(list(Object::SourceConnection, property), |_, answer| page(answer, "items"))
}

/// Reads one source connection.
#[must_use]
pub fn source_connection(id: &str) -> Call<SourceConnection> {
    Call::new(Request::get(Object::SourceConnection.one(id)), one)
}

/// Creates a source connection of the HTTP API source.
#[must_use]
pub fn create_source_connection(new: &NewSourceConnection) -> Call<Created> {
    let body = json!({
        "name": new.name,
        "description": new.description,
        "baseConnectionId": new.base_connection_id,
        "connectionSpec": spec(HTTP_API_SPEC),
        "data": {"format": "json"},
    });
    Call::new(Request::post(Object::SourceConnection.list(), body), created)
}

/// Lists target connections. `property` restricts the list to a property and its value, such as `("name", "x")`.
#[must_use]
pub fn target_connections(property: Option<(&str, &str)>) -> Call<Page<TargetConnection>> {
    Call::new(list(Object::TargetConnection, property), |_, answer| page(answer, "items"))
}

/// Reads one target connection.
#[must_use]
pub fn target_connection(id: &str) -> Call<TargetConnection> {
    Call::new(Request::get(Object::TargetConnection.one(id)), one)
}

/// Creates a target connection to a dataset of the data lake.
#[must_use]
pub fn create_target_connection(new: &NewTargetConnection) -> Call<Created> {
    let body = json!({
        "name": new.name,
        "description": new.description,
        "connectionSpec": spec(DATA_LAKE_SPEC),
        "data": {"format": "json", "schema": {"id": new.schema.id, "version": new.schema.content_type}},
        "params": {"dataSetId": new.dataset_id},
    });
    Call::new(Request::post(Object::TargetConnection.list(), body), created)
}

/// Changes an object by JSON Patch. `etag` is the version that was read. If the object has another version, the
/// response is 412.
#[must_use]
pub fn update_object(object: Object, id: &str, etag: &str, patches: &[Patch]) -> Call<Created> {
    let request = Request::new(Method::Patch, Effect::Update, object.one(id));
    Call::new(request.json(Patch::body(patches)).if_match(Some(etag)), created)
}

/// Removes an object. Flow Service refuses to remove a connection that is in use.
#[must_use]
pub fn delete_object(object: Object, id: &str) -> Call<()> {
    Call::new(Request::delete(object.one(id)), no_content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &Value) -> Answer {
        Answer { status: 200, body: body.to_string().into(), ..Answer::default() }
    }

    #[test]
    fn create_requests_have_the_documented_bodies() {
        let text = |text: &str| text.to_owned();
        let base = NewBaseConnection { name: text("n"), description: text("d"), source_id: text("s") };
        let body = create_base_connection(&base).request().body.clone().unwrap();
        assert_eq!(
            body["auth"]["params"],
            json!({"sourceId": "s", "dataType": "xdm", "name": "n", "authenticationRequired": true})
        );
        assert_eq!(body["connectionSpec"], json!({"id": HTTP_API_SPEC, "version": "1.0"}));
        let source = NewSourceConnection { name: text("n"), description: text("d"), base_connection_id: text("b") };
        let body = create_source_connection(&source).request().body.clone().unwrap();
        assert_eq!((&body["baseConnectionId"], &body["data"]), (&json!("b"), &json!({"format": "json"})));
        let schema = SchemaRef::version_1("https://x");
        let target = NewTargetConnection { name: text("n"), description: text("d"), dataset_id: text("5e7"), schema };
        let body = create_target_connection(&target).request().body.clone().unwrap();
        assert_eq!(body["params"], json!({"dataSetId": "5e7"}));
        assert_eq!(body["data"]["schema"]["version"], "application/vnd.adobe.xed-full+json;version=1");
        assert_eq!(body["connectionSpec"]["id"], DATA_LAKE_SPEC);
    }

    #[test]
    fn an_update_sends_the_etag_as_if_match() {
        let call = update_object(Object::Flow, "f", "\"v1\"", &[Patch::replace("/name", json!("n"))]);
        assert_eq!(call.request().to_string(), "PATCH /data/foundation/flowservice/flows/f");
        assert_eq!(call.request().headers["If-Match"], "\"v1\"");
        assert!(call.request().is_repeatable());
    }

    #[test]
    fn a_base_connection_is_read_without_the_secrets_of_other_sources() {
        let body = json!({"items": [{"id": "1", "name": "s3", "etag": "\"e\"", "updatedAt": 1, "connectionSpec": {"id": "x"},
            "auth": {"specName": "Access Key", "params": {"secretAccessKey": "topsecret", "inletId": "i"}}}]});
        let connection = base_connection("1").read(&answer(&body)).unwrap();
        assert_eq!(connection.params().unwrap().inlet_id.as_deref(), Some("i"));
        assert!(!format!("{connection:?}").contains("topsecret"));
        assert!(base_connection("1").read(&answer(&json!({"items": []}))).is_err());
    }

    #[test]
    fn lists_are_filtered_by_property() {
        let call = target_connections(Some(("name", "a b")));
        assert_eq!(call.request().path, "/data/foundation/flowservice/targetConnections?property=name%3D%3Da%20b");
        let body = json!({"items": [{"id": "t", "params": {"dataSetId": "5e7"}, "data": {"schema": {"id": "https://x", "version": "a;version=1"}}}]});
        let page = call.read(&answer(&body)).unwrap();
        assert_eq!(page.items[0].dataset_id(), Some("5e7"));
        assert_eq!(page.items[0].schema().unwrap().major_version(), Some(1));
    }
}
