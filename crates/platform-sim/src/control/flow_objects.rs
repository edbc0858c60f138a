//! Validates new connections and flows: their members, and the objects that they refer to.

use serde_json::{Map, Value, json};

use crate::control::body::{hex, members, object, text};
use crate::control::reply::Reply;
use crate::control::request::Incoming;
use crate::control::world::World;

/// Id of the connection specification of the HTTP API source.
pub(crate) const HTTP_API: &str = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb";
/// Id of the connection specification of the data lake.
pub(crate) const DATA_LAKE: &str = "c604ff05-7f1a-43c0-8e18-33bf874cb11c";
/// Id of the flow specification for XDM. The flow specification for raw data needs a mapping, which the simulator does
/// not support.
pub(crate) const XDM_FLOW: &str = "d8a6f005-7eaf-4153-983e-e8574508b877";

pub(crate) fn bad(detail: &str) -> Reply {
    Reply::flow("1000-400", "Bad request", detail)
}

/// Checks that the member `name` refers to the specification `id` in version 1.0.
fn spec(body: &Map<String, Value>, name: &str, id: &str) -> Result<(), Reply> {
    let spec = object(body, name).map_err(|error| bad(&error))?;
    members(spec, &["id", "version"], &[]).map_err(|error| bad(&error))?;
    if spec["version"] != "1.0" {
        return Err(bad(&format!("`{name}.version` is 1.0")));
    }
    if spec["id"] != id {
        let code = if id == DATA_LAKE { "1307-400" } else { "1000-400" };
        return Err(Reply::flow(code, "Invalid request", &format!("`{name}.id` must be {id}")));
    }
    Ok(())
}

/// Returns the major version in a content type. The rest of the content type differs between Adobe's clients.
fn major_version(content_type: &str) -> Option<String> {
    let (_, version) = content_type.split_once("version=")?;
    version.trim().split('.').next().map(str::to_owned)
}

/// Returns the object to store: the given members, and the state that Flow Service adds.
fn kept(body: &Map<String, Value>) -> Value {
    let mut body = body.clone();
    body.insert("state".to_owned(), json!("enabled"));
    Value::Object(body)
}

impl World {
    pub(crate) fn new_connection(&self, body: &Map<String, Value>) -> Result<Value, Reply> {
        members(body, &["name", "connectionSpec", "auth"], &["description", "providerId"])
            .map_err(|error| bad(&error))?;
        text(body, "name").map_err(|error| bad(&error))?;
        spec(body, "connectionSpec", HTTP_API)?;
        let auth = object(body, "auth").map_err(|error| bad(&error))?;
        members(auth, &["specName", "params"], &[]).map_err(|error| bad(&error))?;
        if auth["specName"] != "Streaming Connection" {
            return Err(bad("`auth.specName` is Streaming Connection"));
        }
        let params = object(auth, "params").map_err(|error| bad(&error))?;
        members(params, &["dataType", "name"], &["sourceId", "authenticationRequired"]).map_err(|error| bad(&error))?;
        if !matches!(params["dataType"].as_str(), Some("xdm" | "raw")) {
            return Err(bad("`dataType` is xdm or raw"));
        }
        if params.get("authenticationRequired").is_some_and(|flag| !flag.is_boolean()) {
            return Err(bad("`authenticationRequired` is true or false"));
        }
        let name = text(params, "name").map_err(|error| bad(&error))?;
        let source_id = params.get("sourceId").and_then(Value::as_str).unwrap_or(name).to_owned();
        // The source id must be unique in the organisation. Platform's response to a duplicate is not documented.
        let mut connections = self.spaces.values().flat_map(|space| space.connections.all());
        if connections.any(|known| known.at("/auth/params/sourceId").as_ref() == Some(&source_id)) {
            return Err(Reply::problem(409, "Conflict", &format!("The sourceId {source_id} exists already")));
        }
        let mut kept = kept(body);
        let params = &mut kept["auth"]["params"];
        params["sourceId"] = json!(source_id);
        params["inletId"] = json!(format!("sim{}", hex(61)));
        if params.get("authenticationRequired").is_none() {
            params["authenticationRequired"] = json!(false);
        }
        Ok(kept)
    }

