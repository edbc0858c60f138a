//! Simulates the datasets of Catalog. A list of datasets is a map by id, in pages with `start` and `limit`.

use serde_json::{Map, Value, json};

use crate::control::body::{hex, members, object, text};
use crate::control::json_patch;
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::Entry;
use crate::control::world::{Space, World};

/// Optional members of a dataset.
const OPTIONAL: [&str; 4] = ["description", "tags", "enableErrorDiagnostics", "fileDescription"];

pub(crate) fn invalid(detail: &str) -> Reply {
    Reply::catalog(400, "1503", detail)
}

fn not_found(id: &str) -> Reply {
    Reply::catalog(404, "1404", &format!("Dataset with id {id} not found"))
}

fn reference(id: &str) -> Value {
    json!([format!("@/dataSets/{id}")])
}

fn shown(entry: &Entry, ims_org: &str) -> Value {
    let mut body = entry.body.clone();
    body.extend([
        ("version".to_owned(), json!(format!("1.0.{}", entry.version))),
        ("imsOrg".to_owned(), json!(ims_org)),
        ("created".to_owned(), json!(entry.created_ms)),
        ("updated".to_owned(), json!(entry.updated_ms)),
        ("state".to_owned(), json!("DRAFT")),
        ("files".to_owned(), json!(format!("@/dataSetFiles?dataSetId={}", entry.id))),
    ]);
    Value::Object(body)
}

/// Returns the part of a list that `start` and `limit` select, at most one page.
pub(crate) fn window<T>(incoming: &Incoming, page_size: usize, all: Vec<T>) -> Result<Vec<T>, Reply> {
    let number = |name: &str, otherwise: usize| match incoming.param(name) {
        None => Ok(otherwise),
        Some(value) => value.parse::<usize>().map_err(|_| invalid(&format!("`{name}` is not a number"))),
    };
    let limit = number("limit", 20)?;
    if limit == 0 || limit > 100 {
        return Err(invalid("`limit` is from 1 to 100"));
    }
    Ok(all.into_iter().skip(number("start", 0)?).take(limit.min(page_size)).collect())
}

/// Whether the query sorts by `desc:created`. The default is `asc:created`.
pub(crate) fn is_descending(incoming: &Incoming) -> Result<bool, Reply> {
    match incoming.param("orderBy") {
        None | Some("asc:created") => Ok(false),
        Some("desc:created") => Ok(true),
        Some(_) => Err(invalid("this simulator orders by asc:created and desc:created only")),
    }
}

