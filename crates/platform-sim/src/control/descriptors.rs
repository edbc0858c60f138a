//! Simulates descriptors of schemas. Descriptors have their own `Accept` types, and no versions.

use serde_json::{Map, Value, json};

use crate::control::body::{hex, members, text};
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::Entry;
use crate::control::world::{Space, World};

const IDENTITY: &str = "xdm:descriptorIdentity";

fn invalid(detail: &str) -> Reply {
    Reply::xdm("1520-400", "Invalid Request", detail)
}

fn not_found(id: &str) -> Reply {
    Reply::xdm("1012-404", "Resource Not Found", &format!("Requested resource {id} is not found"))
}

fn shown(entry: &Entry, ims_org: &str) -> Value {
    let mut body = entry.body.clone();
    body.extend([
        ("@id".to_owned(), json!(entry.id)),
        ("imsOrg".to_owned(), json!(ims_org)),
        ("version".to_owned(), json!("1")),
        ("meta:containerId".to_owned(), json!("tenant")),
    ]);
    Value::Object(body)
}

impl Space {
    /// Removes the descriptors of a schema.
    pub(crate) fn descriptors_without(&mut self, schema: &str) {
        let of_schema = |entry: &&Entry| entry.text("xdm:sourceSchema") == schema;
        let ids: Vec<String> = self.descriptors.all().iter().filter(of_schema).map(|entry| entry.id.clone()).collect();
        ids.iter().for_each(|id| self.descriptors.remove(id));
    }
}

impl World {
    pub(crate) fn descriptors(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        let (after, ims_org) = (self.after(), self.ims_org.clone());
        match (incoming.method.as_str(), rest) {
            ("GET", []) => self.list_descriptors(incoming),
            ("POST", []) => self.create_descriptor(incoming),
            ("GET", [id]) => {
                let found = self.space(incoming).descriptors.get(id, after).map(|entry| shown(entry, &ims_org));
                found.map(Reply::ok).ok_or_else(|| not_found(id))
            }
            ("DELETE", [id]) => {
                let space = self.space(incoming);
                space.descriptors.get(id, after).ok_or_else(|| not_found(id))?;
                space.descriptors.remove(id);
                Ok(Reply::no_content())
            }
            (_, []) => Err(incoming.unknown(&["GET", "POST"])),
            (_, [_]) => Err(incoming.unknown(&["GET", "DELETE"])),
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn list_descriptors(&mut self, incoming: &Incoming) -> Outcome {
        incoming.only_params(&["property"]).map_err(|error| invalid(&error))?;
        let accept = incoming.header("accept").unwrap_or_default();
        let is_known =
            ["xdm", "xdm-id", "xdm-link"].iter().any(|name| accept == format!("application/vnd.adobe.{name}+json"));
        if !is_known {
            let detail = format!(
                "The supplied Accept header is not valid: {accept} - A valid Accept value should look like application/vnd.adobe.xdm-id+json"
            );
            return Err(Reply::xdm("1008-400", "Accept header invalid", &detail));
        }
        let filter = match incoming.param("property") {
            None => None,
            Some(property) => Some(property.split_once("==").ok_or_else(|| invalid("filter by `name==value`"))?),
        };
        let (after, ims_org) = (self.after(), self.ims_org.clone());
        let mut lists: Map<String, Value> = Map::new();
        for entry in self.space(incoming).descriptors.visible(after) {
            if filter.is_some_and(|(name, value)| entry.text(name) != value) {
                continue;
            }
            let item = match accept {
                "application/vnd.adobe.xdm+json" => shown(entry, &ims_org),
                "application/vnd.adobe.xdm-id+json" => json!(entry.id),
                _ => json!(format!("/tenant/descriptors/{}", entry.id)),
            };
            let list = lists.entry(entry.text("@type")).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(item);
            }
        }
        Ok(Reply::ok(Value::Object(lists)))
    }

    fn create_descriptor(&mut self, incoming: &Incoming) -> Outcome {
        let body: Map<String, Value> = incoming.read().map_err(|error| invalid(&error))?;
        let (after, ims_org) = (self.after(), self.ims_org.clone());
        let space = self.space(incoming);
        check(&body, space).map_err(|error| invalid(&error))?;
        let schema = text(&body, "xdm:sourceSchema").map_err(|error| invalid(&error))?;
        if space.schemas.get(schema, after).is_none() {
            return Err(not_found(schema));
        }
        let id = hex(40);
        space.descriptors.insert(&id, Value::Object(body));
        let created = space.descriptors.all().last().map(|entry| shown(entry, &ims_org));
        Ok(Reply::json(201, created.unwrap_or_default()))
    }
}

/// Checks the body of a new descriptor. The simulator supports only identity descriptors.
fn check(body: &Map<String, Value>, space: &Space) -> Result<(), String> {
    let required =
        ["@type", "xdm:sourceSchema", "xdm:sourceVersion", "xdm:sourceProperty", "xdm:namespace", "xdm:property"];
    members(body, &required, &["xdm:isPrimary"])?;
    if body["@type"] != IDENTITY || body["xdm:sourceVersion"] != 1 {
        return Err(format!("this simulator has {IDENTITY} of version 1 only"));
    }
    let property = text(body, "xdm:sourceProperty")?;
    if !property.starts_with('/') || property.split('/').any(|part| part == "properties") {
        return Err("xdm:sourceProperty begins with / and has no `properties`".to_owned());
    }
    let namespace = &body["xdm:namespace"];
    let mut namespaces = space.namespaces.all().iter();
    let is_known = match body["xdm:property"].as_str() {
        Some("xdm:code") => namespaces.any(|known| namespace == known.text("code")),
        Some("xdm:id") => namespaces.any(|known| known.body.get("id") == Some(namespace)),
        _ => return Err("xdm:property is xdm:code or xdm:id".to_owned()),
    };
    if !is_known {
        return Err(format!("the namespace {namespace} does not exist"));
    }
    let schema = text(body, "xdm:sourceSchema")?;
    for other in space.descriptors.all().iter().filter(|other| other.text("xdm:sourceSchema") == schema) {
        if other.text("xdm:sourceProperty") == property {
            return Err(format!("{property} has an identity descriptor already"));
        }
        let is_primary = |body: &Map<String, Value>| body.get("xdm:isPrimary") == Some(&Value::Bool(true));
        if is_primary(&other.body) && is_primary(body) {
            return Err("the schema has a primary identity already".to_owned());
        }
    }
    Ok(())
}
