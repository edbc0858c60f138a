//! Schema Registry: the tenant, field groups and schemas.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::control::answer::{Answer, Unreadable, no_content, or_default, text};
use crate::control::paging::{Page, page};
use crate::control::patch::Patch;
use crate::control::request::{Call, Effect, Method, Request, encode};

pub(crate) const BASE: &str = "/data/foundation/schemaregistry";
/// `Accept` header for lists, which contain only ids, titles and versions.
const ACCEPT_LIST: &str = "application/vnd.adobe.xed-id+json";
/// `Accept` header for one resource, with `$ref` and `allOf` as they were written.
const ACCEPT_ONE: &str = "application/vnd.adobe.xed+json; version=1";
/// `Accept` header for one resource, with all fields of the resources that it refers to.
const ACCEPT_FULL: &str = "application/vnd.adobe.xed-full+json; version=1";

/// Tenant of the organisation, as the registry's statistics contain it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stats {
    /// Id of the organisation, `…@AdobeOrg`.
    #[serde(rename = "imsOrg", default)]
    pub ims_org: Option<String>,
    /// Id of the tenant, without a leading underscore.
    #[serde(rename = "tenantId")]
    pub tenant_id: String,
}

/// The kind of a registry resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A field group: fields that schemas can include.
    FieldGroup,
    /// A schema, composed of a class and field groups.
    Schema,
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Self::FieldGroup => "tenant/fieldgroups",
            Self::Schema => "tenant/schemas",
        }
    }

    fn list(self) -> String {
        format!("{BASE}/{}", self.path())
    }

    fn one(self, id: &str) -> String {
        format!("{BASE}/{}/{}", self.path(), encode(id))
    }
}

/// A field group or schema in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResourceSummary {
    /// `$id` of the resource, a URI.
    #[serde(rename = "$id")]
    pub id: String,
    /// Alternative id (`meta:altId`), which needs no encoding in a path.
    #[serde(rename = "meta:altId", default)]
    pub alt_id: Option<String>,
    /// Title, unique over all resources of the sandbox.
    #[serde(default)]
    pub title: String,
    /// Version, such as `1.3`.
    #[serde(default, deserialize_with = "text")]
    pub version: Option<String>,
}

/// A field group or schema with its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// `$id` of the resource, a URI.
    pub id: String,
    /// Alternative id (`meta:altId`), which needs no encoding in a path.
    pub alt_id: Option<String>,
    /// Title, unique over all resources of the sandbox.
    pub title: String,
    /// Description that people see in Platform.
    pub description: Option<String>,
    /// Version, such as `1.3`.
    pub version: Option<String>,
    /// Value of the response's `ETag`, for `If-Match`.
    pub etag: Option<String>,
    /// Time of the last change, in milliseconds since 1970.
    pub changed_at: Option<i64>,
    /// Tags that cannot be removed again. The tag `union` means that the schema is enabled for Profile.
    pub immutable_tags: Vec<String>,
    /// Complete JSON document of the resource.
    pub document: Map<String, Value>,
}

impl Resource {
    /// Whether the schema is enabled for Profile. This cannot be undone.
    #[must_use]
    pub fn is_profile_enabled(&self) -> bool {
        self.immutable_tags.iter().any(|tag| tag == "union")
    }

    /// Returns each `$id` in `allOf`: those of the class and the field groups of a schema.
    #[must_use]
    pub fn references(&self) -> Vec<&str> {
        let all_of = self.document.get("allOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        all_of.iter().filter_map(|part| part.get("$ref").and_then(Value::as_str)).collect()
    }
}

/// A reference of the form `{"$ref": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Target of the reference: a `$id`, or a pointer into the same document.
    #[serde(rename = "$ref")]
    pub to: String,
    /// Type of the target. Only references into the same document have it.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// XDM type of the target. Only references into the same document have it.
    #[serde(rename = "meta:xdmType", default, skip_serializing_if = "Option::is_none")]
    pub xdm_type: Option<String>,
}

