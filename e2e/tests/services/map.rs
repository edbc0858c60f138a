//! Tests `customerio-aep map` with a file, with standard input, and with each output format.

use std::io::Write;
use std::process::{Output, Stdio};

use e2e::process::command;
use e2e::turn::shared;
use serde_json::{Value, json};

const BODY: &str = r#"{"event_id":"01X","object_type":"email","metric":"opened","timestamp":1700000000,"data":{
    "identifiers":{"id":"u1"},"prefetched":true,"subject":"Größe 🎉","mood":"good"}}"#;

/// Runs `map` with this standard input.
fn map(input: &[u8], arguments: &[&str]) -> Output {
    let mut map = command("customerio-aep", &[("PLATFORM_TENANT", "_acme".to_owned())]);
    let received_at = ["map", "--received-at", "2023-11-14T22:13:21.480Z"];
    let map = map.args(received_at).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut map = map.spawn().unwrap();
    map.stdin.take().unwrap().write_all(input).unwrap();
    map.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn map_prints_the_same_event_for_a_file_and_standard_input_in_every_format() {
    let _turn = shared();
    let file = std::env::temp_dir().join(format!("map-input-{}.json", std::process::id()));
    std::fs::write(&file, BODY).unwrap();
    let from_file = map(b"", &[file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let (pretty, dash, compact) =
        (map(BODY.as_bytes(), &[]), map(BODY.as_bytes(), &["-"]), map(BODY.as_bytes(), &["--compact"]));
    let versioned: Value = serde_json::from_slice(&map(BODY.as_bytes(), &["--json"]).stdout).unwrap();
    for output in [&from_file, &pretty, &dash, &compact] {
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    }
    assert_eq!(text(&from_file.stdout), text(&pretty.stdout));
    assert_eq!(text(&dash.stdout), text(&pretty.stdout));
    assert!(text(&pretty.stdout).starts_with("{\n  \"_id\": \"01X\",\n"), "{}", text(&pretty.stdout));
    assert_eq!(text(&compact.stdout).matches('\n').count(), 1, "one line");
    let event: Value = serde_json::from_slice(&compact.stdout).unwrap();
    assert_eq!(event, serde_json::from_slice::<Value>(&pretty.stdout).unwrap());
    assert_eq!(versioned, json!({"version": 1, "event": event}));
    assert_eq!(event["_acme"]["customerio"]["interactionType"], "bot_open");
    assert_eq!(event["_acme"]["customerio"]["subject"], "Größe 🎉");
}

#[test]
fn map_explain_shows_input_and_rule_of_every_field_and_the_ignored_fields() {
    let _turn = shared();
    let words = map(BODY.as_bytes(), &["--explain"]);
    assert_eq!(words.status.code(), Some(0));
    let words = text(&words.stdout);
    let shown = "_acme.customerio.interactionType = \"bot_open\"\n    from metric, data.prefetched\n    rule: the table of the channel; bot_open and bot_click where a machine did it\n";
    assert!(words.contains(shown), "{words}");
    assert!(words.ends_with("\nIgnored:\n    data.mood: not known to the mapping\n"), "{words}");

    let json = map(BODY.as_bytes(), &["--explain", "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let event: Value = serde_json::from_slice(&map(BODY.as_bytes(), &["--compact"]).stdout).unwrap();
    assert_eq!((&json["version"], &json["event"]), (&1.into(), &event));
    let fields = json["fields"].as_array().unwrap();
    for field in fields {
        assert!(!field["rule"].as_str().unwrap().is_empty(), "{field}");
        let from = field["from"].as_array().unwrap();
        assert_eq!(from.is_empty(), field["path"] == "_acme.customerio.mappingVersion", "{field}");
    }
    assert_eq!(fields.len(), leaves(&event), "a field without explanation");
    assert_eq!(json["ignored"], json!([{"path": "data.mood", "reason": "not known to the mapping"}]));
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(leaves).sum(),
        Value::Array(elements) => elements.iter().map(leaves).sum(),
        _ => 1,
    }
}

#[test]
fn map_of_an_unmappable_body_exits_1_with_the_dead_letter_code_and_prints_no_event() {
    let _turn = shared();
    for arguments in [&[][..], &["--compact"], &["--explain"]] {
        let refused = map(&BODY.as_bytes()[..50], arguments);
        assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(1), ""));
        let words = text(&refused.stderr);
        assert!(words.starts_with("not_json: ") && words.contains("docs/dead-letters.md"), "{words}");
    }
    let late = map(BODY.replace("1700000000", "1700199999").as_bytes(), &[]);
    assert!(text(&late.stderr).starts_with("bad_timestamp: `timestamp` "), "{}", text(&late.stderr));
}

#[test]
fn map_table_prints_the_documented_mapping_page() {
    let _turn = shared();
    let table = map(b"", &["--table"]);
    assert_eq!(table.status.code(), Some(0));
    assert_eq!(text(&table.stdout), include_str!("../../../docs/mapping.md"));
}
