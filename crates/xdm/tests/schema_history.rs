//! Tests that released schemas stay readable in both directions: FULL_TRANSITIVE, and stricter where Platform is
//! stricter. Nothing is renamed, retyped or removed, no enum symbol is added, and a new field has a default. A schema
//! that breaks one of these rules needs a new topic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::{Value, json};
use xdm::schema::{RELEASED, SCHEMA_JSON, SCHEMA_VERSION};

/// Returns the changes from `old` to `new` that would break a reader or a writer; empty if there are none.
fn breaking(old: &Value, new: &Value) -> Vec<String> {
    let namespace = old["namespace"].as_str().unwrap().to_owned();
    let mut walk = Walk { old: named(old), new: named(new), namespace, found: vec![] };
    walk.compare("", old, new);
    walk.found
}

struct Walk {
    old: BTreeMap<String, Value>,
    new: BTreeMap<String, Value>,
    namespace: String,
    found: Vec<String>,
}

impl Walk {
    fn compare(&mut self, path: &str, old: &Value, new: &Value) {
        let (old, new) = (resolve(old, &self.old, &self.namespace), resolve(new, &self.new, &self.namespace));
        if let (Value::Array(old), Value::Array(new)) = (&old, &new) {
            if old.len() != new.len() {
                return self.broken(path, "other branches in the union");
            }
            return old.iter().zip(new).for_each(|(old, new)| self.compare(path, old, new));
        }
        if !(old.is_object() && new.is_object()) {
            if old != new {
                self.broken(path, "other type");
            }
            return;
        }
        for part in ["type", "name", "namespace", "logicalType", "symbols", "default"] {
            if old.get(part) != new.get(part) {
                self.broken(path, &format!("other `{part}`"));
            }
        }
        for part in ["items", "values"] {
            if let (Some(old), Some(new)) = (old.get(part), new.get(part)) {
                self.compare(path, old, new);
            }
        }
        let (old_fields, new_fields) = (fields(&old), fields(&new));
        for (name, old) in &old_fields {
            let path = format!("{path}/{name}");
            match new_fields.get(name) {
                None => self.broken(&path, "removed"),
                Some(new) => {
                    if old.get("default") != new.get("default") {
                        self.broken(&path, "other default");
                    }
                    self.compare(&path, &old["type"], &new["type"]);
                }
            }
        }
        for (name, new) in new_fields.iter().filter(|(name, _)| !old_fields.contains_key(*name)) {
            if new.get("default").is_none() {
                self.broken(&format!("{path}/{name}"), "added without a default");
            }
        }
    }

    fn broken(&mut self, path: &str, what: &str) {
        self.found.push(format!("{path}: {what}"));
    }
}

fn fields(schema: &Value) -> BTreeMap<String, Value> {
    let fields = schema["fields"].as_array().cloned().unwrap_or_default();
    fields.into_iter().map(|field| (field["name"].as_str().unwrap().to_owned(), field)).collect()
}

/// Returns the definition of a named type. Any other value is returned unchanged.
fn resolve(schema: &Value, named: &BTreeMap<String, Value>, namespace: &str) -> Value {
    let Value::String(name) = schema else { return schema.clone() };
    let short = name.strip_prefix(&format!("{namespace}.")).unwrap_or(name);
    named.get(short).cloned().unwrap_or_else(|| schema.clone())
}