/// Body of a request that creates or replaces a field group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldGroupBody {
    /// Title, unique over all resources of the sandbox.
    pub title: String,
    /// Description that people see in Platform.
    pub description: String,
    /// JSON Schema type, always `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `$id` of each class that the field group extends.
    #[serde(rename = "meta:intendedToExtend")]
    pub intended_to_extend: Vec<String>,
    /// Definitions of the fields. The organisation's own fields are below `_{tenant}`.
    pub definitions: Map<String, Value>,
    /// References to the definitions.
    #[serde(rename = "allOf")]
    pub all_of: Vec<Reference>,
}

/// Body of a request that creates or replaces a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaBody {
    /// JSON Schema type, always `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Title, unique over all resources of the sandbox.
    pub title: String,
    /// Description that people see in Platform.
    pub description: String,
    /// References to the class and the field groups.
    #[serde(rename = "allOf")]
    pub all_of: Vec<Reference>,
    /// `["union"]` enables the schema for Profile, which cannot be undone.
    #[serde(rename = "meta:immutableTags", default, skip_serializing_if = "Vec::is_empty")]
    pub immutable_tags: Vec<String>,
}

/// Requests the tenant of the organisation.
#[must_use]
pub fn stats() -> Call<Stats> {
    Call::new(Request::get(format!("{BASE}/stats")), |_, answer| answer.json())
}

/// Lists the organisation's own field groups or schemas in the sandbox, sorted by title. `title` restricts the list to
/// one title.
#[must_use]
pub fn resources(kind: Kind, title: Option<&str>) -> Call<Page<ResourceSummary>> {
    let request = Request::get(kind.list()).accept(ACCEPT_LIST).query("orderby", "title");
    let request = match title {
        Some(title) => request.query("property", &format!("title=={title}")),
        None => request,
    };
    Call::new(request, |_, answer| page(answer, "results"))
}

/// Reads one resource by `$id` or `meta:altId`. If `full` is set, the response contains all fields of the resources
/// that it refers to.
#[must_use]
pub fn resource(kind: Kind, id: &str, full: bool) -> Call<Resource> {
    let accept = if full { ACCEPT_FULL } else { ACCEPT_ONE };
    Call::new(Request::get(kind.one(id)).accept(accept), read_resource)
}

/// Creates a field group.
#[must_use]
pub fn create_field_group(body: &FieldGroupBody) -> Call<Resource> {
    Call::new(Request::post(Kind::FieldGroup.list(), to_value(body)), read_resource)
}

/// Creates a schema.
#[must_use]
pub fn create_schema(body: &SchemaBody) -> Call<Resource> {
    Call::new(Request::post(Kind::Schema.list(), to_value(body)), read_resource)
}

/// Replaces a field group. Pass the `ETag` of the last read, if it had one. Adobe does not document whether the
/// registry honours `If-Match`.
#[must_use]
pub fn replace_field_group(id: &str, body: &FieldGroupBody, etag: Option<&str>) -> Call<Resource> {
    replace(Kind::FieldGroup, id, to_value(body), etag)
}

/// Replaces a schema. `etag` is sent as `If-Match`, like in [`replace_field_group`].
#[must_use]
pub fn replace_schema(id: &str, body: &SchemaBody, etag: Option<&str>) -> Call<Resource> {
    replace(Kind::Schema, id, to_value(body), etag)
}

fn replace(kind: Kind, id: &str, body: Value, etag: Option<&str>) -> Call<Resource> {
    let request = Request::new(Method::Put, Effect::Update, kind.one(id)).json(body).if_match(etag);
    Call::new(request, read_resource)
}

/// Changes a resource by JSON Patch. `etag` is sent as `If-Match`, like in [`replace_field_group`].
#[must_use]
pub fn patch_resource(kind: Kind, id: &str, patches: &[Patch], etag: Option<&str>) -> Call<Resource> {
    let request = Request::new(Method::Patch, Effect::Update, kind.one(id)).json(Patch::body(patches)).if_match(etag);
    Call::new(request, read_resource)
}

/// Removes a resource. Platform refuses this while a dataset, a schema or Profile uses the resource.
#[must_use]
pub fn delete_resource(kind: Kind, id: &str) -> Call<()> {
    Call::new(Request::delete(kind.one(id)), no_content)
}

