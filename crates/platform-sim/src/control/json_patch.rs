//! Applies JSON Patch. The names of operations may be in upper or lower case, because Adobe's specification, tutorials
//! and clients differ.

use serde_json::{Map, Value};

use crate::control::body::members;

/// Returns the changed body, or a text about what is wrong with the patch.
pub(crate) fn apply(body: &Map<String, Value>, patch: &Value) -> Result<Map<String, Value>, String> {
    let operations = patch.as_array().filter(|list| !list.is_empty()).ok_or("a JSON Patch is a list and not empty")?;
    let mut changed = Value::Object(body.clone());
    for operation in operations {
        let operation = operation.as_object().ok_or("an operation of a JSON Patch is an object")?;
        members(operation, &["op", "path"], &["value"])?;
        let word = operation["op"].as_str().unwrap_or_default().to_ascii_lowercase();
        let path = operation["path"].as_str().filter(|path| path.starts_with('/')).ok_or("`path` begins with /")?;
        let value = operation.get("value");
        let needed = || value.cloned().ok_or_else(|| format!("`value` is missing for {word} {path}"));
        match word.as_str() {
            "add" => set(&mut changed, path, Some(needed()?), false)?,
            "replace" => set(&mut changed, path, Some(needed()?), true)?,
            "remove" => set(&mut changed, path, None, true)?,
            _ => return Err(format!("unknown operation `{word}`; allowed: add, replace, remove")),
        }
    }
    match changed {
        Value::Object(map) => Ok(map),
        _ => Err("the patch replaces the object by something else".to_owned()),
    }
}

fn set(root: &mut Value, path: &str, value: Option<Value>, must_exist: bool) -> Result<(), String> {
    let (parent, name) = path.rsplit_once('/').ok_or("`path` begins with /")?;
    let name = name.replace("~1", "/").replace("~0", "~");
    let missing = || format!("there is nothing at {path}");
    match root.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => {
            if must_exist && !map.contains_key(&name) {
                return Err(missing());
            }
            match value {
                Some(value) => drop(map.insert(name, value)),
                None => drop(map.shift_remove(&name)),
            }
            Ok(())
        }
        Value::Array(list) => {
            let index = if name == "-" { list.len() } else { name.parse().map_err(|_| missing())? };
            match value {
                Some(value) if !must_exist && index <= list.len() => list.insert(index, value),
                Some(value) => *list.get_mut(index).ok_or_else(missing)? = value,
                None if index < list.len() => drop(list.remove(index)),
                None => return Err(missing()),
            }
            Ok(())
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patch_operations_are_accepted_in_upper_and_lower_case() {
        let Value::Object(body) = json!({"a": 1, "tags": {"x/y": [1]}}) else { panic!() };
        let patch = json!([
            {"op": "ADD", "path": "/b", "value": 2},
            {"op": "Replace", "path": "/a", "value": 3},
            {"op": "add", "path": "/tags/x~1y/-", "value": 2},
            {"op": "remove", "path": "/tags/x~1y/0"},
        ]);
        assert_eq!(Value::Object(apply(&body, &patch).unwrap()), json!({"a": 3, "tags": {"x/y": [2]}, "b": 2}));
        for wrong in [
            json!([]),
            json!({}),
            json!([{"op": "replace", "path": "/missing", "value": 1}]),
            json!([{"op": "remove", "path": "/tags/none"}]),
            json!([{"op": "add", "path": "/none/x", "value": 1}]),
            json!([{"op": "add", "path": "/b"}]),
            json!([{"op": "move", "path": "/b", "value": 1}]),
            json!([{"op": "add", "path": "b", "value": 1}]),
            json!([{"op": "add", "path": "/b", "valeu": 1}]),
        ] {
            assert!(apply(&body, &wrong).is_err(), "{wrong}");
        }
    }
}
