//! Whatever comes: the mapping never panics, and what it maps keeps the rules of XDM.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use customerio::sample::{Person, Sample, combinations};
use mapping::{ReceivedAt, Source, map};
use proptest::prelude::*;
use xdm::avro::{Decoder, Encoder, Framing};

/// JSON values of any kind, and text that means something to the mapping.
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
    let source = Source { include_phone: true, ..Source::default() };
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
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }

    #[test]
    fn any_json(value in value()) {
        check(value.as_bytes());
    }

    #[test]
    fn any_data(members in prop::collection::vec((key(), value()), 0..12), metric in "[a-z_]{1,8}") {
        let data = object(&members);
        check(format!(r#"{{"event_id":"1","object_type":"email","metric":"{metric}","timestamp":5,"data":{data}}}"#).as_bytes());
    }

    #[test]
    fn a_sample_with_any_byte_changed(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (event, variant) = combinations().nth(pick.index(241)).unwrap();
        let person = Person { id: "u1", email: "a@example.com", cio_id: "d9" };
        let sample = Sample { event, variant, event_id: "01X", timestamp: 1_600_000_000, person, number: 3 };
        let mut body = sample.body().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        check(&body);
    }

    #[test]
    fn long_texts_never_make_an_event_too_large(
        // The longest bodies that are not measured.
        length in 0..3_500usize,
        field in prop::sample::select(vec!["subject", "recipient", "delivery_id", "href"]),
        character in prop::sample::select(vec!["x", "\\u0001", "🎉", "\\\""]),
    ) {
        let text = character.repeat(length / character.len());
        let body = format!(r#"{{"event_id":"1","object_type":"email","metric":"clicked","timestamp":5,"data":{{"{field}":"{text}","identifiers":{{"id":"{}"}}}}}}"#, "i".repeat(900));
        check(body.as_bytes());
    }
}

/// The schema itself must see what it is there for.
#[test]
fn the_composed_schema_refuses_what_platform_would() {
    let (event, variant) = combinations().next().unwrap();
    let person = Person { id: "u1", email: "a@example.com", cio_id: "c1" };
    let sample = Sample { event, variant, event_id: "1", timestamp: 1_700_000_000, person, number: 1 };
    let body = sample.body();
    let source = Source::default();
    let mapped = map(body.as_bytes(), ReceivedAt::from_millis(1_700_000_000_000), &source).unwrap();
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
    let good: serde_json::Value = serde_json::from_slice(&json).unwrap();
    composed_schema::assert_valid(&good);
    let breaks: [(&str, serde_json::Value); 10] = [
        ("/_id", "a b".into()),
        ("/_id", serde_json::Value::Null),
        ("/timestamp", "2023-11-14 22:13:20".into()),
        ("/timestamp", "1969-11-14T22:13:20.000Z".into()),
        ("/extraneous", 1.into()),
        ("/identityMap/CustomerioID/0/authenticatedState", "surely".into()),
        ("/identityMap/CustomerioID/0/id", "anonymous".into()),
        ("/identityMap/CustomerioID/0/id", " ".into()),
        ("/_acme/customerio/metric", serde_json::json!({})),
        ("/_acme", serde_json::json!({})),
    ];
    for (path, value) in breaks {
        let mut broken = good.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = value;
        assert!(!composed_schema::is_valid(&broken), "{path}");
    }
}