fn to_value(body: &impl Serialize) -> Value {
    serde_json::to_value(body).expect("text, lists and maps with text keys are always JSON")
}

fn read_resource(_: &Request, answer: &Answer) -> Result<Resource, Unreadable> {
    #[derive(Deserialize)]
    struct Parts {
        #[serde(flatten)]
        summary: ResourceSummary,
        #[serde(default)]
        description: Option<String>,
        #[serde(rename = "meta:immutableTags", default, deserialize_with = "or_default")]
        immutable_tags: Vec<String>,
    }
    let parts: Parts = answer.json()?;
    let document: Map<String, Value> = answer.json()?;
    let metadata = document.get("meta:registryMetadata");
    let changed_at = metadata.and_then(|metadata| metadata.get("repo:lastModifiedDate")).and_then(Value::as_i64);
    let ResourceSummary { id, alt_id, title, version } = parts.summary;
    Ok(Resource {
        id,
        alt_id,
        title,
        description: parts.description,
        version,
        etag: answer.etag.clone(),
        changed_at,
        immutable_tags: parts.immutable_tags,
        document,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_have_the_paths_and_accept_headers_of_the_registry() {
        let id = "https://ns.adobe.com/acme/schemas/1";
        let list = resources(Kind::Schema, Some("Customer.io & co"));
        assert_eq!(
            list.request().to_string(),
            "GET /data/foundation/schemaregistry/tenant/schemas?orderby=title&property=title%3D%3DCustomer.io%20%26%20co"
        );
        assert_eq!(list.request().headers["Accept"], "application/vnd.adobe.xed-id+json");
        let one = resource(Kind::FieldGroup, id, false);
        assert_eq!(
            one.request().path,
            "/data/foundation/schemaregistry/tenant/fieldgroups/https%3A%2F%2Fns.adobe.com%2Facme%2Fschemas%2F1"
        );
        assert_eq!(one.request().headers["Accept"], "application/vnd.adobe.xed+json; version=1");
        assert!(resource(Kind::Schema, id, true).request().headers["Accept"].contains("xed-full"));
        let patch = patch_resource(
            Kind::Schema,
            "_acme.schemas.1",
            &[Patch::add("/meta:immutableTags", json!(["union"]))],
            Some("e"),
        );
        assert_eq!(patch.request().headers["If-Match"], "e");
        assert_eq!(
            patch.request().body,
            Some(json!([{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]))
        );
    }

    #[test]
    fn a_schema_body_has_exactly_the_documented_members() {
        let schema = SchemaBody {
            kind: "object".to_owned(),
            title: "t".to_owned(),
            description: "d".to_owned(),
            all_of: vec![Reference { to: "https://x".to_owned(), kind: None, xdm_type: None }],
            immutable_tags: vec![],
        };
        assert_eq!(
            create_schema(&schema).request().body,
            Some(json!({"type": "object", "title": "t", "description": "d", "allOf": [{"$ref": "https://x"}]}))
        );
        assert!(serde_json::from_value::<SchemaBody>(json!({"type": "object", "titel": "t"})).is_err());
    }

    #[test]
    fn a_resource_is_read_with_its_document() {
        let body = json!({
            "$id": "https://ns.adobe.com/acme/schemas/1", "meta:altId": "_acme.schemas.1", "title": "T", "version": 1.1,
            "allOf": [{"$ref": "https://ns.adobe.com/xdm/context/experienceevent"}, {"x": 1}],
            "meta:immutableTags": ["union"], "meta:registryMetadata": {"repo:lastModifiedDate": 1_635_361_816_961_i64},
        });
        let answer = Answer { etag: Some("v2".to_owned()), body: body.to_string().into(), ..Answer::default() };
        let resource = resource(Kind::Schema, "x", true).read(&answer).unwrap();
        assert_eq!((resource.version.as_deref(), resource.etag.as_deref()), (Some("1.1"), Some("v2")));
        assert_eq!(resource.references(), ["https://ns.adobe.com/xdm/context/experienceevent"]);
        assert!(resource.is_profile_enabled());
        assert_eq!(resource.changed_at, Some(1_635_361_816_961));
    }
}
