//! Checks the examples of `docs/sources.md`. Each option is read from a file in the form that the page shows, and must
//! change the event as the page describes. `UPDATE_DOCS=1 cargo test sources_page` regenerates the examples.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use clap::Parser;
use mapping::{ReceivedAt, Rejection};
use mapping_options::MappingArgs;
use serde_json::Value;

const BEGIN: &str = "<!-- A test in `crates/mapping-options/tests/sources_page.rs` generates what follows by mapping this body with each option. -->\n";

const BODY: &str = r#"{"event_id":"01HZX","object_type":"sms","metric":"delivered","timestamp":1700000000,
 "data":{"identifiers":{"id":"u-1042","email":"Jo@Example.com","cio_id":"d9c106"},
         "delivery_id":"RPIL","campaign_id":8,"recipient":"+1 555 123 4567"}}"#;

/// For each option, the line in the file, the variable, and the purpose.
const OPTIONS: &[(&str, &str, &str)] = &[
    (
        r#"workspace_id = "104732""#,
        "",
        "Ids of campaigns, actions and links are unique only within one workspace; with several, reports need this.",
    ),
    (
        r#"identity_namespace_id = "ShopID""#,
        "IDENTITY_NAMESPACE_ID",
        "The namespace of `identifiers.id`. Create it in Platform before the first event.",
    ),
    (
        r#"identity_namespace_cio_id = "ShopCioID""#,
        "IDENTITY_NAMESPACE_CIO_ID",
        "The namespace of `identifiers.cio_id`. Create it in Platform before the first event.",
    ),
    (
        "include_phone = true",
        "INCLUDE_PHONE",
        "Uses the recipient's number of an SMS or WhatsApp message as an identity. Without it, only if there is no other identity.",
    ),
    (
        "hash_email = true",
        "HASH_EMAIL",
        "No address is sent as an identity or as `recipient`. Texts are not changed: also drop a subject, link or failure message that may contain an address.",
    ),
    (
        r#"drop_fields = ["recipient", "campaign_id"]"#,
        "DROP_FIELDS",
        "Treats these fields of `data` as not sent. Fields that identify the person have their own options and cannot be dropped.",
    ),
    (
        r#"blocked_ids = ["undefined", "u-*"]"#,
        "BLOCKED_IDS",
        "Placeholders that are not a person's id; replaces the default list: `undefined`, `[object Object]`, `{{ customer.id }}` and the like. Letter case does not matter, one `*` stands for any text. `null`, `anonymous` and `invalid` are always blocked, as Platform blocks them.",
    ),
    (
        r#"on_missing_identity = "dead-letter""#,
        "ON_MISSING_IDENTITY",
        "For a dataset that is used for Profile only. With the default, `send`, such events are in the data lake.",
    ),
];

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    mapping: MappingArgs,
}

/// Maps the body with these lines in `SOURCES_FILE`. Returns the event's fields with their values.
fn mapped(body: &str, option: &str) -> Result<BTreeMap<String, String>, Rejection> {
    let file = std::env::temp_dir().join(format!("sources-page-{}-{:x}.toml", std::process::id(), fastrand::u64(..)));
    std::fs::write(&file, format!("[sources.default]\n{option}\n")).unwrap();
    let arguments = Arguments::try_parse_from(["map", "--sources-file", file.to_str().unwrap()]).unwrap();
    let sources = arguments.mapping.sources().unwrap_or_else(|problems| panic!("{problems}"));
    std::fs::remove_file(file).unwrap();
    let source = sources.get(Some("default")).unwrap();
    let mapped = mapping::map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_001_480), source)?;
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
    let event: Value = serde_json::from_slice(&json).unwrap();
    let mut fields = BTreeMap::new();
    let identities = event["identityMap"].as_object().into_iter().flatten();
    for (namespace, list) in identities {
        let primary = if list[0]["primary"] == true { ", primary" } else { "" };
        fields.insert(format!("identityMap.{namespace}"), format!("`{}`{primary}", list[0]["id"].as_str().unwrap()));
    }
    for (name, value) in event["_acme"]["customerio"].as_object().unwrap() {
        fields.insert(format!("_acme.customerio.{name}"), format!("`{}`", value.as_str().unwrap_or_default()));
    }
    Ok(fields)
}

/// Returns a description of the changes that an option makes to the event.
fn effect(option: &str) -> String {
    let anonymous = BODY.replace("identifiers", "other").replace("recipient", "to_whom");
    let mut effects = Vec::new();
    match mapped(&anonymous, option) {
        Err(rejection) => {
            effects.push(format!("a body that names no person becomes a dead letter `{}`", rejection.code.as_str()));
        }
        Ok(fields) => assert!(fields.keys().all(|name| !name.starts_with("identityMap"))),
    }
    let (before, after) = (mapped(BODY, "").unwrap(), mapped(BODY, option).unwrap());
    let removed = before.iter().filter(|(name, _)| !after.contains_key(*name));
    effects.extend(removed.map(|(name, value)| format!("− `{name}` {value}")));
    let added = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    effects.extend(added.map(|(name, value)| format!("+ `{name}` {value}")));
    effects.join("<br>")
}

fn page() -> String {
    let mut page = format!("{BEGIN}\n```json\n{BODY}\n```\n\nWithout any option the event holds, among others:\n\n");
    let shown = ["identityMap", "_acme.customerio.recipient", "_acme.customerio.campaignID"];
    for (name, value) in mapped(BODY, "").unwrap() {
        if shown.iter().any(|part| name.starts_with(part)) {
            writeln!(page, "- `{name}` {value}").unwrap();
        }
    }
    page.push_str("\n| in `SOURCES_FILE` | variable | changes | |\n|---|---|---|---|\n");
    for (option, variable, purpose) in OPTIONS {
        let variable = if variable.is_empty() { "–".to_owned() } else { format!("`{variable}`") };
        writeln!(page, "| `{option}` | {variable} | {} | {purpose} |", effect(option)).unwrap();
    }
    page
}

#[test]
fn the_sources_page_matches_the_effect_of_each_option() {
    for (option, ..) in OPTIONS {
        assert!(!effect(option).is_empty(), "{option} does nothing to the example");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sources.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once(BEGIN).expect("the mark where the examples begin");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(&path, format!("{before}{}", page())).unwrap();
    }
    assert_eq!(
        format!("{BEGIN}{after}"),
        page(),
        "docs/sources.md is out of step: UPDATE_DOCS=1 cargo test sources_page"
    );
}
