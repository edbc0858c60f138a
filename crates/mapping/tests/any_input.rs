//! Tests that the mapping does not panic for any input, and that every mapped event follows the rules of XDM.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use customerio::sample::{Person, Sample, combinations};
use mapping::{ReceivedAt, SourceOptions, map};
use proptest::prelude::*;
use xdm::avro::{Decoder, Encoder, Framing};

/// Returns JSON values of any kind, and texts with a meaning in the mapping.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>()
            .prop_filter("JSON has no others", |value| value.is_finite())
            .prop_map(|value| format!("{value:?}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "[a-z@+0-9 ]{0,12}".prop_map(|text| format!("\"{text}\"")),
        prop::sample::select(vec!["email", "push", "in_app", "sent", "opened", "clicked", "unsubscribed"])
            .prop_map(|text| format!("\"{text}\"")),
        Just(r#""\ud800""#.to_owned()),
        Just(r#""{\"topics\":{\"t\":true}}""#.to_owned()),
        (1..1_700_000_000i64).prop_map(|seconds| seconds.to_string()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key(), inner), 0..6).prop_map(|members| object(&members)),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = vec![
        "event_id",
        "object_type",
        "object_type_type",
        "metric",
        "timestamp",
        "data",
        "identifiers",
        "id",
        "email",
        "cio_id",
        "customer_id",
        "email_address",
        "recipient",
        "recipients",
        "subject",
        "failure_message",
        "href",
        "link_id",
        "machine",
        "prefetched",
        "content",
        "device_id",
        "device_platform",
        "delivery_id",
    ];
    prop_oneof![4 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[a-z]{1,5}"]
}

fn object(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn check(body: &[u8]) {
    let source = SourceOptions { include_phone: true, ..SourceOptions::default() };
    let Ok(mapped) = map(body, ReceivedAt::from_millis(1_700_000_000_000), &source) else { return };
    let mut avro = Vec::new();
    Encoder::new(Framing::SingleObject).unwrap().encode(&mapped.event, &mut avro).unwrap();
    assert_eq!(Decoder::new().unwrap().decode(&avro).unwrap(), mapped.event);
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
    assert!(json.len() <= 10_000, "{} bytes from a body of {}", json.len(), body.len());
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    composed_schema::assert_valid(&json);
    let identities: Vec<_> = json["identityMap"]
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
        .flat_map(|items| items.as_array().unwrap())
        .collect();
    assert!(identities.len() <= 20);
    assert_eq!(identities.iter().filter(|identity| identity["primary"] == true).count(), identities.len().min(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_mapped_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }

    #[test]
    fn any_json_is_mapped_without_a_panic(value in value()) {
        check(value.as_bytes());
    }

    #[test]
    fn any_event_data_is_mapped_without_a_panic(members in prop::collection::vec((key(), value()), 0..12), metric in "[a-z_]{1,8}") {
        let data = object(&members);
        check(format!(r#"{{"event_id":"1","object_type":"email","metric":"{metric}","timestamp":5,"data":{data}}}"#).as_bytes());
    }

    #[test]
    fn a_sample_with_any_byte_changed_is_mapped_without_a_panic(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (event, variant) = combinations().nth(pick.index(combinations().count())).unwrap();
        let person = Person { id: "u1", email: "a@example.com", cio_id: "d9" };
        let sample = Sample { event, variant, event_id: "01X", timestamp: 1_600_000_000, person, number: 3 };
        let mut body = sample.body().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        check(&body);
    }

    #[test]
    fn long_texts_never_make_an_event_too_large(
        // Bodies around the length above which `limits.rs` measures events.
        length in 0..3_000usize,
        field in prop::sample::select(vec!["subject", "recipient", "delivery_id", "href"]),
        character in prop::sample::select(vec!["x", "\\u0001", "\\ud800", "🎉", "\\\""]),
        metric in prop::sample::select(vec!["clicked".to_owned(), "_ΐ".repeat(250)]),
        id in 0..341usize,
    ) {
        let text = character.repeat(length / character.len());
        let id = "\\ud800".repeat(id);
        let body = format!(r#"{{"event_id":"1","object_type":"email","metric":"{metric}","timestamp":5,"data":{{"{field}":"{text}","identifiers":{{"id":"{id}"}}}}}}"#);
        check(body.as_bytes());
    }

    #[test]
    fn many_preferences_never_make_an_event_too_large(count in 0..400usize, key in prop::sample::select(vec!["", "topic_", "\\u0001"])) {
        let topics: Vec<_> = (0..count).map(|n| format!(r#"\"{}{n}\":true"#, key.replace('\\', "\\\\"))).collect();
        let content = format!(r#""{{\"topics\":{{{}}}}}""#, topics.join(","));
        let metric = "cio_subscription_preferences_changed";
        check(format!(r#"{{"event_id":"1","object_type":"email","metric":"{metric}","timestamp":5,"data":{{"content":{content},"identifiers":{{"id":"u1"}}}}}}"#).as_bytes());
    }
}