    pub(crate) fn new_source(&mut self, incoming: &Incoming, body: &Map<String, Value>) -> Result<Value, Reply> {
        members(body, &["name", "baseConnectionId", "connectionSpec", "data"], &["description", "providerId"])
            .map_err(|error| bad(&error))?;
        text(body, "name").map_err(|error| bad(&error))?;
        spec(body, "connectionSpec", HTTP_API)?;
        let data = object(body, "data").map_err(|error| bad(&error))?;
        members(data, &["format"], &[]).map_err(|error| bad(&error))?;
        let after = self.after();
        let base = text(body, "baseConnectionId").map_err(|error| bad(&error))?;
        if self.space(incoming).connections.get(base, after).is_none() {
            return Err(bad(&format!("the base connection {base} does not exist")));
        }
        Ok(kept(body))
    }

    pub(crate) fn new_target(&mut self, incoming: &Incoming, body: &Map<String, Value>) -> Result<Value, Reply> {
        members(body, &["name", "connectionSpec", "data", "params"], &["description"]).map_err(|error| bad(&error))?;
        text(body, "name").map_err(|error| bad(&error))?;
        spec(body, "connectionSpec", DATA_LAKE)?;
        let data = object(body, "data").map_err(|error| bad(&error))?;
        members(data, &["schema"], &["format"]).map_err(|error| bad(&error))?;
        let schema = object(data, "schema").map_err(|error| bad(&error))?;
        members(schema, &["id", "version"], &[]).map_err(|error| bad(&error))?;
        let params = object(body, "params").map_err(|error| bad(&error))?;
        if !params.contains_key("dataSetId") {
            return Err(Reply::flow("1325-400", "Invalid request", "dataSetId is missing"));
        }
        members(params, &["dataSetId"], &[]).map_err(|error| bad(&error))?;
        let after = self.after();
        let id = text(params, "dataSetId").map_err(|error| bad(&error))?;
        let dataset = self.space(incoming).datasets.get(id, after);
        let dataset = dataset.ok_or_else(|| bad(&format!("the dataset {id} does not exist")))?;
        let of_dataset =
            (dataset.at("/schemaRef/id"), dataset.at("/schemaRef/contentType").as_deref().and_then(major_version));
        let given = (schema["id"].as_str().map(str::to_owned), schema["version"].as_str().and_then(major_version));
        if of_dataset != given {
            let detail = "The schema and its version must be the same as the dataset's";
            return Err(Reply::flow("1425-400", "Invalid request", detail));
        }
        Ok(kept(body))
    }

    pub(crate) fn new_flow(&mut self, incoming: &Incoming, body: &Map<String, Value>) -> Result<Value, Reply> {
        let optional = ["description", "transformations", "scheduleParams"];
        members(body, &["name", "flowSpec", "sourceConnectionIds", "targetConnectionIds"], &optional)
            .map_err(|error| bad(&error))?;
        let is_filled = |name: &&&str| body.get(**name).is_some_and(|value| *value != json!([]) && *value != json!({}));
        if let Some(name) = optional[1..].iter().find(is_filled) {
            return Err(bad(&format!("a flow for XDM has no `{name}`")));
        }
        text(body, "name").map_err(|error| bad(&error))?;
        spec(body, "flowSpec", XDM_FLOW)?;
        let after = self.after();
        let space = self.space(incoming);
        for (name, all) in [("sourceConnectionIds", &space.sources), ("targetConnectionIds", &space.targets)] {
            let ids = body[name].as_array().filter(|ids| ids.len() == 1);
            let id = ids.and_then(|ids| ids[0].as_str()).ok_or_else(|| bad(&format!("`{name}` lists one id")))?;
            if all.get(id, after).is_none() {
                return Err(bad(&format!("{id} of `{name}` does not exist")));
            }
        }
        Ok(kept(body))
    }
}
