//! One golden file for each oddity of real webhooks and each hostile value, with the body and the resulting event or
//! rejection.
//!
//! `UPDATE_GOLDEN=1 cargo test -p mapping --test quirks` regenerates the files; read the difference before committing
//! it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;
mod quirk_cases;

use std::path::Path;

use mapping::{IgnoredFields, IgnoredIdentities, ReceivedAt, SourceOptions, map};
use serde_json::{Value, json};

#[test]
fn every_quirk_maps_to_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quirks");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let source = SourceOptions::default();
    let mut names = Vec::new();
    for (name, about, body) in quirk_cases::cases() {
        let result = match map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_001_480), &source) {
            Ok(mapped) => {
                let mut event = Vec::new();
                xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut event);
                let event: Value = serde_json::from_slice(&event).unwrap();
                composed_schema::assert_valid(&event);
                let IgnoredFields { unknown, unreadable, withheld } = mapped.ignored;
                let mut result = json!({"event": event, "ignored": {"unknown": unknown, "unreadable": unreadable, "withheld": withheld}});
                if mapped.ignored_identities != IgnoredIdentities::default() {
                    let IgnoredIdentities { not_an_address, not_international, blocked, too_long } =
                        mapped.ignored_identities;
                    result["ignored_identities"] = json!({"not_an_address": not_an_address, "not_international": not_international, "blocked": blocked, "too_long": too_long});
                }
                result
            }
            Err(rejection) => json!({"rejected": rejection.to_string()}),
        };
        let shown = if body.len() > 2000 {
            format!("{} … ({} bytes)", body.chars().take(150).collect::<String>(), body.len())
        } else {
            body
        };
        let text =
            serde_json::to_string_pretty(&json!({"about": about, "body": shown, "result": result})).unwrap() + "\n";
        let path = folder.join(format!("{name}.json"));
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(text, golden, "{name}");
        names.push(format!("{name}.json"));
    }
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    names.sort();
    assert_eq!(files, names, "a file without a case");
}
