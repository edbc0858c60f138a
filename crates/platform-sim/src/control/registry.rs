//! Simulates the Schema Registry: tenant, field groups and schemas.

use serde_json::{Map, Value, json};

use crate::control::body::{hex, members, text};
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::{Collection, Entry};
use crate::control::world::{Space, World};
use crate::control::{fields, json_patch};

/// Ids of the standard resources that a schema may refer to.
const GLOBAL: [&str; 9] = [
    "https://ns.adobe.com/xdm/context/experienceevent",
    "https://ns.adobe.com/xdm/context/experienceevent-directmarketing",
    "https://ns.adobe.com/xdm/context/experienceevent-channel",
    "https://ns.adobe.com/xdm/context/experienceevent-pushtracking",
    "https://ns.adobe.com/xdm/context/experienceevent-inappmessage-tracking",
    "https://ns.adobe.com/xdm/context/identitymap",
    "https://ns.adobe.com/xdm/context/profile",
    "https://ns.adobe.com/xdm/context/profile-person-details",
    "https://ns.adobe.com/xdm/context/profile-personal-details",
];
const CLASSES: [&str; 2] =
    ["https://ns.adobe.com/xdm/context/experienceevent", "https://ns.adobe.com/xdm/context/profile"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    FieldGroup,
    Schema,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        match word {
            "fieldgroups" => Some(Self::FieldGroup),
            "schemas" => Some(Self::Schema),
            _ => None,
        }
    }

    fn all(self, space: &Space) -> &Collection {
        match self {
            Self::FieldGroup => &space.field_groups,
            Self::Schema => &space.schemas,
        }
    }

    fn all_mut(self, space: &mut Space) -> &mut Collection {
        match self {
            Self::FieldGroup => &mut space.field_groups,
            Self::Schema => &mut space.schemas,
        }
    }

    /// Returns the word for this kind in ids. Ids of field groups still contain the former name, `mixins`.
    fn word(self) -> &'static str {
        match self {
            Self::FieldGroup => "mixins",
            Self::Schema => "schemas",
        }
    }
}

fn invalid(detail: &str) -> Reply {
    Reply::xdm("1520-400", "Invalid Request", detail)
}

fn not_found(id: &str) -> Reply {
    let detail = format!("Requested resource {id} with version 1 is not found");
    Reply::xdm("1012-404", "Resource Not Found", &detail)
}

