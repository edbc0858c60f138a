//! Tests the checks of Platform's rules. Rules are broken on purpose, in events and in webhooks, and each rejection is
//! compared with the expected code and field. Each code must have a row in `docs/dead-letters.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod composed_schema;

use std::collections::BTreeSet;

use customerio::catalogue::{CatalogueEvent, Metric, ObjectType, Variant};
use customerio::sample::{Person, Sample};
use mapping::tables::{FEEDBACK_STATUSES, INTERACTION_TYPES, SUBSCRIPTION_STATUSES};
use mapping::{OnMissingIdentity, ReceivedAt, Rejection, RejectionCode, SourceOptions, map, validate};
use serde_json::{Value, json};
use xdm::event::{AuthenticatedState, Channel, Device, ExperienceEvent, Identity, Subscription};
use xdm::{Timestamp, write_json};

const RECEIVED_AT: i64 = 1_700_000_001_480;

fn received_at() -> ReceivedAt {
    ReceivedAt::from_millis(RECEIVED_AT)
}

fn click() -> String {
    let event = CatalogueEvent::find(ObjectType::Email, Metric::Clicked).unwrap();
    let person = Person { id: "u1", email: "a@example.com", cio_id: "c1" };
    let variant = Variant::Workflow;
    Sample { event, variant, event_id: "01X", timestamp: 1_700_000_000, person, number: 1 }.body()
}

fn json_of(event: &ExperienceEvent<'_>) -> Value {
    let mut json = Vec::new();
    write_json(event, &"acme".parse().unwrap(), &mut json);
    serde_json::from_slice(&json).unwrap()
}

type Break = fn(&mut ExperienceEvent<'_>);

fn identity(id: &str, primary: bool) -> Identity<'_> {
    Identity { id: id.into(), authenticated_state: AuthenticatedState::Ambiguous, primary }
}

/// Changes the id of the first identity.
fn identified(event: &mut ExperienceEvent<'_>, id: String) {
    event.identity_map.0[0].1[0].id = id.into();
}

/// The field that the rejection must contain, and a change that breaks the field's rule.
#[rustfmt::skip]
const BREAKS: &[(&str, Break)] = &[
    ("`_id`", |event| event.id = "".into()),
    ("`_id`", |event| event.id = "a b".into()),
    ("`_id`", |event| event.id = "a:b".into()),
    ("`_id`", |event| event.id = "x".repeat(65).into()),
    ("`timestamp`", |event| event.timestamp = Timestamp(-1)),
    ("`timestamp`", |event| event.timestamp = Timestamp(i64::MAX)),
    ("`timestamp`", |event| event.timestamp = Timestamp(RECEIVED_AT + 1)),
    ("`eventType`", |event| event.event_type = "".into()),
    ("`producedBy`", |event| event.produced_by = "me".into()),
    ("`identityMap`", |event| event.identity_map.0[0].0 = "Shop ID".into()),
    ("`identityMap`", |event| identified(event, " ".into())),
    ("`identityMap`", |event| identified(event, "Anonymous".into())),
    ("`identityMap`", |event| identified(event, "ü".repeat(1025))),
    ("`identityMap`", |event| event.identity_map.0[0].1 = vec![identity("x", false); 21]),
    ("`identityMap`", |event| event.identity_map.0[0].1[0].primary = false),
    ("`identityMap`", |event| event.identity_map.0[0].1.push(identity("x", true))),
    ("`channel._id`", |event| event.channel = Some(Channel { id: "a b".into(), ..Channel::default() })),
    ("`channel._type`", |event| event.channel.as_mut().unwrap().channel_type = Some("no uri".into())),
    ("customerio.objectType`", |event| event.tenant.customerio.object_type = "".into()),
    ("customerio.metric`", |event| event.tenant.customerio.metric = "".into()),
    ("customerio.feedbackStatus`", |event| event.tenant.customerio.feedback_status = Some("lost".into())),
    ("customerio.interactionType`", |event| event.tenant.customerio.interaction_type = Some("look".into())),
    ("customerio.subscription.status`", |event| event.tenant.customerio.subscription = Some(Subscription { status: Some("maybe".into()), ..Subscription::default() })),
    ("customerio.devices`", |event| event.tenant.customerio.devices = vec![Device { platform: Some("ios".into()), ..Device::default() }; 11]),
];

