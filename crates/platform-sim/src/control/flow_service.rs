//! Simulates Flow Service: connections and flows as objects with versions. `flow_objects` validates their content.

use serde_json::{Map, Value, json};

use crate::control::body::uuid;
use crate::control::flow_objects::bad;
use crate::control::json_patch;
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::{Collection, Entry};
use crate::control::world::{Space, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connection,
    Source,
    Target,
    Flow,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "connections" => Self::Connection,
            "sourceConnections" => Self::Source,
            "targetConnections" => Self::Target,
            "flows" => Self::Flow,
            _ => return None,
        })
    }

    fn all(self, space: &Space) -> &Collection {
        match self {
            Self::Connection => &space.connections,
            Self::Source => &space.sources,
            Self::Target => &space.targets,
            Self::Flow => &space.flows,
        }
    }

    fn all_mut(self, space: &mut Space) -> &mut Collection {
        match self {
            Self::Connection => &mut space.connections,
            Self::Source => &mut space.sources,
            Self::Target => &mut space.targets,
            Self::Flow => &mut space.flows,
        }
    }

    /// Whether another object refers to the object `id`.
    fn is_used(self, space: &Space, id: &str) -> bool {
        let lists = |name: &str| {
            let has = |entry: &Entry| {
                entry.body.get(name).and_then(Value::as_array).is_some_and(|ids| ids.iter().any(|known| known == id))
            };
            space.flows.all().iter().any(has)
        };
        match self {
            Self::Connection => space.sources.all().iter().any(|source| source.text("baseConnectionId") == id),
            Self::Source => lists("sourceConnectionIds"),
            Self::Target => lists("targetConnectionIds"),
            Self::Flow => false,
        }
    }
}

fn not_found(id: &str) -> Reply {
    let detail = format!(
        "The requested resource is not found. Error from flow provider: Resource with given id {id} does not exist."
    );
    Reply::flow("1101-404", "Resource not found", &detail)
}

fn created(entry: &Entry) -> Value {
    json!({"id": entry.id, "etag": entry.etag()})
}

impl World {
    pub(crate) fn flow_service(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        let kind = rest.first().and_then(|word| Kind::of(word)).ok_or_else(|| incoming.unknown(&[]))?;
        match (incoming.method.as_str(), &rest[1..]) {
            ("GET", []) => self.list_objects(incoming, kind),
            ("POST", []) => self.create_object(incoming, kind),
            (_, []) => Err(incoming.unknown(&["GET", "POST"])),
            ("POST", [id, "action"]) if kind == Kind::Flow => self.act(incoming, id),
            (method, [id]) => {
                incoming.only_params(&[]).map_err(|error| bad(&error))?;
                let after = self.after();
                let space = self.space(incoming);
                let entry = kind.all(space).get(id, after).ok_or_else(|| not_found(id))?.clone();
                match method {
                    "GET" => Ok(Reply::ok(json!({"items": [self.shown(incoming, &entry, kind)]}))),
                    "PATCH" => self.patch_object(incoming, kind, &entry),
                    "DELETE" if kind.is_used(space, id) => Err(Reply::flow(
                        "1418-400",
                        "Invalid request",
                        "The connection is in use and cannot be deleted",
                    )),
                    "DELETE" => {
                        kind.all_mut(space).remove(id);
                        Ok(Reply::no_content())
                    }
                    _ => Err(incoming.unknown(&["GET", "PATCH", "DELETE"])),
                }
            }
            _ => Err(incoming.unknown(&[])),
        }
    }

    /// Returns an object with the members that Flow Service adds. The URL of an inlet has the host `public_host` from
    /// the settings, or else the host of the request.
    fn shown(&mut self, incoming: &Incoming, entry: &Entry, kind: Kind) -> Value {
        let mut shown = entry.as_flow_object();
        shown["imsOrgId"] = json!(self.ims_org);
        shown["sandboxName"] = json!(incoming.sandbox());
        let host = self.options.public_host.clone().or_else(|| incoming.header("host").map(str::to_owned));
        let host = host.unwrap_or_default();
        let url = |inlet: &str| json!(format!("http://{host}/collection/{inlet}"));
        match kind {
            Kind::Connection => {
                if let Some(inlet) = entry.at("/auth/params/inletId") {
                    shown["auth"]["params"]["inletUrl"] = url(&inlet);
                }
            }
            Kind::Flow => {
                shown["runs"] = json!(format!("/runs?property=flowId=={}", entry.id));
                let space = self.space(incoming);
                let source = entry
                    .at("/sourceConnectionIds/0")
                    .and_then(|id| space.sources.all().iter().find(|source| source.id == id));
                let base = source.and_then(|source| {
                    space.connections.all().iter().find(|base| base.id == source.text("baseConnectionId"))
                });
                if let Some(inlet) = base.and_then(|base| base.at("/auth/params/inletId")) {
                    shown["options"] = json!({"inletUrl": url(&inlet)});
                }
            }
            Kind::Source | Kind::Target => {}
        }
        shown
    }

