//! Tests that the files in `schemas/` agree with each other: the schema of the typed topic, the tenant's field group,
//! and the composed schema. Platform would refuse a field that is missing from the field group, and a field that is
//! missing from the Avro schema would never be written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn avro() -> Value {
    file(include_str!("../../../schemas/experience-event.avsc"))
}

fn composed() -> Value {
    file(include_str!("../../../schemas/xdm/composed-schema.json"))
}

fn field_group() -> Value {
    file(include_str!("../../../schemas/xdm/field-group.json"))
}

/// Path and type of every leaf: `customerio.link.id` is `string`, `customerio.devices[]` is `object` and so on.
type Leaves = BTreeMap<String, String>;

/// Collects the leaves of an Avro type.
fn avro_leaves(schema: &Value, path: &str, named: &mut BTreeMap<String, Value>, leaves: &mut Leaves) {
    match schema {
        Value::Array(branches) => {
            let branch = branches.iter().find(|branch| **branch != "null").unwrap();
            avro_leaves(branch, path, named, leaves);
        }
        Value::String(name) => match named.get(name).cloned() {
            Some(known) => avro_leaves(&known, path, named, leaves),
            None => {
                let kind = if name == "double" { "number" } else { name };
                leaves.insert(path.to_owned(), kind.to_owned());
            }
        },
        Value::Object(_) if schema["type"] == "record" => {
            named.insert(schema["name"].as_str().unwrap().to_owned(), schema.clone());
            for field in schema["fields"].as_array().unwrap() {
                avro_leaves(&field["type"], &join(path, field["name"].as_str().unwrap()), named, leaves);
            }
        }
        Value::Object(_) if schema["type"] == "array" => {
            avro_leaves(&schema["items"], &format!("{path}[]"), named, leaves)
        }
        Value::Object(_) if schema["type"] == "map" => avro_leaves(&schema["values"], &join(path, "*"), named, leaves),
        Value::Object(_) if schema["logicalType"] == "timestamp-millis" => {
            leaves.insert(path.to_owned(), "date-time".to_owned());
        }
        Value::Object(_) if schema["type"] == "enum" => {
            leaves.insert(path.to_owned(), "string".to_owned());
        }
        other => avro_leaves(&other["type"], path, named, leaves),
    }
}

/// Collects the leaves of a JSON Schema.
fn json_leaves(schema: &Value, root: &Value, path: &str, leaves: &mut Leaves) {
    if let Some(reference) = schema["$ref"].as_str() {
        return json_leaves(root.pointer(reference.trim_start_matches('#')).unwrap(), root, path, leaves);
    }
    if schema["type"] == "array" {
        return json_leaves(&schema["items"], root, &format!("{path}[]"), leaves);
    }
    if let Some(properties) = schema["properties"].as_object() {
        return properties.iter().for_each(|(name, member)| json_leaves(member, root, &join(path, name), leaves));
    }
    if schema["additionalProperties"].is_object() {
        return json_leaves(&schema["additionalProperties"], root, &join(path, "*"), leaves);
    }
    let kind = if schema["format"] == "date-time" { &schema["format"] } else { &schema["type"] };
    leaves.insert(path.to_owned(), kind.as_str().unwrap_or_else(|| panic!("{path} has no type")).to_owned());
}

fn join(path: &str, name: &str) -> String {
    let name = if name == "_{TENANT_ID}" { "_tenant" } else { name };
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[test]
fn the_typed_topic_and_the_composed_schema_have_the_same_fields_of_the_same_types() {
    let (mut carried, mut accepted) = (Leaves::new(), Leaves::new());
    avro_leaves(&avro(), "", &mut BTreeMap::new(), &mut carried);
    let composed = composed();
    json_leaves(&composed, &composed, "", &mut accepted);
    // Two members of standard data types that this product never writes.
    assert_eq!(accepted.remove("pushNotificationTracking.customAction.value").unwrap(), "number");
    accepted.retain(|path, _| !(path.starts_with("directMarketing.") && path.ends_with(".id")));
    assert_eq!(carried, accepted);
}

/// Returns a schema without the parts that only the field group or only the composed schema has: descriptions, and
/// checks that are stricter than Platform's.
fn bare(schema: &Value) -> Value {
    const ONLY_IN_ONE: [&str; 9] = [
        "title",
        "description",
        "meta:xdmType",
        "meta:enum",
        "additionalProperties",
        "minProperties",
        "minLength",
        "minItems",
        "maxItems",
    ];
    match schema {
        Value::Object(members) => {
            // A property may have the name of a keyword; then its value is an object.
            let kept =
                members.iter().filter(|(name, value)| !ONLY_IN_ONE.contains(&name.as_str()) || value.is_object());
            let kept = kept.filter(|(name, _)| name.as_str() != "meta:enum");
            kept.map(|(name, member)| (name.clone(), bare(member))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(elements) => elements.iter().map(bare).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_field_group_declares_the_tenants_part_of_the_composed_schema() {
    let group = field_group();
    let declared = &group["definitions"]["customFields"]["properties"]["_{TENANT_ID}"]["properties"]["customerio"];
    let composed = composed();
    let checked = &composed["properties"]["_{TENANT_ID}"]["properties"]["customerio"];
    assert_eq!(bare(declared), bare(checked));
    assert_eq!(group["meta:intendedToExtend"], json!(["https://ns.adobe.com/xdm/context/experienceevent"]));
    assert_eq!(group["allOf"][0]["$ref"], "#/definitions/customFields");
}

#[test]
fn the_field_group_has_the_descriptions_of_the_avro_schema() {
    let avro = avro();
    let field = |schema: &Value, name: &str| {
        let fields = schema["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap().clone()
    };
    let details = field(&field(&avro, "_tenant")["type"], "customerio");
    let group = field_group();
    let properties =
        &group["definitions"]["customFields"]["properties"]["_{TENANT_ID}"]["properties"]["customerio"]["properties"];
    for field in details["type"]["fields"].as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        assert_eq!(properties[name]["description"], field["doc"], "{name}");
    }
}

#[test]
fn the_schema_request_contains_the_class_and_every_needed_field_group() {
    let request = file(include_str!("../../../schemas/xdm/schema.json"));
    let parts: Vec<_> =
        request["allOf"].as_array().unwrap().iter().map(|part| part["$ref"].as_str().unwrap()).collect();
    assert_eq!(
        parts,
        [
            "https://ns.adobe.com/xdm/context/experienceevent",
            "https://ns.adobe.com/xdm/context/experienceevent-directmarketing",
            "https://ns.adobe.com/xdm/context/experienceevent-channel",
            "https://ns.adobe.com/xdm/context/experienceevent-pushtracking",
            "https://ns.adobe.com/xdm/context/experienceevent-inappmessage-tracking",
            "{FIELD_GROUP_ID}"
        ]
    );
}
