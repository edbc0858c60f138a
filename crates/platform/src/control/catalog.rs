//! Catalog: datasets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::control::answer::{Answer, Unreadable, no_content, number, or_default};
use crate::control::paging::{Page, offset_page};
use crate::control::patch::Patch;
use crate::control::request::{Call, Effect, Method, Request, encode};

const BASE: &str = "/data/foundation/catalog/dataSets";

/// A schema, and the representation and version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRef {
    /// `$id`.
    pub id: String,
    /// `application/vnd.adobe.xed-full+json;version=1`, in several spellings.
    #[serde(rename = "contentType", default)]
    pub content_type: String,
}

impl SchemaRef {
    /// Version 1 of a schema, in the form that datasets and messages use.
    #[must_use]
    pub fn version_1(id: &str) -> Self {
        Self { id: id.to_owned(), content_type: "application/vnd.adobe.xed-full+json;version=1".to_owned() }
    }

    /// The major version that the content type names.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        let (_, version) = self.content_type.split_once("version=")?;
        version.trim().split('.').next()?.trim_matches('"').parse().ok()
    }

    /// Whether both mean the same schema. The content type has several spellings, so only its major version is
    /// compared.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.major_version() == other.major_version()
    }
}

/// One dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dataset {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its name. Names need not be unique.
    #[serde(default)]
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: Option<String>,
    /// Its schema.
    #[serde(rename = "schemaRef", default)]
    pub schema: Option<SchemaRef>,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// Whether rows that fail are kept with their reasons.
    #[serde(rename = "enableErrorDiagnostics", default)]
    pub error_diagnostics: Option<bool>,
    /// The last batch that wrote to it, if any did.
    #[serde(rename = "lastBatchId", default)]
    pub last_batch_id: Option<String>,
    /// When it was created, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub created: Option<i64>,
    /// When it was changed, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub updated: Option<i64>,
    /// The value for `If-Match`, if the response has an `ETag`.
    #[serde(skip)]
    pub etag: Option<String>,
}

impl Dataset {
    /// Whether the dataset is enabled for Profile. The tag is also written with a space.
    #[must_use]
    pub fn is_profile_enabled(&self) -> bool {
        let values = self.tags.get("unifiedProfile").map(Vec::as_slice).unwrap_or_default();
        values.iter().any(|value| value.replace(' ', "").eq_ignore_ascii_case("enabled:true"))
    }
}

/// A dataset to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDataset {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its schema.
    pub schema: SchemaRef,
    /// Its tags; keys of our own are allowed.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// All datasets of the sandbox, the oldest first.
#[must_use]
pub fn datasets() -> Call<Page<Dataset>> {
    list(Request::get(BASE))
}

/// The datasets of one name.
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

/// One dataset.
#[must_use]
pub fn dataset(id: &str) -> Call<Dataset> {
    Call::new(Request::get(format!("{BASE}/{}", encode(id))), |_, answer| {
        let body: Map<String, Value> = answer.json()?;
        let (id, value) = body.into_iter().next().ok_or_else(|| Unreadable("it holds no dataset".to_owned()))?;
        Ok(Dataset { etag: answer.etag.clone(), ..with_id(id, value)? })
    })
}

/// Creates a dataset and returns its id. Failed rows are kept with their reasons.
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

/// Changes a dataset by JSON Patch and returns its id. `If-Match` is sent if the look-up had an `ETag`.
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

/// `["@/dataSets/5e72608b10f6e318ad2dee0f"]`.
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
    fn a_profile_tag_is_recognised_in_both_spellings() {
        for (tag, enabled) in [("enabled:true", true), ("enabled: true", true), ("enabled:false", false)] {
            let body = json!({"5e7": {"name": "n", "tags": {"unifiedProfile": [tag, "isUpsert: true"]}}});
            let dataset = dataset("5e7").read(&answer(&body)).unwrap();
            assert_eq!((dataset.id.as_str(), dataset.is_profile_enabled()), ("5e7", enabled), "{tag}");
        }
    }

    #[test]
    fn a_created_dataset_is_named_without_its_prefix() {
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
    fn an_update_is_a_json_patch() {
        let call = update_dataset("5e7", &[Patch::add("/tags/unifiedProfile", json!(["enabled:true"]))], None);
        assert_eq!(call.request().to_string(), "PATCH /data/foundation/catalog/dataSets/5e7");
        assert_eq!(call.request().headers["Content-Type"], "application/json-patch+json");
        assert!(!call.request().is_repeatable());
    }
}