    fn list_objects(&mut self, incoming: &Incoming, kind: Kind) -> Outcome {
        let allowed = ["property", "limit", "orderby", "continuationToken", "count"];
        incoming.only_params(&allowed).map_err(|error| bad(&error))?;
        let filter = match incoming.param("property") {
            None => None,
            Some(property) => {
                let (name, value) = property.split_once("==").ok_or_else(|| bad("filter by `name==value`"))?;
                Some((format!("/{}", name.trim().replace('.', "/")), value.trim().to_owned()))
            }
        };
        let descends = match incoming.param("orderby") {
            None | Some("createdAt") => false,
            Some("-createdAt") => true,
            Some(_) => return Err(bad("this simulator orders by createdAt and -createdAt only")),
        };
        let after = self.after();
        let matches = |entry: &&Entry| {
            filter.as_ref().is_none_or(|(pointer, value)| match pointer.as_str() {
                "/id" => entry.id == *value,
                pointer => entry.at(pointer).as_ref() == Some(value),
            })
        };
        let found: Vec<Entry> = kind.all(self.space(incoming)).visible(after).filter(matches).cloned().collect();
        let mut items: Vec<Value> = found.iter().map(|entry| self.shown(incoming, entry, kind)).collect();
        if descends {
            items.reverse();
        }
        self.flow_page(incoming, items)
    }

    /// Returns a page of a list. The link to the next page contains a token, and is relative to Flow Service's path.
    pub(crate) fn flow_page(&self, incoming: &Incoming, items: Vec<Value>) -> Outcome {
        let is_counted = incoming.param("count").is_some_and(|count| count.eq_ignore_ascii_case("true"));
        if incoming.param("limit").is_some() && is_counted {
            let detail = "The limit and count parameters cannot be given together in the same request.";
            return Err(Reply::flow("1401-400", "Invalid request", detail));
        }
        let total = items.len();
        let offset = match incoming.param("continuationToken") {
            None => 0,
            Some(token) => token
                .strip_prefix("sim-")
                .and_then(|at| at.parse().ok())
                .ok_or_else(|| bad("unknown continuationToken"))?,
        };
        let limit = match incoming.param("limit").map(str::parse::<usize>) {
            None => self.options.page_size,
            Some(Ok(limit)) if limit > 0 => limit.min(self.options.page_size),
            Some(_) => return Err(bad("`limit` is not a number above 0")),
        };
        let page: Vec<Value> = items.into_iter().skip(offset).take(limit.max(1)).collect();
        let end = offset + page.len();
        let mut body = json!({"items": page});
        if end < total {
            let link = incoming.link(&[("continuationToken", &format!("sim-{end}"))]);
            let relative = link.strip_prefix("/data/foundation/flowservice").unwrap_or(&link).to_owned();
            body["_links"] = json!({"next": {"href": self.link(incoming, &relative, false)}});
        }
        if is_counted {
            body["count"] = json!(total);
        }
        Ok(Reply::ok(body))
    }

    fn create_object(&mut self, incoming: &Incoming, kind: Kind) -> Outcome {
        incoming.only_params(&[]).map_err(|error| bad(&error))?;
        let body: Map<String, Value> = incoming.read().map_err(|error| bad(&error))?;
        let body = match kind {
            Kind::Connection => self.new_connection(&body)?,
            Kind::Source => self.new_source(incoming, &body)?,
            Kind::Target => self.new_target(incoming, &body)?,
            Kind::Flow => self.new_flow(incoming, &body)?,
        };
        let all = kind.all_mut(self.space(incoming));
        all.insert(&uuid(), body);
        Ok(Reply::json(201, all.all().last().map(created).unwrap_or_default()))
    }

    fn patch_object(&mut self, incoming: &Incoming, kind: Kind, entry: &Entry) -> Outcome {
        if incoming.header("if-match").is_none() {
            let detail = "The header 'If-Match' is missing in the request. Please provide the header and try again.";
            return Err(Reply::flow("1403-400", "Header is missing", detail));
        }
        if incoming.is_stale(&entry.etag()) {
            let detail = format!("The supplied version does not match the current version on entity {}.", entry.etag());
            return Err(Reply::flow("1404-412", "Version not matching", &detail));
        }
        let patch: Value = incoming.read().map_err(|error| bad(&error))?;
        let new = json_patch::apply(&entry.body, &patch).map_err(|error| bad(&error))?;
        let fixed = ["connectionSpec", "flowSpec", "state", "baseConnectionId"];
        if let Some(name) = fixed.iter().find(|name| new.get(**name) != entry.body.get(**name)) {
            return Err(bad(&format!("`{name}` cannot be changed")));
        }
        if new.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(bad("`name` must be text and not empty"));
        }
        if let Some(name) = new.keys().find(|name| !entry.body.contains_key(*name) && *name != "description") {
            return Err(bad(&format!("unknown member `{name}`")));
        }
        self.change(incoming, kind, &entry.id, new)
    }

    fn change(&mut self, incoming: &Incoming, kind: Kind, id: &str, body: Map<String, Value>) -> Outcome {
        let entry = kind.all_mut(self.space(incoming)).get_mut(id).ok_or_else(|| not_found(id))?;
        entry.change(body);
        Ok(Reply::ok(created(entry)))
    }

    /// Enables or disables a flow. `subOp` is optional: Adobe's specification requires it, but clients do not send it.
    fn act(&mut self, incoming: &Incoming, id: &str) -> Outcome {
        incoming.only_params(&["op", "subOp"]).map_err(|error| bad(&error))?;
        let state = match incoming.param("op") {
            Some("ENABLE") => "enabled",
            Some("DISABLE") => "disabled",
            _ => return Err(bad("`op` is ENABLE or DISABLE")),
        };
        if incoming.param("subOp").is_some_and(|word| word != "APPLY") {
            return Err(bad("`subOp` is APPLY"));
        }
        let after = self.after();
        let entry = self.space(incoming).flows.get(id, after).ok_or_else(|| not_found(id))?;
        let mut body = entry.body.clone();
        body.insert("state".to_owned(), json!(state));
        self.change(incoming, Kind::Flow, id, body)
    }
}
