//! Compares the mapping with the tables of its specification, cell by cell: every channel with every metric, catalogued
//! or not.
//!
//! `data/reference.md` is the specification's own text. These tests do not use the mapping's own tables, so they find
//! wrong rules and wrong rows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use std::collections::{BTreeMap, BTreeSet};

use customerio::catalogue::{Metric, ObjectType};
use mapping::{ReceivedAt, SourceOptions, map};
use serde_json::{Value, json};

const REFERENCE: &str = include_str!("data/reference.md");
const RECEIVED_AT: i64 = 1_700_000_001_480;

/// Returns the part of the page below a heading.
fn section(title: &str) -> &'static str {
    let (_, rest) = REFERENCE.split_once(&format!("\n## {title}")).unwrap_or_else(|| panic!("no section {title}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// Returns the rows of a section's table, without the header row and without backticks.
fn table(title: &str) -> Vec<Vec<String>> {
    let rows = section(title).lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

fn mapped(body: &str) -> Value {
    let source = SourceOptions::default();
    let mapped = map(body.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &source).unwrap();
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
    let event = serde_json::from_slice(&json).unwrap();
    composed_schema::assert_valid(&event);
    event
}

fn event(object_type: &str, metric: &str, data: &Value) -> Value {
    let body = json!({"event_id": "1", "object_type": object_type, "metric": metric, "timestamp": 1_700_000_000, "data": data});
    mapped(&body.to_string())
}

/// Returns a text of the tenant's field group, or the dash that means no value.
fn detail<'a>(event: &'a Value, name: &str) -> &'a str {
    event["_acme"]["customerio"].get(name).map_or("–", |value| value.as_str().unwrap())
}

fn counters(event: &Value) -> Vec<&str> {
    let names = event["directMarketing"].as_object().into_iter().flat_map(|all| all.keys());
    let counters: Vec<_> = names.map(String::as_str).filter(|name| *name != "messageID").collect();
    assert!(counters.iter().all(|name| event["directMarketing"][name] == json!({"value": 1.0})));
    counters
}

/// Returns the value of a cell for a channel and flags. Cells have forms such as
/// `open; prefetched true: bot_open; whatsapp: –` or `emailDelivered (email only)`.
fn cell<'a>(cell: &'a str, object_type: &str, flags: &[&str]) -> &'a str {
    let (general, exceptions) = match cell.split_once(" (") {
        Some((general, exception)) => (general, exception.trim_end_matches(')')),
        None => cell.split_once("; ").unwrap_or((cell, "")),
    };
    if let Some(only) = exceptions.strip_suffix(" only") {
        return if object_type == only { general } else { "–" };
    }
    let exceptions: BTreeMap<&str, &str> =
        exceptions.split("; ").filter_map(|exception| exception.split_once(": ")).collect();
    let flag = exceptions.iter().find(|(case, _)| case.strip_suffix(" true").is_some_and(|flag| flags.contains(&flag)));
    exceptions.get(object_type).or(flag.map(|(_, value)| value)).copied().unwrap_or(general)
}

/// Converts a name such as `cio_x_y` to `cioXY`.
fn lower_camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let mut letters = word.chars();
        let head: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        text + &head + letters.as_str()
    })
}

/// Returns the metrics that the page lists as actions of the person.
fn acts() -> Vec<String> {
    let row = table("Every event").into_iter().find(|row| row[0] == "producedBy").unwrap();
    let (list, _) = row[1].strip_prefix("self for ").unwrap().split_once("; else system").unwrap();
    list.split(", ").map(str::to_owned).collect()
}

fn object_types() -> Vec<&'static str> {
    ObjectType::ALL.iter().map(|object_type| object_type.as_str()).chain(["line", "live_notification"]).collect()
}

