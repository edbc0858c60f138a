//! Checks a message by the rules of Adobe's documentation of streaming ingestion and streaming validation.

use serde_json::Value;

/// Top-level keys of the composed schema. Platform refuses other keys.
pub(crate) const KEYS: &[&str] = &[
    "_id",
    "timestamp",
    "eventType",
    "producedBy",
    "identityMap",
    "channel",
    "directMarketing",
    "pushNotificationTracking",
    "inappMessageTracking",
];

/// Schema, dataset, organisation and tenant that a message must refer to.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) schema_id: String,
    pub(crate) dataset_id: String,
    pub(crate) ims_org: String,
    /// Key of the tenant's fields, with a leading underscore.
    pub(crate) tenant: String,
}

/// Checks a message. Returns the event's id and the event, or the reason why Platform refuses the message.
pub(crate) fn check(message: &Value, destination: &Destination) -> Result<(String, Value), String> {
    let header = message.get("header").filter(|header| header.is_object());
    let header = header.ok_or("The 'header' field is mandatory and cannot be null or empty")?;
    let schema = header.get("schemaRef").ok_or("Message has unknown xdm format")?;
    if schema.get("id").and_then(Value::as_str) != Some(&destination.schema_id)
        || !schema
            .get("contentType")
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with("application/vnd.adobe.xed-full"))
    {
        return Err("Message has unknown xdm format".to_owned());
    }
    if header.get("imsOrgId").is_some_and(|org| org != &destination.ims_org) {
        return Err("Message has an absent or wrong ims org in the header".to_owned());
    }
    if header.get("datasetId").and_then(Value::as_str) != Some(&destination.dataset_id) {
        return Err("Message has an unknown dataset in the header".to_owned());
    }
    if header.get("source").is_some_and(|source| source.get("name").and_then(Value::as_str).is_none()) {
        return Err("Payload header is missing Source Name".to_owned());
    }
    let body = message.get("body").ok_or("Message has unknown xdm format")?;
    if body.pointer("/xdmMeta/schemaRef") != Some(schema) {
        return Err("Message has unknown xdm format".to_owned());
    }
    let event = body.get("xdmEntity").and_then(Value::as_object).ok_or("Message is invalid: no xdmEntity")?;
    let id = event.get("_id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let id = id.ok_or("Message is invalid: #/_id: required text")?;
    let timestamp =
        event.get("timestamp").and_then(Value::as_str).ok_or("Message is invalid: #/timestamp: required")?;
    timestamp.parse::<jiff::Timestamp>().map_err(|_| "Message is invalid: #/timestamp: no date-time")?;
    if !event.get(&destination.tenant).is_some_and(Value::is_object) {
        return Err(format!("Message is invalid: required key [{}] not found", destination.tenant));
    }
    if let Some(key) = event.keys().find(|key| !KEYS.contains(&key.as_str()) && **key != destination.tenant) {
        return Err(format!("Message is invalid: extraneous key [{key}] is not permitted"));
    }
    if let Some(path) = null_in(event.values()) {
        return Err(format!("Message is invalid: null is not permitted ({path})"));
    }
    Ok((id.to_owned(), Value::Object(event.clone())))
}

fn null_in<'v>(values: impl Iterator<Item = &'v Value>) -> Option<&'static str> {
    for value in values {
        let found = match value {
            Value::Null => Some("a member"),
            Value::Array(items) => null_in(items.iter()),
            Value::Object(members) => null_in(members.values()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
