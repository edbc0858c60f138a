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
/// Connection specification of the HTTP API source.
pub const HTTP_API_SPEC: &str = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb";
/// Connection specification of the data lake, the target.
pub const DATA_LAKE_SPEC: &str = "c604ff05-7f1a-43c0-8e18-33bf874cb11c";
const SPEC_VERSION: &str = "1.0";

/// The id and version of a connection or flow specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRef {
    /// The id, which is the same in every organisation.
    pub id: String,
    /// The version.
    #[serde(default)]
    pub version: Option<String>,
}

/// The kinds of objects in Flow Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A base connection.
    BaseConnection,
    /// A source connection.
    SourceConnection,
    /// A target connection.
    TargetConnection,
    /// A flow.
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

/// One base connection. Of `auth.params` only the members of the HTTP API source are read: other sources keep secrets
/// there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BaseConnection {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// `enabled` or another state.
    #[serde(default)]
    pub state: Option<String>,
    /// Its specification.
    #[serde(rename = "connectionSpec", default)]
    pub spec: Option<SpecRef>,
    /// Its authentication and parameters.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// When it was changed, in milliseconds since 1970.
    #[serde(rename = "updatedAt", default, deserialize_with = "number")]
    pub updated_at: Option<i64>,
}

/// The authentication part of a base connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Auth {
    /// `Streaming Connection` for the HTTP API source.
    #[serde(rename = "specName", default)]
    pub spec_name: String,
    /// Its parameters.
    #[serde(default)]
    pub params: StreamingParams,
}

/// The parameters of a streaming connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StreamingParams {
    /// Unique in the organisation.
    #[serde(rename = "sourceId", default)]
    pub source_id: Option<String>,
    /// `xdm` or `raw`.
    #[serde(rename = "dataType", default)]
    pub data_type: Option<String>,
    /// Whether senders need an access token. If not, anyone with the address can write.
    #[serde(rename = "authenticationRequired", default)]
    pub authentication_required: Option<bool>,
    /// The address for messages.
    #[serde(rename = "inletUrl", default)]
    pub inlet_url: Option<String>,
    /// The inlet's id.
    #[serde(rename = "inletId", default)]
    pub inlet_id: Option<String>,
}

impl BaseConnection {
    /// The parameters of a streaming connection.
    #[must_use]
    pub fn params(&self) -> Option<&StreamingParams> {
        self.auth.as_ref().map(|auth| &auth.params)
    }
}

/// A base connection of the HTTP API source, for XDM and with authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBaseConnection {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Unique in the organisation.
    pub source_id: String,
}

/// One source connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SourceConnection {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// `enabled` or another state.
    #[serde(default)]
    pub state: Option<String>,
    /// Its base connection.
    #[serde(rename = "baseConnectionId", default)]
    pub base_connection_id: Option<String>,
    /// Its specification.
    #[serde(rename = "connectionSpec", default)]
    pub spec: Option<SpecRef>,
}

/// A source connection to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSourceConnection {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its base connection.
    pub base_connection_id: String,
}

/// One target connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetConnection {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// `enabled` or another state.
    #[serde(default)]
    pub state: Option<String>,
    /// Its specification.
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
    /// Other services name this field `contentType`.
    #[serde(default)]
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TargetParams {
    /// Also written `datasetId` in older answers.
    #[serde(rename = "dataSetId", alias = "datasetId", default)]
    dataset_id: Option<String>,
}

impl TargetConnection {
    /// The dataset it writes to.
    #[must_use]
    pub fn dataset_id(&self) -> Option<&str> {
        self.params.as_ref()?.dataset_id.as_deref()
    }

    /// The schema it writes.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaRef> {
        let schema = self.data.as_ref()?.schema.as_ref()?;
        Some(SchemaRef { id: schema.id.clone(), content_type: schema.version.clone() })
    }
}

/// A target connection to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTargetConnection {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// The dataset it writes to.
    pub dataset_id: String,
    /// The dataset's schema, with the same version.
    pub schema: SchemaRef,
}

fn spec(id: &str) -> Value {
    json!({"id": id, "version": SPEC_VERSION})
}

/// Lists all objects, or those whose property has this value, such as `("name", "x")` or `("connectionSpec.id", "…")`.
pub(crate) fn list(object: Object, property: Option<(&str, &str)>) -> Request {
    let request = Request::get(object.list());
    match property {
        Some((name, value)) => request.query("property", &format!("{name}=={value}")),
        None => request,
    }
}

/// The response about one object is a list with one entry.
pub(crate) fn one<T: serde::de::DeserializeOwned>(_: &Request, answer: &Answer) -> Result<T, Unreadable> {
    let item = page::<T>(answer, "items")?.items.into_iter().next();
    item.ok_or_else(|| Unreadable("`items` is empty".to_owned()))
}

fn created(_: &Request, answer: &Answer) -> Result<Created, Unreadable> {
    answer.json()
}

/// Base connections; `property` as in `("name", "x")`.
#[must_use]
pub fn base_connections(property: Option<(&str, &str)>) -> Call<Page<BaseConnection>> {
    Call::new(list(Object::BaseConnection, property), |_, answer| page(answer, "items"))
}

/// One base connection.
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

/// Source connections; `property` as in `("name", "x")`.
#[must_use]
pub fn source_connections(property: Option<(&str, &str)>) -> Call<Page<SourceConnection>> {
    Call::new(list(Object::SourceConnection, property), |_, answer| page(answer, "items"))
}

/// One source connection.
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

/// Target connections; `property` as in `("name", "x")`.
#[must_use]
pub fn target_connections(property: Option<(&str, &str)>) -> Call<Page<TargetConnection>> {
    Call::new(list(Object::TargetConnection, property), |_, answer| page(answer, "items"))
}

/// One target connection.
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

/// Changes an object by JSON Patch. `etag` is the version that was read; if the object has another version, the
/// response is 412.
#[must_use]
pub fn update_object(object: Object, id: &str, etag: &str, patches: &[Patch]) -> Call<Created> {
    let request = Request::new(Method::Patch, Effect::Update, object.one(id));
    Call::new(request.json(Patch::body(patches)).if_match(Some(etag)), created)
}

/// Removes an object. A connection that is in use is refused.
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
    fn requests_that_create_have_the_documented_bodies() {
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
    fn updates_name_the_version_that_they_change() {
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
