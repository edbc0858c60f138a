//! Reads the permissions that the credential has in its sandbox.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::answer::{Answer, Unreadable};
use crate::control::request::{Call, Effect, Method, Request};

const BASE: &str = "/data/foundation/access-control/acl";

/// The allowed actions for each requested resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EffectivePolicies(BTreeMap<String, BTreeSet<String>>);

impl EffectivePolicies {
    /// Whether an action (`read`, `write`, `delete`) is allowed on a resource (`/permissions/manage-schemas`).
    #[must_use]
    pub fn allows(&self, resource: &str, action: &str) -> bool {
        self.0.get(resource).is_some_and(|actions| actions.contains(action) || actions.contains("*"))
    }

    /// Whether at least one action is allowed on a resource.
    #[must_use]
    pub fn allows_any(&self, resource: &str) -> bool {
        self.0.get(resource).is_some_and(|actions| !actions.is_empty())
    }
}

/// Names of all permissions and resource types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermissionReference {
    /// Names that can follow `/permissions/`.
    pub permissions: BTreeSet<String>,
    /// Names that can follow `/resource-types/`.
    pub resource_types: BTreeSet<String>,
}

fn actions(value: &Value) -> BTreeSet<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect()
}

/// Requests the allowed actions on resources. Each resource has the form `/permissions/…` or `/resource-types/…`. The
/// response depends on the sandbox.
#[must_use]
pub fn effective_policies(resources: &[&str]) -> Call<EffectivePolicies> {
    let request = Request::new(Method::Post, Effect::Read, format!("{BASE}/effective-policies"));
    Call::new(request.json(json!(resources)), read_policies)
}

fn read_policies(_: &Request, answer: &Answer) -> Result<EffectivePolicies, Unreadable> {
    let mut body: BTreeMap<String, Value> = answer.json()?;
    let Some(Value::Object(policies)) = body.remove("policies") else {
        return Err(Unreadable("`policies` is missing".to_owned()));
    };
    Ok(EffectivePolicies(policies.iter().map(|(name, value)| (name.clone(), actions(value))).collect()))
}

/// Requests the names of all permissions and resource types. Adobe's specification misspells some names, so use the
/// names in this response.
#[must_use]
pub fn permission_reference() -> Call<PermissionReference> {
    Call::new(Request::get(format!("{BASE}/reference")), read_reference)
}

fn read_reference(_: &Request, answer: &Answer) -> Result<PermissionReference, Unreadable> {
    #[derive(Deserialize)]
    struct Reference {
        #[serde(default)]
        permissions: BTreeMap<String, Value>,
        #[serde(rename = "resource-types", default)]
        resource_types: BTreeMap<String, Value>,
    }
    let reference: Reference = answer.json()?;
    let names = |map: BTreeMap<String, Value>| map.into_keys().collect();
    Ok(PermissionReference {
        permissions: names(reference.permissions),
        resource_types: names(reference.resource_types),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer { status: 200, body: bytes::Bytes::from_static(body.as_bytes()), ..Answer::default() }
    }

    #[test]
    fn an_action_is_allowed_only_if_the_action_or_a_star_is_listed() {
        let call = effective_policies(&["/permissions/manage-schemas"]);
        assert!(call.request().is_repeatable(), "this POST only reads");
        assert_eq!(call.request().body, Some(json!(["/permissions/manage-schemas"])));
        let body =
            r#"{"policies":{"/permissions/manage-schemas":["*"],"/resource-types/schemas":["read","WRITE"],"/x":[]}}"#;
        let policies = call.read(&answer(body)).unwrap();
        assert!(policies.allows("/permissions/manage-schemas", "delete"));
        assert!(policies.allows("/resource-types/schemas", "write"));
        assert!(!policies.allows("/resource-types/schemas", "delete"));
        assert!(!policies.allows_any("/x") && !policies.allows_any("/y"));
        assert!(call.read(&answer("{}")).is_err());
    }

    #[test]
    fn permission_reference_returns_permissions_and_resource_types() {
        let body = r#"{"permissions":{"manage-datasets":{"datasets":["read"]}},"resource-types":{"schemas":["read"]}}"#;
        let reference = permission_reference().read(&answer(body)).unwrap();
        assert!(reference.permissions.contains("manage-datasets") && reference.resource_types.contains("schemas"));
    }
}
