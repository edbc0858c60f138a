//! Compares the fields of an existing schema with the fields that this version writes.

use serde_json::{Map, Value};

/// Name that Adobe's user interface gives to the definition with the tenant's fields in a field group.
pub const FIELD_GROUP_DEFINITION: &str = "customFields";

/// A field that is missing from a schema or has another type there.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldGap {
    /// Path of names, such as `_acme/customerio/metric`.
    pub path: String,
    /// JSON Pointer to the field, relative to the compared `properties`.
    pub pointer: String,
    /// Definition of the field in this version.
    pub field: Value,
    /// Type of the existing field; `None` if the field is missing.
    pub found_type: Option<String>,
}

/// Returns the fields of `wanted` that are missing from `found` or have another type there. Additional fields, texts
/// and ranges are not compared.
#[must_use]
pub fn field_gaps(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<FieldGap> {
    let mut all = Vec::new();
    walk(wanted, found, "", "", &mut all);
    all
}

fn walk(wanted: &Map<String, Value>, found: &Map<String, Value>, path: &str, pointer: &str, all: &mut Vec<FieldGap>) {
    for (name, field) in wanted {
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let gap =
            |found_type| FieldGap { path: path.clone(), pointer: pointer.clone(), field: field.clone(), found_type };
        let Some(existing) = found.get(name) else {
            all.push(gap(None));
            continue;
        };
        let kind = |field: &Value| field.get("type").and_then(Value::as_str).map(str::to_owned);
        if let (Some(wanted), Some(found)) = (kind(field), kind(existing))
            && wanted != found
        {
            all.push(gap(Some(found)));
            continue;
        }
        for (below, inner) in [
            ("/properties", inner(field, existing, "/properties")),
            ("/items/properties", inner(field, existing, "/items/properties")),
        ] {
            if let Some((wanted, found)) = inner {
                walk(wanted, found, &path, &format!("{pointer}{below}"), all);
            }
        }
    }
}

type Fields = Map<String, Value>;

fn inner<'v>(wanted: &'v Value, found: &'v Value, at: &str) -> Option<(&'v Fields, &'v Fields)> {
    Some((wanted.pointer(at)?.as_object()?, found.pointer(at)?.as_object()?))
}

/// Returns the name and the `properties` of the definition with the tenant's fields. Without such a definition, returns
/// those of the first definition.
#[must_use]
pub fn tenant_definition<'d>(
    definitions: &'d Map<String, Value>,
    tenant: &str,
) -> (&'d str, Option<&'d Map<String, Value>>) {
    let own = format!("_{tenant}");
    let properties = |value: &'d Value| value.get("properties").and_then(Value::as_object);
    let with_own = definitions
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), properties(value)?)))
        .find(|(_, properties)| properties.contains_key(&own));
    match with_own {
        Some((name, properties)) => (name, Some(properties)),
        None => match definitions.iter().next() {
            Some((name, value)) => (name.as_str(), properties(value)),
            None => (FIELD_GROUP_DEFINITION, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("not an object") };
        map
    }

    #[test]
    fn a_missing_or_retyped_field_is_found_at_any_depth() {
        let wanted = map(json!({"_t": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "o": {"type": "object", "properties": {"b": {"type": "boolean"}}},
        }}}));
        assert!(field_gaps(&wanted, &wanted).is_empty());
        let found = map(json!({"_t": {"type": "object", "title": "other", "properties": {
            "a": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "object", "properties": {}}},
            "more": {"type": "string"},
        }}}));
        let gaps = field_gaps(&wanted, &found);
        let seen: Vec<_> =
            gaps.iter().map(|gap| (gap.path.as_str(), gap.pointer.as_str(), gap.found_type.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("_t/a", "/_t/properties/a", Some("integer")),
                ("_t/list/x", "/_t/properties/list/items/properties/x", None),
                ("_t/o", "/_t/properties/o", None),
            ]
        );
    }
}