#[test]
fn an_event_that_breaks_a_rule_is_rejected_with_the_name_of_the_field() {
    let (body, source) = (click(), SourceOptions::default());
    let good = map(body.as_bytes(), received_at(), &source).unwrap().event;
    assert_eq!(validate(&good), Ok(()));
    for (index, (field, break_it)) in BREAKS.iter().enumerate() {
        let mut broken = good.clone();
        break_it(&mut broken);
        let rejection = validate(&broken).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::InvalidXdm, "{index}");
        assert!(rejection.message.contains(field), "{index}: {rejection}");
        // A schema cannot express how two fields depend on each other.
        let beyond_a_schema = rejection.message.contains("the receipt") || rejection.message.contains("primary");
        assert!(beyond_a_schema || !composed_schema::is_valid(&json_of(&broken)), "{index}: {field}");
    }
    let found: BTreeSet<String> = BREAKS
        .iter()
        .map(|(_, break_it)| {
            let mut broken = good.clone();
            break_it(&mut broken);
            validate(&broken).unwrap_err().message.into_owned()
        })
        .collect();
    assert_eq!(found.len(), 17, "a rule of `validation.rs` that no case breaks: {found:#?}");
}

#[test]
fn the_composed_schema_refuses_values_that_the_rust_types_exclude() {
    let (body, source) = (click(), SourceOptions::default());
    let good = json_of(&map(body.as_bytes(), received_at(), &source).unwrap().event);
    composed_schema::assert_valid(&good);
    let breaks: &[(&str, Value)] = &[
        // Keys and nulls.
        ("/extraneous", json!(1)),
        ("/channel/extraneous", json!("x")),
        ("/directMarketing/extraneous", json!({"value": 1})),
        ("/_acme/customerio/extraneous", json!("x")),
        ("/_acme/customerio/link/extraneous", json!("x")),
        ("/_id", Value::Null),
        ("/_acme/customerio/subject", Value::Null),
        ("/_acme/customerio/link", json!({})),
        ("/_acme", json!({})),
        // Types.
        ("/timestamp", json!(1_700_000_000)),
        ("/timestamp", json!("2023-11-14 22:13:20")),
        ("/timestamp", json!("2023-11-14T22:13:20.000")),
        ("/timestamp", json!("1969-11-14T22:13:20.000Z")),
        ("/_acme/customerio/campaignID", json!(7)),
        ("/_acme/customerio/metric", json!({})),
        ("/_acme/customerio/isMachine", json!("true")),
        ("/_acme/customerio/receivedAt", json!("yesterday")),
        ("/directMarketing/clicks", json!({"value": "1.0"})),
        ("/directMarketing/clicks", json!({"id": "x"})),
        ("/directMarketing/clicks", json!(1.0)),
        // Closed lists and presence.
        ("/identityMap/CustomerioID/0/authenticatedState", json!("surely")),
        ("/identityMap/CustomerioID/0/primary", json!("true")),
        ("/channel", json!({"typeAtSource": "email"})),
    ];
    for (path, value) in breaks {
        let mut broken = good.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = value.clone();
        assert!(!composed_schema::is_valid(&broken), "{path} {value}");
    }
    for required in ["/_id", "/timestamp", "/_acme", "/_acme/customerio", "/_acme/customerio/metric", "/channel/_id"] {
        let mut broken = good.clone();
        let (parent, key) = required.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        assert!(!composed_schema::is_valid(&broken), "without {required}");
    }
}

