//! Datasets of Platform's Catalog service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::control::answer::{Answer, Unreadable, no_content, number, or_default};
use crate::control::paging::{Page, offset_page};
use crate::control::patch::Patch;
use crate::control::request::{Call, Effect, Method, Request, encode};

const BASE: &str = "/data/foundation/catalog/dataSets";

/// A reference to a version of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRef {
    /// `$id` of the schema, a URI.
    pub id: String,
    /// Content type with the version, such as `application/vnd.adobe.xed-full+json;version=1`. Adobe uses several
    /// spellings.
    #[serde(rename = "contentType", default)]
    pub content_type: String,
}

impl SchemaRef {
    /// Returns a reference to version 1 of a schema, in the form that datasets and messages use.
    #[must_use]
    pub fn version_1(id: &str) -> Self {
        Self { id: id.to_owned(), content_type: "application/vnd.adobe.xed-full+json;version=1".to_owned() }
    }

    /// Returns the major version that the content type contains.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        let (_, version) = self.content_type.split_once("version=")?;
        version.trim().split('.').next()?.trim_matches('"').parse().ok()
    }

    /// Whether both references mean the same version of the same schema. The content type has several spellings, so
    /// only its major version is compared.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.major_version() == other.major_version()
    }
}

/// A dataset, as Catalog returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dataset {
    /// Id of the dataset.
    #[serde(default)]
    pub id: String,
    /// Name of the dataset. Several datasets can have the same name.
    #[serde(default)]
    pub name: String,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Schema of the dataset's records.
    #[serde(rename = "schemaRef", default)]
    pub schema: Option<SchemaRef>,
    /// Tags: a list of values for each key.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// Whether Platform keeps failed rows with their reasons.
    #[serde(rename = "enableErrorDiagnostics", default)]
    pub error_diagnostics: Option<bool>,
    /// Id of the last batch that wrote to the dataset, if there is one.
    #[serde(rename = "lastBatchId", default)]
    pub last_batch_id: Option<String>,
    /// Creation time, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub created: Option<i64>,
    /// Time of the last change, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub updated: Option<i64>,
    /// Value of the response's `ETag`, for `If-Match`.
    #[serde(skip)]
    pub etag: Option<String>,
}

impl Dataset {
    /// Whether the dataset is enabled for Profile. The value of the tag may contain a space: `enabled: true`.
    #[must_use]
    pub fn is_profile_enabled(&self) -> bool {
        let values = self.tags.get("unifiedProfile").map(Vec::as_slice).unwrap_or_default();
        values.iter().any(|value| value.replace(' ', "").eq_ignore_ascii_case("enabled:true"))
    }
}

/// Content of a dataset to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDataset {
    /// Name of the dataset.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Schema of the dataset's records.
    pub schema: SchemaRef,
    /// Tags: a list of values for each key. Platform also accepts keys that it does not know.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// Lists all datasets of the sandbox, oldest first.
#[must_use]
pub fn datasets() -> Call<Page<Dataset>> {
    list(Request::get(BASE))
}

/// Lists the datasets with this name, oldest first.
#[must_use]
pub fn datasets_named(name: &str) -> Call<Page<Dataset>> {
    list(Request::get(BASE).query("name", name))
}

fn list(request: Request) -> Call<Page<Dataset>> {
    let request = request.query("orderBy", "asc:created").query("limit", "100");
    Call::new(request, |request, answer| offset_page(request, answer, with_id))
}

fn with_id(id: String, value: Value) -> Result<Dataset, Unreadable> {
    let read = serde_json::from_value::<Dataset>(value);
    let dataset = read.map_err(|_| Unreadable("a dataset is not of the documented form".to_owned()))?;
    Ok(Dataset { id, ..dataset })
}

/// Reads one dataset.
#[must_use]
pub fn dataset(id: &str) -> Call<Dataset> {
    Call::new(Request::get(format!("{BASE}/{}", encode(id))), |_, answer| {
        let body: Map<String, Value> = answer.json()?;
        let (id, value) = body.into_iter().next().ok_or_else(|| Unreadable("it holds no dataset".to_owned()))?;
        Ok(Dataset { etag: answer.etag.clone(), ..with_id(id, value)? })
    })
}