impl World {
    pub(crate) fn registry(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        match (incoming.method.as_str(), rest) {
            ("GET", ["stats"]) => Ok(self.stats(incoming)),
            (_, ["stats"]) => Err(incoming.unknown(&["GET"])),
            (method, ["tenant", word]) => {
                let kind = Kind::of(word).ok_or_else(|| incoming.unknown(&[]))?;
                match method {
                    "GET" => self.list_resources(incoming, kind),
                    "POST" => self.create_resource(incoming, kind),
                    _ => Err(incoming.unknown(&["GET", "POST"])),
                }
            }
            (method, ["tenant", word, id]) => {
                let kind = Kind::of(word).ok_or_else(|| incoming.unknown(&[]))?;
                incoming.only_params(&[]).map_err(|error| invalid(&error))?;
                match method {
                    "GET" => self.look_up(incoming, kind, id),
                    "PUT" | "PATCH" => self.change_resource(incoming, kind, id),
                    "DELETE" => self.delete_resource(incoming, kind, id),
                    _ => Err(incoming.unknown(&["GET", "PUT", "PATCH", "DELETE"])),
                }
            }
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn stats(&mut self, incoming: &Incoming) -> Reply {
        let (ims_org, tenant) = (self.ims_org.clone(), self.tenant.clone());
        let space = self.space(incoming);
        let counts = json!({
            "schemas": space.schemas.all().len(), "mixins": space.field_groups.all().len(),
            "datatypes": 0, "classes": 0, "unions": 0,
        });
        Reply::ok(json!({
            "imsOrg": ims_org, "tenantId": tenant, "counts": counts,
            "recentlyCreatedResources": [], "recentlyUpdatedResources": [], "classUsage": [],
        }))
    }

    fn list_resources(&mut self, incoming: &Incoming, kind: Kind) -> Outcome {
        let is_full = list_accept(incoming)?;
        incoming.only_params(&["property", "orderby", "start", "limit"]).map_err(|error| invalid(&error))?;
        let orderby = incoming.param("orderby");
        let descends = orderby.is_some_and(|order| order.starts_with('-'));
        if orderby.is_some_and(|order| order.trim_start_matches('-') != "title") {
            return Err(invalid("this simulator orders by title only"));
        }
        let filter = incoming.param("property").map(Filter::parse).transpose().map_err(|error| invalid(&error))?;
        let (after, page_size, ims_org) = (self.after(), self.options.page_size, self.ims_org.clone());
        let space = self.space(incoming);
        let matches = |entry: &&Entry| filter.as_ref().is_none_or(|filter| filter.matches(entry));
        let mut found: Vec<&Entry> = kind.all(space).visible(after).filter(matches).collect();
        found.sort_by(|a, b| a.text("title").cmp(b.text("title")));
        if descends {
            found.reverse();
        }
        match (incoming.param("start"), orderby) {
            // Since 2023, the registry returns an empty list if a request has `start` but not `orderby`.
            (Some(_), None) => found.clear(),
            (Some(start), Some(_)) if descends => found.retain(|entry| entry.text("title") < start),
            (Some(start), Some(_)) => found.retain(|entry| entry.text("title") > start),
            (None, _) => {}
        }
        let limit = incoming.param("limit").filter(|_| orderby.is_some()).and_then(|limit| limit.parse().ok());
        let size = limit.unwrap_or(page_size).min(page_size).max(1);
        let has_more = found.len() > size;
        found.truncate(size);
        let last = found.last().map(|entry| entry.text("title").to_owned()).unwrap_or_default();
        let results: Vec<Value> =
            found.iter().map(|entry| if is_full { shown(entry, &ims_org) } else { summary(entry) }).collect();
        let order = orderby.unwrap_or("title").to_owned();
        let next = has_more.then(|| incoming.link(&[("orderby", &order), ("start", &last)]));
        let href = next.map(|next| json!({"href": self.link(incoming, &next, true)}));
        let page = json!({"orderby": order, "next": has_more.then_some(last), "count": results.len()});
        Ok(Reply::ok(json!({"results": results, "_page": page, "_links": {"next": href}})))
    }

    fn look_up(&mut self, incoming: &Incoming, kind: Kind, id: &str) -> Outcome {
        let is_resolved = look_up_accept(incoming)?;
        let (after, ims_org, tenant) = (self.after(), self.ims_org.clone(), self.tenant.clone());
        let space = self.space(incoming);
        let entry = kind.all(space).get(id, after).ok_or_else(|| not_found(id))?;
        let mut body = shown(entry, &ims_org);
        if is_resolved && kind == Kind::Schema {
            body["properties"] = Value::Object(resolved(space, entry, &tenant));
        }
        Ok(Reply::ok(body).with_etag(entry.etag()))
    }

    fn create_resource(&mut self, incoming: &Incoming, kind: Kind) -> Outcome {
        incoming.only_params(&[]).map_err(|error| invalid(&error))?;
        let mut body: Map<String, Value> = incoming.read().map_err(|error| invalid(&error))?;
        let ims_org = self.ims_org.clone();
        self.check_body(incoming, kind, &body, None)?;
        let (hex, word) = (hex(32), kind.word());
        let id = format!("https://ns.adobe.com/{}/{word}/{hex}", self.tenant);
        body.insert("meta:altId".to_owned(), json!(format!("_{}.{word}.{hex}", self.tenant)));
        let all = kind.all_mut(self.space(incoming));
        all.insert(&id, Value::Object(body));
        let created = all.all().last().map(|entry| shown(entry, &ims_org));
        Ok(Reply::json(201, created.unwrap_or_default()))
    }

    fn change_resource(&mut self, incoming: &Incoming, kind: Kind, id: &str) -> Outcome {
        let (after, ims_org) = (self.after(), self.ims_org.clone());
        let entry = kind.all(self.space(incoming)).get(id, after).ok_or_else(|| not_found(id))?.clone();
        // Adobe does not document whether the registry honours `If-Match`. The simulator does.
        if incoming.is_stale(&entry.etag()) {
            return Err(Reply::xdm("1530-412", "Precondition Failed", "The resource was changed meanwhile"));
        }
        let mut old = entry.body.clone();
        let alt_id = old.shift_remove("meta:altId").unwrap_or_default();
        let mut new = if incoming.method == "PUT" {
            incoming.read().map_err(|error| invalid(&error))?
        } else {
            let patch: Value = incoming.read().map_err(|error| invalid(&error))?;
            json_patch::apply(&old, &patch).map_err(|error| invalid(&error))?
        };
        self.check_body(incoming, kind, &new, Some(&entry))?;
        new.insert("meta:altId".to_owned(), alt_id);
        let entry = kind.all_mut(self.space(incoming)).get_mut(id).ok_or_else(|| not_found(id))?;
        entry.change(new);
        let reply = Reply::ok(shown(entry, &ims_org)).with_etag(entry.etag());
        Ok(reply)
    }

    fn delete_resource(&mut self, incoming: &Incoming, kind: Kind, id: &str) -> Outcome {
        let after = self.after();
        let space = self.space(incoming);
        let id = kind.all(space).get(id, after).ok_or_else(|| not_found(id))?.id.clone();
        let is_used = match kind {
            Kind::FieldGroup => {
                space.schemas.all().iter().any(|schema| references(&schema.body).contains(&id.as_str()))
            }
            Kind::Schema => space.datasets.all().iter().any(|set| set.at("/schemaRef/id").as_deref() == Some(&id)),
        };
        if is_used {
            return Err(invalid("The resource is in use and cannot be deleted"));
        }
        kind.all_mut(space).remove(&id);
        space.descriptors_without(&id);
        Ok(Reply::no_content())
    }

    /// Checks a body before it is stored. `old` is the version that the body replaces.
    fn check_body(
        &mut self,
        incoming: &Incoming,
        kind: Kind,
        body: &Map<String, Value>,
        old: Option<&Entry>,
    ) -> Result<(), Reply> {
        let (after, tenant) = (self.after(), self.tenant.clone());
        let title = text(body, "title").map_err(|error| invalid(&error))?;
        let space = self.space(incoming);
        let is_other = |entry: &&Entry| old.is_none_or(|old| old.id != entry.id) && entry.text("title") == title;
        let same = space.field_groups.all().iter().chain(space.schemas.all()).find(is_other);
        match kind {
            Kind::FieldGroup => field_group(body, &tenant).map_err(|error| invalid(&error))?,
            Kind::Schema => schema(body, space, after)?,
        }
        // The search for the title includes objects that are not visible yet: their titles are already taken.
        if let Some(same) = same {
            let detail = format!("Title must be unique. An object {} already exists with the same title.", same.id);
            return Err(Reply::xdm("1521-400", "Title must be unique", &detail));
        }
        let Some(old) = old else { return Ok(()) };
        additive(space, kind, old, body).map_err(|error| invalid(&error))
    }
}

/// Checks the `Accept` type of a list request. The type has no version. Returns whether it asks for complete resources.
fn list_accept(incoming: &Incoming) -> Result<bool, Reply> {
    match incoming.header("accept").unwrap_or_default() {
        "application/vnd.adobe.xed-id+json" => Ok(false),
        "application/vnd.adobe.xed+json" => Ok(true),
        other => {
            let detail = format!(
                "The supplied Accept header is not valid: {other} - A valid Accept value should look like application/vnd.adobe.{{xed|xdm}}+json"
            );
            Err(Reply::xdm("1006-400", "Accept header invalid", &detail))
        }
    }
}

/// Checks the `Accept` type of a look-up. The type has a version. Returns whether it asks for resources with resolved
/// references.
fn look_up_accept(incoming: &Incoming) -> Result<bool, Reply> {
    let accept = incoming.header("accept").unwrap_or_default();
    let (kind, version) = accept.split_once(';').unwrap_or((accept, ""));
    let detail = format!(
        "The supplied Accept header is not valid: {accept} - A valid Accept value should look like application/vnd.adobe.{{xed|xdm}}+json; version=1 (Version should be specified)"
    );
    if matches!(accept, "" | "*/*") {
        return Err(Reply::problem(406, "Not Acceptable", &detail));
    }
    let flavours = ["xed", "xed-full", "xed-notext", "xed-full-notext", "xed-full-desc"];
    let known = flavours.iter().any(|name| kind.trim() == format!("application/vnd.adobe.{name}+json"));
    match version.trim().strip_prefix("version=") {
        Some("1" | "1.0") if known => Ok(kind.contains("-full")),
        Some(_) if known => Err(Reply::problem(406, "Not Acceptable", "There is no such version of the resource")),
        _ => Err(Reply::xdm("1007-400", "Accept header invalid", &detail)),
    }
}

/// A filter of the form `title==Customer.io` or `title!=Customer.io`.
struct Filter {
    name: String,
    value: String,
    is_negative: bool,
}

impl Filter {
    fn parse(property: &str) -> Result<Self, String> {
        let is_negative = !property.contains("==");
        let (name, value) = property
            .split_once(if is_negative { "!=" } else { "==" })
            .ok_or("this simulator filters by `name==value` and `name!=value` only")?;
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned(), is_negative })
    }