impl World {
    pub(crate) fn datasets(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        match (incoming.method.as_str(), rest) {
            ("GET", []) => self.list_datasets(incoming),
            ("POST", []) => self.create_dataset(incoming),
            (method, [id]) => {
                incoming.only_params(&[]).map_err(|error| invalid(&error))?;
                let (after, ims_org) = (self.after(), self.ims_org.clone());
                let entry = self.space(incoming).datasets.get(id, after).ok_or_else(|| not_found(id))?.clone();
                match method {
                    "GET" => Ok(Reply::ok(json!({*id: shown(&entry, &ims_org)})).with_etag(entry.etag())),
                    "PATCH" => self.patch_dataset(incoming, &entry),
                    "DELETE" => {
                        self.space(incoming).datasets.remove(id);
                        Ok(Reply::ok(reference(id)))
                    }
                    _ => Err(incoming.unknown(&["GET", "PATCH", "DELETE"])),
                }
            }
            (_, []) => Err(incoming.unknown(&["GET", "POST"])),
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn list_datasets(&mut self, incoming: &Incoming) -> Outcome {
        incoming.only_params(&["name", "orderBy", "limit", "start"]).map_err(|error| invalid(&error))?;
        let (after, page_size, ims_org) = (self.after(), self.options.page_size, self.ims_org.clone());
        let descends = is_descending(incoming)?;
        let has_name = |entry: &&Entry| incoming.param("name").is_none_or(|name| entry.text("name") == name);
        let mut all: Vec<&Entry> = self.space(incoming).datasets.visible(after).filter(has_name).collect();
        if descends {
            all.reverse();
        }
        let page = window(incoming, page_size, all)?;
        Ok(Reply::ok(
            page.into_iter().map(|entry| (entry.id.clone(), shown(entry, &ims_org))).collect::<Map<_, _>>().into(),
        ))
    }

    fn create_dataset(&mut self, incoming: &Incoming) -> Outcome {
        incoming.only_params(&["requestDataSource"]).map_err(|error| invalid(&error))?;
        let body: Map<String, Value> = incoming.read().map_err(|error| invalid(&error))?;
        let after = self.after();
        let space = self.space(incoming);
        members(&body, &["name", "schemaRef"], &OPTIONAL).map_err(|error| invalid(&error))?;
        check(&body, space, after).map_err(|error| invalid(&error))?;
        let id = hex(24);
        space.datasets.insert(&id, Value::Object(body));
        let location = format!("https://platform.adobe.io/data/foundation/catalog/dataSets/{id}");
        Ok(Reply { location: Some(location), ..Reply::json(201, reference(&id)) })
    }

    fn patch_dataset(&mut self, incoming: &Incoming, entry: &Entry) -> Outcome {
        if incoming.is_stale(&entry.etag()) {
            return Err(Reply::catalog(412, "1412", "The dataset was changed meanwhile"));
        }
        let sent: Value = incoming.read().map_err(|error| invalid(&error))?;
        let is_json_patch = incoming.header("content-type").is_some_and(|kind| kind.contains("json-patch"));
        let new = match sent {
            // A body that is not a JSON Patch contains the attributes to change.
            Value::Object(sent) if !is_json_patch => {
                let mut new = entry.body.clone();
                new.extend(sent);
                new
            }
            sent => json_patch::apply(&entry.body, &sent).map_err(|error| invalid(&error))?,
        };
        let after = self.after();
        let space = self.space(incoming);
        members(&new, &["name", "schemaRef"], &[&OPTIONAL[..], &["lastBatchId"]].concat())
            .map_err(|error| invalid(&error))?;
        check(&new, space, after).map_err(|error| invalid(&error))?;
        if new["schemaRef"] != entry.body["schemaRef"] {
            return Err(invalid("the schema of a dataset cannot be changed"));
        }
        let entry = space.datasets.get_mut(&entry.id).ok_or_else(|| not_found(&entry.id))?;
        entry.change(new);
        let reply = Reply::ok(reference(&entry.id)).with_etag(entry.etag());
        Ok(reply)
    }
}

fn check(body: &Map<String, Value>, space: &Space, after: std::time::Duration) -> Result<(), String> {
    text(body, "name")?;
    if body.get("enableErrorDiagnostics").is_some_and(|flag| !flag.is_boolean()) {
        return Err("`enableErrorDiagnostics` must be true or false".to_owned());
    }
    let schema = object(body, "schemaRef")?;
    members(schema, &["id", "contentType"], &[])?;
    let kind = text(schema, "contentType")?;
    if !kind.starts_with("application/vnd.adobe.xed") || !kind.contains("version=1") {
        return Err(format!("the contentType {kind} names no version of a schema"));
    }
    let id = text(schema, "id")?;
    let schema = space.schemas.get(id, after).ok_or_else(|| format!("the schema {id} does not exist"))?;
    let Some(tags) = body.get("tags") else { return Ok(()) };
    let tags = tags.as_object().ok_or("`tags` must be an object")?;
    for (name, values) in tags {
        if !values.as_array().is_some_and(|values| values.iter().all(Value::is_string)) {
            return Err(format!("the tag {name} must be a list of texts"));
        }
    }
    let is_union = schema.body.get("meta:immutableTags").is_some_and(|tags| tags == &json!(["union"]));
    if tags.contains_key("unifiedProfile") && !is_union {
        return Err("To enable profile datasets the schema should be valid".to_owned());
    }
    Ok(())
}
