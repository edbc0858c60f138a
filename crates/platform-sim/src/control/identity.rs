//! Simulates identity namespaces. Every sandbox has the standard namespaces that `seed` creates.

use serde_json::{Map, Value, json};

use crate::control::body::{members, text};
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::Entry;
use crate::control::world::World;

const TYPES: [&str; 7] = ["Cookie", "Cross_device", "Device", "Email", "Mobile", "Non_people", "Phone"];

fn invalid(description: &str) -> Reply {
    Reply::identity(400, "Namespace validation", "INVALID_REQUEST_PARAMS", description)
}

fn shown(entry: &Entry) -> Value {
    let mut body = entry.body.clone();
    body.insert("createTime".to_owned(), json!(entry.created_ms));
    body.insert("updateTime".to_owned(), json!(entry.updated_ms));
    Value::Object(body)
}

impl World {
    pub(crate) fn identities(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        incoming.only_params(&[]).map_err(|error| invalid(&error))?;
        let after = self.after();
        match (incoming.method.as_str(), rest) {
            ("GET", []) => Ok(Reply::ok(self.space(incoming).namespaces.visible(after).map(shown).collect())),
            ("POST", []) => self.create_namespace(incoming),
            ("GET", [id]) => {
                let found = self.space(incoming).namespaces.get(id, after).map(shown);
                let description = format!("Namespace id not found for given IMS Org {}", self.ims_org);
                let not_found = || Reply::identity(404, "Namespace validation", "NAMESPACE_NOT_FOUND", &description);
                found.map(Reply::ok).ok_or_else(not_found)
            }
            (_, []) => Err(incoming.unknown(&["GET", "POST"])),
            // Adobe also documents a request that changes a namespace. The simulator does not support it.
            (_, [_]) => Err(incoming.unknown(&["GET"])),
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn create_namespace(&mut self, incoming: &Incoming) -> Outcome {
        let body: Map<String, Value> = incoming.read().map_err(|error| invalid(&error))?;
        members(&body, &["name", "code", "idType"], &["description"]).map_err(|error| invalid(&error))?;
        let code = text(&body, "code").map_err(|error| invalid(&error))?.to_owned();
        text(&body, "name").map_err(|error| invalid(&error))?;
        if !code.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(invalid("The code may contain only letters and numbers"));
        }
        let kind = text(&body, "idType").map_err(|error| invalid(&error))?;
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(invalid(&format!(
                "Please provide a valid value of idType. Valid values are: {}",
                TYPES.join(", ")
            )));
        }
        let kind = kind.to_ascii_uppercase();
        let space = self.space(incoming);
        if space.namespaces.all().iter().any(|entry| entry.text("code").eq_ignore_ascii_case(&code)) {
            let description = "Namespace code already exists. Please use a different code";
            return Err(Reply::identity(409, "NAMESPACE_CODE_CONFLICT", "INTEGRATION_CODE_EXISTS", description));
        }
        let id = 10_000_000 + space.namespaces.all().len();
        let body = namespace(id, &code, &kind, &body, true);
        space.namespaces.insert(&id.to_string(), body);
        let created = space.namespaces.all().last().map(shown);
        Ok(Reply::ok(created.unwrap_or_default()))
    }
}

/// Returns a namespace as it is stored.
pub(crate) fn namespace(id: usize, code: &str, kind: &str, given: &Map<String, Value>, custom: bool) -> Value {
    let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or(code).to_owned();
    json!({
        "id": id,
        "code": code,
        "name": text("name"),
        "description": text("description"),
        "idType": kind,
        "status": "ACTIVE",
        "custom": custom,
    })
}