    fn matches(&self, entry: &Entry) -> bool {
        let has = match (self.name.as_str(), entry.body.get(&self.name)) {
            ("$id", _) => entry.id == self.value,
            (_, Some(Value::Array(list))) => list.iter().any(|item| *item == self.value),
            (_, Some(Value::String(text))) => *text == self.value,
            _ => false,
        };
        has != self.is_negative
    }
}

fn summary(entry: &Entry) -> Value {
    json!({
        "$id": entry.id, "meta:altId": entry.text("meta:altId"),
        "version": format!("1.{}", entry.version), "title": entry.text("title"),
    })
}

/// Returns a resource with the members that the registry adds.
fn shown(entry: &Entry, ims_org: &str) -> Value {
    let mut body = Map::from_iter([("$id".to_owned(), json!(entry.id))]);
    body.extend(entry.body.clone());
    let class = references(&entry.body).into_iter().find(|id| CLASSES.contains(id)).map(str::to_owned);
    let metadata = json!({
        "repo:createdDate": entry.created_ms, "repo:lastModifiedDate": entry.updated_ms,
        "eTag": entry.etag().trim_matches('"'), "meta:globalLibVersion": "1.40.0",
    });
    body.extend([
        ("version".to_owned(), json!(format!("1.{}", entry.version))),
        ("meta:containerId".to_owned(), json!("tenant")),
        ("meta:xdmType".to_owned(), json!("object")),
        ("imsOrg".to_owned(), json!(ims_org)),
        ("meta:registryMetadata".to_owned(), metadata),
    ]);
    if let Some(class) = class {
        body.insert("meta:class".to_owned(), json!(class));
        body.insert("required".to_owned(), json!(["@id", "xdm:timestamp"]));
    }
    Value::Object(body)
}