#[test]
fn every_metric_on_every_channel_matches_the_reference() {
    let rows = table("Metrics");
    assert_eq!(rows.len(), 15);
    let standard = table("Standard event types");
    let counted = ["email", "sms", "push", "in_app", "whatsapp"];
    assert!(REFERENCE.contains(&format!("counter ({} only)", counted.join(", "))));
    let acts = acts();
    let mut standards_met = BTreeSet::new();
    for row in &rows {
        let [metric, counter, feedback, interaction] = &row[..] else { panic!("{row:?}") };
        assert!(Metric::from_name(metric).is_some(), "{metric} is not in the catalogue");
        for object_type in object_types() {
            for flags in [&[][..], &["prefetched"], &["machine"]] {
                let mut data = json!({"delivery_id": "d1", "recipient": "someone@example.com"});
                flags.iter().for_each(|flag| data[*flag] = json!(true));
                // This pair is an event about a person, which the table `Person events` covers.
                if object_type == "customer" && metric == "unsubscribed" {
                    continue;
                }
                let found = event(object_type, metric, &data);
                let what = format!("{object_type} {metric} {flags:?}");
                let is_counted = counted.contains(&object_type);
                let counter = if is_counted { cell(counter, object_type, flags) } else { "–" };
                assert_eq!(counters(&found), if counter == "–" { vec![] } else { vec![counter] }, "{what}");
                assert_eq!(detail(&found, "feedbackStatus"), cell(feedback, object_type, flags), "{what}");
                assert_eq!(detail(&found, "interactionType"), cell(interaction, object_type, flags), "{what}");
                let message_id = found.pointer("/directMarketing/messageID");
                assert_eq!(message_id, is_counted.then_some(&json!("d1")), "{what}");
                let machine = (metric == "opened" && flags.contains(&"prefetched"))
                    || (metric == "clicked" && flags.contains(&"machine"));
                let by = if acts.contains(metric) && !machine { "self" } else { "system" };
                assert_eq!(found["producedBy"], by, "{what}");
                let named =
                    standard.iter().find(|row| row[0] == object_type && row[1].split(' ').next() == Some(metric));
                let expected = match named {
                    Some(row) => row[2].clone(),
                    None => format!("customerio.{}.{}", lower_camel(object_type), lower_camel(metric)),
                };
                assert_eq!(found["eventType"], expected, "{what}");
                named.map(|row| standards_met.insert(row));
            }
        }
    }
    assert_eq!(standards_met.len(), standard.len(), "a standard event type that no event gets");
}

#[test]
fn an_unknown_metric_sets_only_a_custom_event_type() {
    for object_type in object_types() {
        for flag in ["prefetched", "machine"] {
            let found = event(object_type, "read_aloud_twice", &json!({"delivery_id": "d1", flag: true}));
            assert_eq!(found["eventType"], format!("customerio.{}.readAloudTwice", lower_camel(object_type)));
            assert_eq!((counters(&found), &found["producedBy"]), (vec![], &json!("system")));
            for name in ["feedbackStatus", "interactionType", "isMachine"] {
                assert!(found["_acme"]["customerio"].get(name).is_none(), "{object_type} {name}");
            }
        }
    }
}

#[test]
fn every_event_about_a_person_matches_the_reference_on_any_channel() {
    let rows = table("Person events");
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let [metric, event_type, counter, interaction, also] = &row[..] else { panic!("{row:?}") };
        for object_type in object_types() {
            let content = r#"{"topics":{"topic_1":true}}"#;
            let data = json!({"email_address": "jo@example.com", "content": content});
            let found = event(object_type, metric, &data);
            assert_eq!(found["eventType"], *event_type, "{object_type} {metric}");
            assert_eq!(counters(&found), if counter == "none" { vec![] } else { vec![counter.as_str()] });
            assert_eq!(detail(&found, "interactionType"), interaction);
            assert_eq!(detail(&found, "feedbackStatus"), "–");
            assert_eq!(found["producedBy"], "self");
            let subscription = &found["_acme"]["customerio"]["subscription"];
            match also.strip_prefix("subscription.status ") {
                Some(status) => assert_eq!(*subscription, json!({"status": status})),
                None => assert_eq!(*subscription, json!({"topics": [{"id": "topic_1", "subscribed": true}]})),
            }
        }
    }
    // Each metric of the catalogue is in one of the two tables. `unsubscribed`, which has two shapes, is in both.
    let named: BTreeSet<String> = [table("Metrics"), rows].concat().into_iter().map(|row| row[0].clone()).collect();
    let catalogued: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.as_str().to_owned()).collect();
    assert_eq!(named, catalogued);
    assert!(acts().iter().all(|act| catalogued.contains(act)), "an action that is not a metric");
}

