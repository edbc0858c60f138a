//! Reads the members of a request's body, and creates ids.

use serde_json::{Map, Value};

/// Checks that a body has all required members and no undocumented members.
pub(crate) fn members(body: &Map<String, Value>, required: &[&str], optional: &[&str]) -> Result<(), String> {
    if let Some(name) = required.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
        return Err(format!("`{name}` is missing"));
    }
    match body.keys().find(|name| !required.contains(&name.as_str()) && !optional.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("unknown member `{name}`; allowed: {}", [required, optional].concat().join(", "))),
    }
}

/// Returns a member that must be text and not empty.
pub(crate) fn text<'b>(body: &'b Map<String, Value>, name: &str) -> Result<&'b str, String> {
    let text = body.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("`{name}` must be text and not empty"))
}

/// Returns a member that must be an object.
pub(crate) fn object<'b>(body: &'b Map<String, Value>, name: &str) -> Result<&'b Map<String, Value>, String> {
    body.get(name).and_then(Value::as_object).ok_or_else(|| format!("`{name}` must be an object"))
}

/// Returns random hexadecimal digits.
pub(crate) fn hex(digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[fastrand::usize(..16)])).collect()
}

/// Returns a random UUID, the form of an id in Flow Service.
pub(crate) fn uuid() -> String {
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}