/// Returns each `$ref` in `allOf`.
pub(crate) fn references(body: &Map<String, Value>) -> Vec<&str> {
    let all_of = body.get("allOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all_of.iter().filter_map(|part| part.get("$ref").and_then(Value::as_str)).collect()
}

/// Returns the fields of a schema: the standard fields that events use, and the fields of its field groups.
fn resolved(space: &Space, schema: &Entry, tenant: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for name in crate::messages::KEYS {
        all.insert((*name).to_owned(), json!({"type": if matches!(*name, "_id" | "timestamp" | "eventType" | "producedBy") { "string" } else { "object" }}));
    }
    fields::merge(&mut all, custom_fields(space, schema).iter());
    if let Some(field) = all.get_mut(&format!("_{tenant}")) {
        field["meta:xdmType"] = json!("object");
    }
    all
}

/// Returns the fields of the field groups that a schema refers to.
pub(crate) fn custom_fields(space: &Space, schema: &Entry) -> Map<String, Value> {
    let mut all = Map::new();
    let groups = space.field_groups.all().iter().filter(|group| references(&schema.body).contains(&group.id.as_str()));
    for group in groups {
        fields::merge(&mut all, fields::of_group(&group.body).iter());
    }
    all
}

fn field_group(body: &Map<String, Value>, tenant: &str) -> Result<(), String> {
    members(body, &["title", "type", "meta:intendedToExtend"], &["description", "definitions", "allOf"])?;
    if body["type"] != "object" {
        return Err("`type` must be object".to_owned());
    }
    let classes = body["meta:intendedToExtend"].as_array().filter(|list| !list.is_empty());
    if !classes
        .is_some_and(|list| list.iter().all(|class| class.as_str().is_some_and(|class| CLASSES.contains(&class))))
    {
        return Err("`meta:intendedToExtend` must list classes that exist".to_owned());
    }
    for (name, definition) in body.get("definitions").and_then(Value::as_object).into_iter().flatten() {
        fields::check(definition, &format!("#/definitions/{name}"))?;
    }
    let own = format!("_{tenant}");
    if let Some(name) = fields::of_group(body).keys().find(|name| **name != own) {
        return Err(format!("For custom fields, you must use a top level field named {own}, not {name}"));
    }
    for reference in references(body) {
        let name = reference.strip_prefix("#/definitions/");
        let is_defined = |name| body.get("definitions").is_some_and(|all| all.get(name).is_some());
        if !name.is_some_and(is_defined) {
            return Err(format!("{reference} is not defined"));
        }
    }
    Ok(())
}

fn schema(body: &Map<String, Value>, space: &Space, after: std::time::Duration) -> Result<(), Reply> {
    let required = ["type", "title", "description", "allOf"];
    members(body, &required, &["meta:immutableTags"]).map_err(|error| invalid(&error))?;
    let all_of = body["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    for part in all_of {
        let part = part.as_object().ok_or_else(|| invalid("`allOf` lists objects"))?;
        members(part, &["$ref"], &[]).map_err(|error| invalid(&error))?;
    }
    let references = references(body);
    if references.iter().filter(|id| CLASSES.contains(*id)).count() != 1 || body["type"] != "object" {
        return Err(invalid("a schema is an object and refers to exactly one class"));
    }
    match references.iter().find(|id| !GLOBAL.contains(*id) && space.field_groups.get(id, after).is_none()) {
        Some(id) => Err(not_found(id)),
        None => Ok(()),
    }
}

/// Checks that a change only adds fields if a dataset or Profile uses the resource.
fn additive(space: &Space, kind: Kind, old: &Entry, new: &Map<String, Value>) -> Result<(), String> {
    let is_union =
        |body: &Map<String, Value>| body.get("meta:immutableTags").is_some_and(|tags| tags == &json!(["union"]));
    if is_union(&old.body) && !is_union(new) {
        return Err("meta:immutableTags cannot be removed".to_owned());
    }
    let is_dataset_of =
        |schema: &Entry| space.datasets.all().iter().any(|set| set.at("/schemaRef/id").as_deref() == Some(&schema.id));
    let in_use = |schema: &Entry| is_union(&schema.body) || is_dataset_of(schema);
    match kind {
        Kind::Schema if in_use(old) => {
            let kept = references(new);
            match references(&old.body).iter().find(|id| !kept.contains(id)) {
                Some(id) => Err(format!("{id} cannot be removed from a schema that is in use")),
                None => Ok(()),
            }
        }
        Kind::FieldGroup => {
            let mut users =
                space.schemas.all().iter().filter(|schema| references(&schema.body).contains(&old.id.as_str()));
            if !users.any(in_use) {
                return Ok(());
            }
            match fields::removed(&fields::of_group(&old.body), &fields::of_group(new), "") {
                Some(field) => Err(format!("{field} cannot be removed or retyped: a dataset uses it")),
                None => Ok(()),
            }
        }
        Kind::Schema => Ok(()),
    }
}
