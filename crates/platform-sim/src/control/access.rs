//! Simulates the services for sandboxes and for permissions.

use serde_json::{Map, Value, json};

use crate::control::gate::permissions;
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::world::World;

const SERVICES: [&str; 6] = ["schemaregistry", "catalog", "flowservice", "idnamespace", "sandbox-management", "ups"];

impl World {
    pub(crate) fn sandboxes(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        match rest {
            [""] | ["sandboxes"] => {
                only_get(incoming)?;
                incoming
                    .only_params(&["limit", "offset"])
                    .map_err(|error| Reply::problem(400, "Bad Request", &error))?;
                Ok(self.sandbox_page(incoming))
            }
            ["sandboxes", name] => {
                only_get(incoming)?;
                let not_found = || Reply::problem(404, "Not Found", &format!("there is no sandbox {name}"));
                self.sandbox(name).map(Reply::ok).ok_or_else(not_found)
            }
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn sandbox(&self, name: &str) -> Option<Value> {
        let space = self.spaces.get(name)?;
        Some(json!({
            "name": name,
            "title": space.title,
            "state": self.faults.sandbox_state(name).unwrap_or("active"),
            "type": space.kind,
            "region": "VA7",
            "isDefault": name == "prod",
            "etag": 1,
            "createdDate": "2024-01-01 08:00:00",
            "lastModifiedDate": "2024-01-01 08:00:00",
            "createdBy": "",
            "modifiedBy": "",
        }))
    }

    fn sandbox_page(&self, incoming: &Incoming) -> Reply {
        let number = |name| incoming.param(name).and_then(|value| value.parse::<usize>().ok());
        let size = number("limit").unwrap_or(self.options.page_size).min(self.options.page_size).max(1);
        let offset = number("offset").unwrap_or(0);
        let names: Vec<&String> = self.spaces.keys().collect();
        let page: Vec<Value> = names.iter().skip(offset).take(size).filter_map(|name| self.sandbox(name)).collect();
        let mut links = Map::new();
        let end = offset + page.len();
        if end < names.len() {
            let next = incoming.link(&[("limit", &size.to_string()), ("offset", &end.to_string())]);
            links.insert("next".to_owned(), json!({"href": self.link(incoming, &next, true)}));
        }
        let template = "/data/foundation/sandbox-management/?limit={limit}&offset={offset}";
        links.insert("page".to_owned(), json!({"href": self.link(incoming, template, true), "templated": true}));
        Reply::ok(json!({"_page": {"limit": size, "count": page.len()}, "sandboxes": page, "_links": links}))
    }

    pub(crate) fn access(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        match (incoming.method.as_str(), rest) {
            ("GET", ["reference"]) => Ok(Reply::ok(reference())),
            ("POST", ["effective-policies"]) => self.effective_policies(incoming),
            (_, ["reference"]) => Err(incoming.unknown(&["GET"])),
            (_, ["effective-policies"]) => Err(incoming.unknown(&["POST"])),
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn effective_policies(&self, incoming: &Incoming) -> Outcome {
        let bad = |detail: &str| Reply::problem(400, "Bad Request", detail);
        let names: Vec<String> = incoming.read().map_err(|error| bad(&error))?;
        let missing = self.faults.missing_permissions();
        let mut policies = Map::new();
        for name in names {
            let mut actions: Vec<&str> = Vec::new();
            if let Some(permission) = name.strip_prefix("/permissions/") {
                let known = SERVICES.iter().filter_map(|service| permissions(service));
                let is_known = known.flat_map(|(view, manage)| [view, manage]).any(|known| known == permission);
                if is_known && !missing.contains(permission) {
                    actions.extend(if permission.starts_with("view-") {
                        &["read"][..]
                    } else {
                        &["read", "write", "delete"]
                    });
                }
            } else if let Some(resource) = name.strip_prefix("/resource-types/") {
                let (view, manage) = (format!("view-{resource}"), format!("manage-{resource}"));
                actions.extend((!missing.contains(view.as_str())).then_some("read"));
                actions
                    .extend((!missing.contains(manage.as_str())).then_some(["write", "delete"]).into_iter().flatten());
            } else {
                return Err(bad(&format!("{name} begins neither with /permissions/ nor with /resource-types/")));
            }
            policies.insert(name, json!(actions));
        }
        Ok(Reply::ok(json!({"policies": policies})))
    }
}

fn only_get(incoming: &Incoming) -> Result<(), Reply> {
    if incoming.is_write() { Err(incoming.unknown(&["GET"])) } else { Ok(()) }
}

fn reference() -> Value {
    let (mut by_permission, mut by_type) = (Map::new(), Map::new());
    for (view, manage) in SERVICES.iter().filter_map(|service| permissions(service)) {
        let resource = manage.trim_start_matches("manage-").to_owned();
        by_permission.insert(view.to_owned(), json!({resource.clone(): ["read"]}));
        by_permission.insert(manage.to_owned(), json!({resource.clone(): ["read", "write", "delete"]}));
        by_type.insert(resource, json!(["read", "write", "delete"]));
    }
    json!({"permissions": by_permission, "resource-types": by_type})
}
