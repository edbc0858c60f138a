//! Writes the JSON form for Experience Platform: keys in XDM's platform spelling, and no empty values, because XDM
//! types do not allow null.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::str::FromStr;

/// Tenant id of an organisation: the key of the organisation's own fields in JSON. `GET /schemaregistry/stats` returns
/// the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantId {
    /// Key in JSON: the id with one leading underscore.
    key: String,
}

impl FromStr for TenantId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.strip_prefix('_').unwrap_or(text);
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(
                "this is not a tenant id; Experience Platform shows it with or without one leading underscore, for example _acme".to_owned()
            );
        }
        Ok(Self { key: format!("_{id}") })
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// Appends a value as JSON. An empty value is written as an empty object.
pub(crate) fn write(value: &impl Value, tenant: &TenantId, out: &mut Vec<u8>) {
    let mut json = Json { out, tenant };
    if !value.write(&mut json) {
        json.out.extend_from_slice(b"{}");
    }
}

/// Output buffer for the JSON, and the tenant id for the tenant's key.
pub(crate) struct Json<'o> {
    out: &'o mut Vec<u8>,
    tenant: &'o TenantId,
}

/// A value that can be written as JSON. `write` returns `false` if the value is empty and nothing was written.
pub(crate) trait Value {
    fn write(&self, json: &mut Json<'_>) -> bool;
}

/// An object that is being written. Empty members are left out, and so is an object without members.
pub(crate) struct Object {
    start: usize,
    members: usize,
}

impl Object {
    pub(crate) fn begin(json: &mut Json<'_>) -> Self {
        let start = json.out.len();
        json.out.push(b'{');
        Self { start, members: 0 }
    }

    /// Adds a member. `name` is a name of the schema; `_tenant` is replaced by the tenant id.
    pub(crate) fn member(&mut self, json: &mut Json<'_>, name: &str, value: &impl Value) {
        // The Avro schema is the same for every tenant, so the key of the tenant's fields is set only in JSON.
        let name = if name == "_tenant" { &json.tenant.key } else { name };
        self.add(json, |json| json.string(name), value);
    }

    /// Adds a member whose name is not from the schema, such as a namespace code.
    pub(crate) fn foreign_member(&mut self, json: &mut Json<'_>, name: &str, value: &impl Value) {
        self.add(json, |json| json.string(name), value);
    }

    fn add(&mut self, json: &mut Json<'_>, name: impl FnOnce(&mut Json<'_>), value: &impl Value) {
        let before = json.out.len();
        if self.members > 0 {
            json.out.push(b',');
        }
        name(json);
        json.out.push(b':');
        if value.write(json) {
            self.members += 1;
        } else {
            json.out.truncate(before);
        }
    }

    pub(crate) fn end(self, json: &mut Json<'_>) -> bool {
        if self.members == 0 {
            json.out.truncate(self.start);
            return false;
        }
        json.out.push(b'}');
        true
    }
}

impl Json<'_> {
    fn string(&mut self, text: &str) {
        // Writing to a Vec cannot fail, and serialising a string cannot either.
        serde_json::to_writer(&mut *self.out, text).unwrap_or_default();
    }

    pub(crate) fn raw(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).unwrap_or_default();
    }
}

impl Value for Cow<'_, str> {
    fn write(&self, json: &mut Json<'_>) -> bool {
        json.string(self);
        true
    }
}

impl Value for bool {
    fn write(&self, json: &mut Json<'_>) -> bool {
        json.raw(format_args!("{self}"));
        true
    }
}

impl Value for f64 {
    /// Writes the number with a fraction in any case, so that a measure is always a floating-point number. A value that
    /// JSON cannot express is left out.
    fn write(&self, json: &mut Json<'_>) -> bool {
        if self.is_finite() {
            json.raw(format_args!("{self:?}"));
        }
        self.is_finite()
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, json: &mut Json<'_>) -> bool {
        self.as_ref().is_some_and(|value| value.write(json))
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, json: &mut Json<'_>) -> bool {
        let start = json.out.len();
        json.out.push(b'[');
        let mut items = 0;
        for item in self {
            let before = json.out.len();
            if items > 0 {
                json.out.push(b',');
            }
            if item.write(json) {
                items += 1;
            } else {
                json.out.truncate(before);
            }
        }
        if items == 0 {
            json.out.truncate(start);
            return false;
        }
        json.out.push(b']');
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_is_accepted_with_or_without_its_underscore() {
        assert_eq!("acme".parse::<TenantId>().unwrap().to_string(), "_acme");
        assert_eq!("_acme".parse::<TenantId>().unwrap().to_string(), "_acme");
        assert!("".parse::<TenantId>().is_err() && "_".parse::<TenantId>().is_err());
        assert!("a b".parse::<TenantId>().unwrap_err().contains("_acme"));
    }
}