/// Returns every named type of a schema, by its name.
fn named(schema: &Value) -> BTreeMap<String, Value> {
    fn collect(schema: &Value, found: &mut BTreeMap<String, Value>) {
        match schema {
            Value::Array(branches) => branches.iter().for_each(|branch| collect(branch, found)),
            Value::Object(members) => {
                if let (Some(name), Some("record" | "enum" | "fixed")) =
                    (schema["name"].as_str(), schema["type"].as_str())
                {
                    found.insert(name.to_owned(), schema.clone());
                }
                members.values().for_each(|member| collect(member, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    collect(schema, &mut found);
    found
}

/// Whether a registry with the rule FULL would accept `new` after `old`.
fn mutually_readable(old: &Value, new: &Value) -> bool {
    let [Ok(old), Ok(new)] = [old, new].map(Schema::parse) else { return false };
    SchemaCompatibility::mutual_read(&old, &new).is_ok()
}

fn current() -> Value {
    serde_json::from_str(SCHEMA_JSON).unwrap()
}

#[test]
fn the_schema_is_compatible_with_every_released_schema() {
    for (version, json) in RELEASED {
        let released: Value = serde_json::from_str(json).unwrap();
        assert_eq!(breaking(&released, &current()), [""; 0], "version {version} would break");
        assert!(mutually_readable(&released, &current()), "version {version}");
    }
}

#[test]
fn released_schema_versions_are_complete_and_consecutive() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/released");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let names: Vec<_> = RELEASED.iter().map(|(version, _)| format!("experience-event.v{version}.avsc")).collect();
    assert_eq!(files, names, "schemas/released/ and RELEASED");
    for (index, (version, json)) in RELEASED.iter().enumerate() {
        assert_eq!(*version as usize, index + 1);
        assert_eq!(serde_json::from_str::<Value>(json).unwrap()["schemaVersion"], *version);
    }
    assert_eq!(current()["schemaVersion"], SCHEMA_VERSION);
    let (newest, released) = RELEASED.last().unwrap();
    let form = |schema: Schema| schema.canonical_form();
    let same = form(Schema::parse_str(released).unwrap()) == form(Schema::parse(&current()).unwrap());
    // A schema that differs from the newest released one needs its own version number.
    assert_eq!(SCHEMA_VERSION, if same { *newest } else { newest + 1 });
}

/// Returns the field at a path of names, through unions and nested records.
fn field<'a>(schema: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(schema, |schema, name| {
        let record = match schema.get("type") {
            Some(Value::Array(_)) => &mut schema["type"][1],
            Some(Value::Object(_)) => &mut schema["type"],
            _ => schema,
        };
        let fields = record["fields"].as_array_mut().unwrap_or_else(|| panic!("{name}"));
        fields.iter_mut().find(|field| field["name"] == *name).unwrap_or_else(|| panic!("{name}"))
    })
}

fn details(schema: &mut Value) -> &mut Vec<Value> {
    field(schema, &["_tenant", "customerio"])["type"]["fields"].as_array_mut().unwrap()
}

type Edit = fn(&mut Value);

#[rustfmt::skip]
const BREAKING: &[(&str, Edit)] = &[
    ("a field removed", |schema| drop(details(schema).pop())),
    ("a field renamed", |schema| field(schema, &["eventType"])["name"] = json!("event_type")),
    ("a nested field retyped", |schema| field(schema, &["_tenant", "customerio", "campaignID"])["type"] = json!(["null", "long"])),
    ("a number narrowed", |schema| field(schema, &["timestamp"])["type"] = json!("int")),
    ("a number of another meaning", |schema| field(schema, &["timestamp"])["type"]["logicalType"] = json!("timestamp-micros")),
    ("an optional field made required", |schema| field(schema, &["channel", "_type"])["type"] = json!("string")),
    ("a required field made optional", |schema| field(schema, &["eventType"])["type"] = json!(["null", "string"])),
    ("a field added without a default", |schema| details(schema).push(json!({"name": "mood", "type": "string"}))),
    ("a default taken away", |schema| drop(field(schema, &["directMarketing", "clicks"]).as_object_mut().unwrap().remove("default"))),
    ("an enum symbol added", |schema| {
        let state = &mut field(schema, &["identityMap"])["type"]["values"]["items"]["fields"][1]["type"];
        state["symbols"].as_array_mut().unwrap().push(json!("guest"));
    }),
    ("another namespace", |schema| schema["namespace"] = json!("customerio.xdm.v2")),
    ("a record renamed", |schema| field(schema, &["_tenant"])["type"]["name"] = json!("Renter")),
];

#[rustfmt::skip]
const HARMLESS: &[(&str, Edit)] = &[
    ("an optional field added", |schema| details(schema).push(json!({"name": "mood", "type": ["null", "string"], "default": null}))),
    ("other words", |schema| field(schema, &["eventType"])["doc"] = json!("What happened.")),
    ("the next version", |schema| schema["schemaVersion"] = json!(2)),
];

#[test]
fn only_breaking_edits_of_the_schema_are_reported() {
    let edits = BREAKING.iter().map(|edit| (edit, true)).chain(HARMLESS.iter().map(|edit| (edit, false)));
    for ((what, edit), breaks) in edits {
        let mut edited = current();
        edit(&mut edited);
        assert_ne!(edited, current(), "{what}: the edit changes nothing");
        let found = breaking(&current(), &edited);
        assert_eq!(!found.is_empty(), breaks, "{what}: {found:?}");
        assert!(breaks || mutually_readable(&current(), &edited), "{what}: a registry would refuse it");
    }
}