#[test]
fn closed_lists_equal_the_enums_of_the_schema_and_the_field_group() {
    let composed: Value = serde_json::from_str(include_str!("../../../schemas/xdm/composed-schema.json")).unwrap();
    let group: Value = serde_json::from_str(include_str!("../../../schemas/xdm/field-group.json")).unwrap();
    for schema in [&composed["properties"], &group["definitions"]["customFields"]["properties"]] {
        let fields = &schema["_{TENANT_ID}"]["properties"]["customerio"]["properties"];
        assert_eq!(fields["feedbackStatus"]["enum"], json!(FEEDBACK_STATUSES));
        assert_eq!(fields["interactionType"]["enum"], json!(INTERACTION_TYPES));
        assert_eq!(fields["subscription"]["properties"]["status"]["enum"], json!(SUBSCRIPTION_STATUSES));
    }
}

fn rejected(body: &str) -> Rejection {
    let source = SourceOptions { on_missing_identity: OnMissingIdentity::DeadLetter, ..SourceOptions::default() };
    map(body.as_bytes(), received_at(), &source).unwrap_err()
}

#[test]
fn rejection_messages_contain_the_field_but_not_its_value() {
    let good = r#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{"customer_id":"u1"}}"#;
    map(good.as_bytes(), received_at(), &SourceOptions::default()).unwrap();
    let with = |part: &str, other: &str| good.replace(part, other);
    let secret = "jo@example.com";
    let cases = [
        (format!("{good}{secret}"), RejectionCode::NotJson, "line 1, column"),
        (format!("[{good}]"), RejectionCode::NotJson, "not an object"),
        (with(r#""event_id":"01X","#, ""), RejectionCode::MissingEventId, "`event_id`"),
        (with(r#""01X""#, &format!("[\"{secret}\"]")), RejectionCode::MissingEventId, "`event_id`"),
        (with(r#""object_type":"email","#, ""), RejectionCode::MissingObjectType, "`object_type`"),
        (with(r#""sent""#, &format!("{{\"{secret}\":1}}")), RejectionCode::MissingMetric, "`metric`"),
        (with("1700000000", &format!("\"{secret}\"")), RejectionCode::BadTimestamp, "`timestamp`"),
        (with("1700000000", "1700000000000"), RejectionCode::BadTimestamp, "`timestamp`"),
        (with("1700000000", "1700000000.5"), RejectionCode::BadTimestamp, "`timestamp`"),
        (with("1700000000", "0"), RejectionCode::BadTimestamp, "`timestamp`"),
        (with(r#"{"customer_id":"u1"}"#, &format!("\"{secret}\"")), RejectionCode::BadData, "`data`"),
        (with("customer_id", secret), RejectionCode::NoIdentity, "`data`"),
        (
            with("u1\"", &format!("u1\",\"delivery_id\":\"{}\"", secret.repeat(1000))),
            RejectionCode::TooLarge,
            "`directMarketing.messageID` with 14000 bytes",
        ),
        (with("sent", &secret.repeat(1000)), RejectionCode::TooLarge, "`eventType`"),
    ];
    for (body, code, part) in cases {
        let rejection = rejected(&body);
        assert_eq!(rejection.code, code, "{rejection}");
        assert!(rejection.message.contains(part), "{rejection}");
        assert!(!rejection.message.contains(secret), "a value in {rejection}");
    }
}

#[test]
fn an_event_with_a_time_before_1970_is_rejected() {
    // A record that another program wrote may have a `received-at` before 1970. Such a time must not be written.
    let body = click().replace("1700000000", "1");
    let rejection = map(body.as_bytes(), ReceivedAt::from_millis(-5), &SourceOptions::default()).unwrap_err();
    assert_eq!(rejection.code, RejectionCode::InvalidXdm);
    assert!(rejection.message.contains("`timestamp`"), "{rejection}");
}

#[test]
fn too_many_preferences_are_rejected_with_a_remedy_that_works() {
    let body = |topics: usize| {
        let content: serde_json::Map<_, _> = (0..topics).map(|n| (format!("topic_{n}"), json!(n % 2 == 0))).collect();
        json!({"event_id": "1", "object_type": "customer", "metric": "cio_subscription_preferences_changed", "timestamp": 5,
            "data": {"identifiers": {"id": "u1"}, "content": json!({"topics": content}).to_string()}})
        .to_string()
    };
    let source = SourceOptions::default();
    for few in [11, 200] {
        let body = body(few);
        let event = map(body.as_bytes(), received_at(), &source).unwrap().event;
        let subscription = event.tenant.customerio.subscription.unwrap();
        assert_eq!((subscription.topics.len(), event.tenant.customerio.truncated), (few, None));
    }
    let body = body(400);
    let rejection = map(body.as_bytes(), received_at(), &source).unwrap_err();
    assert_eq!(rejection.code, RejectionCode::TooLarge);
    for part in ["`_{TENANT_ID}.customerio.subscription.topics`", "in 400 entries", "DROP_FIELDS=content"] {
        assert!(rejection.message.contains(part), "{rejection}");
    }
    // With the remedy, `DROP_FIELDS=content`, the same webhook is mapped.
    let dropped = SourceOptions { drop_fields: vec!["content".parse().unwrap()], ..SourceOptions::default() };
    let event = map(body.as_bytes(), received_at(), &dropped).unwrap().event;
    assert_eq!(event.event_type, "customerio.customer.subscriptionPreferencesChanged");
    assert_eq!(event.tenant.customerio.subscription, None);
}

#[test]
fn hash_email_hashes_the_address_without_its_display_name() {
    let source = SourceOptions { hash_email: true, ..SourceOptions::default() };
    // The output of `printf 'jo+t1@example.com' | sha256sum`.
    let hash = "d0ed278e56340c72a4580fed2871c401647b82cbd873116adbe2c115989dc447";
    for data in [
        r#"{"recipient":"Jo Doe <jo+t1@example.com>"}"#,
        r#"{"identifiers":{"email":"Jo+T1@example.com"}}"#,
        r#"{"identifiers":{"id":"Jo Doe <Jo+t1@example.com>"}}"#,
    ] {
        let body = format!(r#"{{"event_id":"1","object_type":"email","metric":"sent","timestamp":5,"data":{data}}}"#);
        let json = json_of(&map(body.as_bytes(), received_at(), &source).unwrap().event).to_string();
        assert!(json.contains(hash) && !json.contains('@'), "{json}");
    }
}

#[test]
fn an_event_that_is_too_large_is_rejected_even_if_its_body_is_short() {
    // A lone surrogate grows most: from six bytes to nine, in an id that the event contains twice.
    for halves in 0..600 {
        let id = r"\ud800".repeat(halves);
        let body = format!(
            r#"{{"event_id":"1","object_type":"push","metric":"clicked","timestamp":5,"data":{{"link_id":"{id}"}}}}"#
        );
        match map(body.as_bytes(), received_at(), &SourceOptions::default()) {
            Ok(mapped) => {
                let mut json = Vec::new();
                write_json(&mapped.event, &"acme".parse().unwrap(), &mut json);
                assert!(json.len() <= 10_000, "{} bytes of a body of {}", json.len(), body.len());
            }
            Err(rejection) => assert_eq!(rejection.code, RejectionCode::TooLarge),
        }
    }
}

#[test]
fn each_rejection_code_has_a_row_in_the_documentation() {
    let page = include_str!("../../../docs/dead-letters.md");
    let (_, section) = page.split_once("\n## Written by the transformer").unwrap();
    let (section, _) = section.split_once("\n##").unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let codes: Vec<String> = RejectionCode::ALL.iter().map(|code| format!("`{}`", code.as_str())).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), codes);
    for row in rows {
        assert!(row.len() == 3 && row[1].len() > 20 && row[2].len() > 20, "says too little: {row:?}");
    }
}
