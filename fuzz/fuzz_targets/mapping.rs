//! Maps arbitrary bodies: the result is a rejection, or an event that Platform accepts and that the typed topic can
//! hold without loss.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mapping::{OnMissingIdentity, ReceivedAt, SourceOptions, explain, map};
use serde_json::Value;
use xdm::avro::{Decoder, Encoder, Framing};

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new().expect("a decoder"));
static ENCODER: LazyLock<Encoder> = LazyLock::new(|| Encoder::new(Framing::SingleObject).expect("an encoder"));

const RECEIVED_AT: i64 = 1_700_000_001_480;

fuzz_target!(|body: &[u8]| {
    let private = SourceOptions {
        hash_email: true,
        include_phone: true,
        workspace_id: Some("7".to_owned()),
        on_missing_identity: OnMissingIdentity::DeadLetter,
        ..SourceOptions::default()
    };
    for source in [SourceOptions::default(), private] {
        check(body, &source);
    }
});

fn check(body: &[u8], source: &SourceOptions) {
    let received_at = ReceivedAt::from_millis(RECEIVED_AT);
    let tenant = "acme".parse().expect("a tenant id");
    let mapped = match map(body, received_at, source) {
        Ok(mapped) => mapped,
        Err(rejection) => {
            assert!(!rejection.message.is_empty() && rejection.message.len() <= 1024);
            return;
        }
    };
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &tenant, &mut json);
    assert!(json.len() <= 10_000, "{} bytes", json.len());
    let event: Value = serde_json::from_slice(&json).expect("JSON");
    nothing_empty(&event);
    primary(&event, source);

    let mut avro = Vec::new();
    ENCODER.encode(&mapped.event, &mut avro).expect("Avro");
    let read = DECODER.decode(&avro).expect("the same event");
    let mut again = Vec::new();
    xdm::write_json(&read, &tenant, &mut again);
    let again: Value = serde_json::from_slice(&again).expect("JSON");
    assert_eq!(again, event, "encoding as Avro and decoding changed the event");

    if body.len() < 1500 {
        let explanation = explain(body, received_at, source, &tenant).expect("what is mapped can be explained");
        assert_eq!(explanation.event, event);
        for field in &explanation.fields {
            assert!(field.rule.is_some(), "no rule for {}", field.path);
        }
    }
}

/// XDM allows neither null nor empty objects and lists. Empty texts are allowed.
fn nothing_empty(value: &Value) {
    match value {
        Value::Null => panic!("null"),
        Value::Array(elements) => {
            assert!(!elements.is_empty());
            elements.iter().for_each(nothing_empty);
        }
        Value::Object(members) => {
            assert!(!members.is_empty());
            members.values().for_each(nothing_empty);
        }
        _ => {}
    }
}

/// If the event has identities, exactly one is primary. With `HASH_EMAIL`, no identity is an email address.
fn primary(event: &Value, source: &SourceOptions) {
    let Some(identities) = event.get("identityMap").and_then(Value::as_object) else {
        assert!(source.on_missing_identity == OnMissingIdentity::Send);
        return;
    };
    let all: Vec<&Value> = identities.values().flat_map(|list| list.as_array().expect("a list")).collect();
    assert_eq!(all.iter().filter(|identity| identity["primary"] == true).count(), 1);
    for identity in all {
        let id = identity["id"].as_str().expect("text");
        assert!(!id.trim().is_empty() && id.chars().count() <= 1024);
        assert!(!(source.hash_email && id.contains('@')), "an address in spite of HASH_EMAIL");
    }
}
