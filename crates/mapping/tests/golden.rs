//! One file for each catalogued pair and kind of message: what the mapping makes of the sample, readable side by side.
//!
//! `UPDATE_GOLDEN=1 cargo test -p mapping --test golden` writes them again; read the difference before committing it. The
//! independent check of the rules is in `reference.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use std::path::Path;

use customerio::sample::{Person, Sample, combinations};
use mapping::{ReceivedAt, SourceOptions, map};

#[test]
fn every_sample_maps_to_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names = Vec::new();
    for (event, variant) in combinations() {
        let person = Person { id: "u-1042", email: "Jo.Doe@example.com", cio_id: "d9c106000001" };
        let sample = Sample {
            event,
            variant,
            event_id: "01E4C4CT6YDC7Y5M7FE1GWWPQJ",
            timestamp: 1_700_000_000,
            person,
            number: 7,
        };
        let body = sample.body();
        let source = SourceOptions::default();
        let mapped = map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_001_480), &source).unwrap();
        assert_eq!((mapped.ignored.unknown, mapped.ignored.unreadable), (0, 0), "{body}");
        let mut json = Vec::new();
        xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
        let webhook: serde_json::Value = serde_json::from_str(&body).unwrap();
        let event_json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        composed_schema::assert_valid(&event_json);
        let pair = serde_json::json!({"webhook": webhook, "event": event_json});
        let text = serde_json::to_string_pretty(&pair).unwrap() + "\n";
        let name = format!("{}.{}.json", event.subscription, variant.as_str());
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
    assert_eq!(files, names, "a file without a pair");
}
