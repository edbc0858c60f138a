//! Validates events with `schemas/xdm/composed-schema.json`, one JSON Schema with Platform's checks of an event.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let text = include_str!("../../../../schemas/xdm/composed-schema.json").replace("{TENANT_ID}", "acme");
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

/// Panics with all violations if the schema does not accept the event.
pub(crate) fn assert_valid(event: &Value) {
    let violations: Vec<String> =
        SCHEMA.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(violations.is_empty(), "{violations:#?} in {event:#}");
}

/// Whether the schema accepts the event.
#[allow(dead_code, reason = "not every test looks at refusals")]
pub(crate) fn is_valid(event: &Value) -> bool {
    SCHEMA.is_valid(event)
}
