//! Checks and compares the fields in the definitions of field groups, and checks events against these fields.

use serde_json::{Map, Value};

/// Keywords that the definition of a field may contain.
const KEYWORDS: [&str; 26] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "default",
    "description",
    "enum",
    "examples",
    "format",
    "isRequired",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];

/// Checks the definition of a field. A misspelt keyword is refused.
pub(crate) fn check(field: &Value, at: &str) -> Result<(), String> {
    let field = field.as_object().ok_or_else(|| format!("{at} is not an object"))?;
    let is_known = |name: &&String| KEYWORDS.contains(&name.as_str()) || name.starts_with("meta:");
    if let Some(name) = field.keys().find(|name| !is_known(name)) {
        return Err(format!("unknown keyword `{name}` at {at}"));
    }
    let kind = field.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !TYPES.contains(&kind)) {
        return Err(format!("unknown type at {at}"));
    }
    if kind.is_none() && !["properties", "$ref", "allOf"].iter().any(|name| field.contains_key(*name)) {
        return Err(format!("`type` is missing at {at}"));
    }
    for (name, property) in properties(field) {
        check(property, &format!("{at}/{name}"))?;
    }
    for name in ["items", "additionalProperties"] {
        match field.get(name) {
            None | Some(Value::Bool(_)) => {}
            Some(inner) => check(inner, &format!("{at}/{name}"))?,
        }
    }
    Ok(())
}

fn properties(field: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    field.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Returns the properties of all definitions of a field group.
pub(crate) fn of_group(group: &Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for definition in group.get("definitions").and_then(Value::as_object).into_iter().flat_map(Map::values) {
        let Some(definition) = definition.as_object() else { continue };
        merge(&mut all, properties(definition));
    }
    all
}

/// Adds properties to `into`. Objects with the same name are merged.
pub(crate) fn merge<'v>(into: &mut Map<String, Value>, from: impl Iterator<Item = (&'v String, &'v Value)>) {
    for (name, value) in from {
        let inner = into.get_mut(name).and_then(Value::as_object_mut).and_then(|known| known.get_mut("properties"));
        match (inner.and_then(Value::as_object_mut), value.as_object()) {
            (Some(inner), Some(value)) => merge(inner, properties(value)),
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

/// Returns the path of the first field that is missing from the new version or has another type there.
pub(crate) fn removed(old: &Map<String, Value>, new: &Map<String, Value>, at: &str) -> Option<String> {
    old.iter().find_map(|(name, before)| {
        let at = format!("{at}/{name}");
        let Some(after) = new.get(name) else { return Some(at) };
        if before.get("type") != after.get("type") {
            return Some(at);
        }
        let inner = |field: &Value| field.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        removed(&inner(before), &inner(after), &at)
    })
}

/// Returns the path of the first member of an event that the schema does not define.
pub(crate) fn unknown(event: &Map<String, Value>, fields: &Map<String, Value>, at: &str) -> Option<String> {
    event.iter().find_map(|(name, value)| {
        let at = format!("{at}/{name}");
        let Some(field) = fields.get(name) else { return Some(at) };
        let list = field.get("items");
        let inner = list.unwrap_or(field).get("properties").and_then(Value::as_object)?;
        match value {
            Value::Object(members) => unknown(members, inner, &at),
            Value::Array(items) => items.iter().filter_map(Value::as_object).find_map(|item| unknown(item, inner, &at)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("not an object") };
        map
    }

    #[test]
    fn field_definitions_with_a_wrong_keyword_or_type_are_refused() {
        assert!(check(&json!({"type": "object", "properties": {"a": {"type": "string", "titel": "A"}}}), "#").is_err());
        assert!(check(&json!({"type": "object", "properties": {"a": {"type": "text"}}}), "#").is_err());
        assert!(check(&json!({"type": "object", "properties": {"a": {"title": "A"}}}), "#").is_err());
        let group: Value = serde_json::from_str(include_str!("../../../../schemas/xdm/field-group.json")).unwrap();
        for definition in group["definitions"].as_object().unwrap().values() {
            check(definition, "#").unwrap();
        }
    }

    #[test]
    fn a_field_that_a_new_version_removes_or_retypes_is_found() {
        let old =
            map(json!({"t": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}}));
        let more = map(
            json!({"t": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "number"}}}}),
        );
        assert_eq!(removed(&old, &more, ""), None);
        assert_eq!(removed(&more, &old, "").as_deref(), Some("/t/c"));
        let retyped =
            map(json!({"t": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "string"}}}}));
        assert_eq!(removed(&old, &retyped, "").as_deref(), Some("/t/a"));
    }

    #[test]
    fn an_event_member_that_the_schema_does_not_define_is_found() {
        let fields = map(json!({"c": {"type": "object", "properties": {
            "a": {"type": "string"}, "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}}}}}));
        let event = map(json!({"c": {"a": "1", "l": [{"x": "1"}, {"y": "2"}]}}));
        assert_eq!(unknown(&event, &fields, "#").as_deref(), Some("#/c/l/y"));
        assert_eq!(unknown(&map(json!({"c": {"a": "1"}})), &fields, "#"), None);
    }
}