#[test]
fn every_channel_matches_the_reference() {
    let rows: BTreeMap<String, Vec<String>> = table("Channels").into_iter().map(|row| (row[0].clone(), row)).collect();
    assert_eq!(rows.len(), 7);
    for object_type in object_types() {
        let found = event(object_type, "converted", &json!({}));
        let expected = rows.get(object_type).map(|row| {
            let kind = format!("https://ns.adobe.com/xdm/channel-types/{}", row[2]);
            json!({"_id": row[1], "_type": kind, "typeAtSource": object_type})
        });
        assert_eq!(found.get("channel"), expected.as_ref(), "{object_type}");
    }
}

/// Returns input and output of every copied value in the table of the tenant's field group. The row
/// `link {id, href, machine}` from `data.link_id, href, machine` becomes three pairs.
fn copies() -> Vec<(String, String)> {
    let mut copies = Vec::new();
    for row in table("Tenant field group").iter().flat_map(|row| row.chunks(2)) {
        let (field, from) = (row[0].as_str(), row[1].as_str());
        let outputs: Vec<String> = match field.split_once(" {") {
            Some((object, members)) => {
                members.trim_end_matches('}').split(", ").map(|member| format!("{object}/{member}")).collect()
            }
            None => vec![field.to_owned()],
        };
        let inputs: Vec<String> = match from.strip_prefix("data.") {
            Some("recipients[] {device_id, device_platform, failure_message}, first 10") => continue,
            Some(names) => names.split(", ").filter(|name| !name.contains(' ')).map(str::to_owned).collect(),
            None if from == "the same booleans in data" => {
                outputs.iter().filter_map(|output| output.split('/').nth(1)).map(str::to_owned).collect()
            }
            None => continue,
        };
        assert_eq!(inputs.len(), outputs.len(), "{row:?}");
        copies.extend(inputs.into_iter().zip(outputs));
    }
    copies
}

#[test]
fn every_copied_value_is_only_in_the_field_that_the_reference_lists() {
    let copies = copies();
    assert_eq!(copies.len(), 23, "{copies:?}");
    for (input, output) in &copies {
        let is_flag = ["proxied", "prefetched", "synthetic", "machine"].contains(&input.as_str());
        for value in if is_flag { vec![json!(true), json!(false)] } else { vec![json!("v 1"), json!(17)] } {
            let found = event("slack", "sent", &json!({input: value}));
            let mut details = found["_acme"]["customerio"].clone();
            let expected = if is_flag { value } else { json!(value.as_str().unwrap_or("17")) };
            let place =
                details.pointer_mut(&format!("/{output}")).unwrap_or_else(|| panic!("{input} is not at {output}"));
            assert_eq!(*place, expected, "{input}");
            *place = json!("moved");
            assert_eq!(details.to_string().matches("v 1").count(), 0, "{input} is elsewhere, too");
        }
        for nothing in [Value::Null, json!("")] {
            let found = event("slack", "sent", &json!({input: nothing}));
            let details = &found["_acme"]["customerio"];
            assert!(details.pointer(&format!("/{output}")).is_none(), "{input} {nothing}");
        }
    }
}

#[test]
fn the_tenants_field_group_has_exactly_the_fields_of_the_table() {
    let mut named = BTreeSet::new();
    for cell in table("Tenant field group").iter().flat_map(|row| row.iter().step_by(2)) {
        for name in cell.split(", ") {
            let name = name.split([' ', '[', '.']).next().unwrap().trim_end_matches('}');
            // `.channels[]` and the members of an object belong to the name before them.
            if !name.is_empty() && !in_braces(cell, name) {
                named.insert(name.to_owned());
            }
        }
    }
    let schema: Value = serde_json::from_str(include_str!("../../../schemas/xdm/composed-schema.json")).unwrap();
    let group = &schema["properties"]["_{TENANT_ID}"]["properties"]["customerio"];
    let fields: BTreeSet<String> = group["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(named, fields);
    assert_eq!(group["required"], json!(["objectType", "metric"]));
}

fn in_braces(cell: &str, name: &str) -> bool {
    let inner = cell.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    inner.is_some_and(|(members, _)| members.split(", ").any(|member| member == name))
}

#[test]
fn the_example_of_the_reference_is_mapped_exactly() {
    let blocks: Vec<&str> = section("Example").split("```").filter_map(|block| block.strip_prefix("json\n")).collect();
    let [webhook, event] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    assert_eq!(mapped(webhook), serde_json::from_str::<Value>(event).unwrap());
}
