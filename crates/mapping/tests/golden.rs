//! One golden file for each event of the catalogue, with the result of mapping its sample. The files use the kinds of
//! messages (campaign, newsletter, …) in turn. [`ATTRIBUTION`] contains the fields that each kind adds, and is checked
//! for all events.
//!
//! `UPDATE_GOLDEN=1 cargo test -p mapping --test golden` regenerates the files; read the difference before committing
//! it. The independent check of the rules is in `reference.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use std::path::Path;

use customerio::catalogue::{CATALOGUE, CatalogueEvent, Variant};
use customerio::sample::{Person, Sample};
use mapping::{ReceivedAt, SourceOptions, map};
use serde_json::{Value, json};

/// Fields of `_acme.customerio` that each kind of message adds to an event, with their values.
const ATTRIBUTION: [(Variant, &[(&str, &str)]); 6] = [
    (Variant::Campaign, &[DELIVERY, ("campaignID", "8"), ("actionID", "17")]),
    (
        Variant::Workflow,
        &[DELIVERY, ("campaignID", "8"), ("actionID", "17"), ("parentActionID", "3"), JOURNEY, TRIGGER_EVENT],
    ),
    (Variant::Broadcast, &[DELIVERY, ("broadcastID", "3"), ("triggerID", "8"), ("actionID", "17"), JOURNEY]),
    (Variant::Newsletter, &[DELIVERY, ("newsletterID", "8"), ("contentID", "2")]),
    (Variant::Transactional, &[DELIVERY, ("transactionalMessageID", "8")]),
    (Variant::None, &[]),
];
const DELIVERY: (&str, &str) = ("deliveryID", "RPILAgUBcRhIBqSfeiIwdIYJ00000007");
const JOURNEY: (&str, &str) = ("journeyID", "01GW20GXAAXBKZD8J96M8FNV3R");
const TRIGGER_EVENT: (&str, &str) = ("triggerEventID", "21E4C3CT6YDC7Y4N7FE1GWWABC");

/// Returns the sample of an event, and the mapped event.
fn pair(event: &'static CatalogueEvent, variant: Variant) -> (Value, Value) {
    let person = Person { id: "u-1042", email: "Jo.Doe@example.com", cio_id: "d9c106000001" };
    let event_id = "01E4C4CT6YDC7Y5M7FE1GWWPQJ";
    let body = Sample { event, variant, event_id, timestamp: 1_700_000_000, person, number: 7 }.body();
    let source = SourceOptions::default();
    let mapped = map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_001_480), &source).unwrap();
    assert_eq!((mapped.ignored.unknown, mapped.ignored.unreadable), (0, 0), "{body}");
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
    let event: Value = serde_json::from_slice(&json).unwrap();
    composed_schema::assert_valid(&event);
    (serde_json::from_str(&body).unwrap(), event)
}

#[test]
fn every_event_maps_to_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names = Vec::new();
    for (number, event) in CATALOGUE.iter().enumerate() {
        let variant = event.variants()[number % event.variants().len()];
        let (webhook, mapped) = pair(event, variant);
        let text = serde_json::to_string_pretty(&json!({"webhook": webhook, "event": mapped})).unwrap() + "\n";
        let name = format!("{}.json", event.subscription);
        let path = folder.join(&name);
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(text, golden, "{name}");
        names.push(name);
    }
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    names.sort();
    assert_eq!(names.len(), 73);
    assert_eq!(files, names, "a file without an event");
}

#[test]
fn each_kind_of_message_adds_only_its_attribution_fields_to_an_event() {
    let names: Vec<&str> = ATTRIBUTION.iter().flat_map(|(_, fields)| fields.iter().map(|(name, _)| *name)).collect();
    let mut checked = 0;
    for event in CATALOGUE {
        let mut others: Vec<Value> = Vec::new();
        for &variant in event.variants() {
            let (_, mut mapped) = pair(event, variant);
            let details = mapped["_acme"]["customerio"].as_object_mut().unwrap();
            let mut found: Vec<(String, String)> = Vec::new();
            for name in &names {
                found.extend(
                    details.remove(*name).map(|value| ((*name).to_owned(), value.as_str().unwrap().to_owned())),
                );
            }
            if let Some(marketing) = mapped.get_mut("directMarketing").and_then(Value::as_object_mut) {
                let message = marketing.remove("messageID");
                assert_eq!(message.is_some(), variant != Variant::None, "{} {variant:?}", event.subscription);
            }
            if mapped["directMarketing"] == json!({}) {
                mapped.as_object_mut().unwrap().remove("directMarketing");
            }
            let (_, fields) = ATTRIBUTION.iter().find(|(known, _)| *known == variant).unwrap();
            let mut wanted: Vec<(String, String)> =
                fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            found.sort();
            wanted.sort();
            assert_eq!(found, wanted, "{} {variant:?}", event.subscription);
            others.push(mapped);
            checked += 1;
        }
        assert!(
            others.iter().all(|other| *other == others[0]),
            "{}: another field depends on the kind of message",
            event.subscription
        );
    }
    assert_eq!(checked, 312);
}
