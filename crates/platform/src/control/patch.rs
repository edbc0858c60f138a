//! JSON Patch. Operations are written in lower case, like in Adobe's tutorials. Adobe's specification file uses upper
//! case, and Platform accepts both.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Operation of a JSON Patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchOperation {
    /// Adds a value or overwrites an existing one.
    Add,
    /// Overwrites an existing value.
    Replace,
    /// Removes a value.
    Remove,
}

/// One change of a JSON Patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// Kind of the change.
    pub op: PatchOperation,
    /// JSON Pointer to the changed member.
    pub path: String,
    /// The new value; `None` for a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl Patch {
    /// Adds or overwrites the member at a pointer.
    #[must_use]
    pub fn add(path: &str, value: Value) -> Self {
        Self { op: PatchOperation::Add, path: path.to_owned(), value: Some(value) }
    }

    /// Overwrites the member at a pointer.
    #[must_use]
    pub fn replace(path: &str, value: Value) -> Self {
        Self { op: PatchOperation::Replace, path: path.to_owned(), value: Some(value) }
    }

    /// Removes the member at a pointer.
    #[must_use]
    pub fn remove(path: &str) -> Self {
        Self { op: PatchOperation::Remove, path: path.to_owned(), value: None }
    }

    pub(crate) fn body(patches: &[Self]) -> Value {
        let one = |patch: &Self| {
            let mut object = serde_json::Map::new();
            let op = match patch.op {
                PatchOperation::Add => "add",
                PatchOperation::Replace => "replace",
                PatchOperation::Remove => "remove",
            };
            object.insert("op".to_owned(), op.into());
            object.insert("path".to_owned(), patch.path.clone().into());
            if let Some(value) = &patch.value {
                object.insert("value".to_owned(), value.clone());
            }
            Value::Object(object)
        };
        Value::Array(patches.iter().map(one).collect())
    }
}