/// Creates a dataset for which Platform keeps failed rows with their reasons. Returns the dataset's id.
#[must_use]
pub fn create_dataset(new: &NewDataset) -> Call<String> {
    let mut body = json!({
        "name": new.name,
        "description": new.description,
        "schemaRef": new.schema,
        "enableErrorDiagnostics": true,
    });
    if !new.tags.is_empty() {
        body["tags"] = json!(new.tags);
    }
    Call::new(Request::post(BASE, body), read_id)
}

/// Changes a dataset by JSON Patch and returns its id. `etag`, if given, is sent as `If-Match`.
#[must_use]
pub fn update_dataset(id: &str, patches: &[Patch], etag: Option<&str>) -> Call<String> {
    let request = Request::new(Method::Patch, Effect::Update, format!("{BASE}/{}", encode(id)));
    let request = request.json(Patch::body(patches)).header("Content-Type", "application/json-patch+json");
    Call::new(request.if_match(etag), read_id)
}

/// Removes a dataset with its records.
#[must_use]
pub fn delete_dataset(id: &str) -> Call<()> {
    Call::new(Request::delete(format!("{BASE}/{}", encode(id))), no_content)
}

/// Reads the id from a response such as `["@/dataSets/5e72608b10f6e318ad2dee0f"]`.
fn read_id(_: &Request, answer: &Answer) -> Result<String, Unreadable> {
    let ids: Vec<String> = answer.json()?;
    let id = ids.first().map(|id| id.rsplit('/').next().unwrap_or(id).to_owned());
    id.filter(|id| !id.is_empty()).ok_or_else(|| Unreadable("it names no dataset".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &Value) -> Answer {
        Answer { status: 200, body: body.to_string().into(), ..Answer::default() }
    }

    #[test]
    fn schema_references_are_compared_by_id_and_major_version() {
        let schema = SchemaRef::version_1("https://x");
        for text in [
            "application/vnd.adobe.xed+json;version=1",
            "application/vnd.adobe.xed-full-notext+json; version=1",
            "application/vnd.adobe.xed-full+json;version=1.0",
            "application/vnd.adobe.xed-full+json; version=\"1\"",
        ] {
            let other = SchemaRef { id: "https://x".to_owned(), content_type: text.to_owned() };
            assert!(schema.is_same(&other), "{text}");
        }
        let newer = SchemaRef { content_type: "a;version=2".to_owned(), ..schema.clone() };
        assert!(!schema.is_same(&newer) && !schema.is_same(&SchemaRef::version_1("https://y")));
    }

    #[test]
    fn the_profile_tag_is_recognised_with_and_without_a_space() {
        for (tag, enabled) in [("enabled:true", true), ("enabled: true", true), ("enabled:false", false)] {
            let body = json!({"5e7": {"name": "n", "tags": {"unifiedProfile": [tag, "isUpsert: true"]}}});
            let dataset = dataset("5e7").read(&answer(&body)).unwrap();
            assert_eq!((dataset.id.as_str(), dataset.is_profile_enabled()), ("5e7", enabled), "{tag}");
        }
    }

    #[test]
    fn create_dataset_returns_the_id_without_its_prefix() {
        let new = NewDataset {
            name: "n".to_owned(),
            description: "d".to_owned(),
            schema: SchemaRef::version_1("https://x"),
            tags: BTreeMap::from([("customerio-aep".to_owned(), vec!["mark".to_owned()])]),
        };
        let call = create_dataset(&new);
        assert_eq!(call.request().body.as_ref().unwrap()["tags"]["customerio-aep"][0], "mark");
        assert_eq!(call.read(&answer(&json!(["@/dataSets/5e7"]))).unwrap(), "5e7");
        assert!(call.read(&answer(&json!([]))).is_err() && call.read(&answer(&json!({}))).is_err());
    }

    #[test]
    fn a_dataset_update_is_sent_as_json_patch() {
        let call = update_dataset("5e7", &[Patch::add("/tags/unifiedProfile", json!(["enabled:true"]))], None);
        assert_eq!(call.request().to_string(), "PATCH /data/foundation/catalog/dataSets/5e7");
        assert_eq!(call.request().headers["Content-Type"], "application/json-patch+json");
        assert!(!call.request().is_repeatable());
    }
}
