//! Tests single rules of the mapping with example bodies. `reference.rs` compares the complete tables with their
//! specification.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use customerio::catalogue::{Metric, ObjectType, Variant};
use customerio::sample::{Person, Sample, combinations};
use mapping::{Identity, Mapped, OnMissingIdentity, ReceivedAt, RejectionCode, SourceOptions, map};
use serde_json::{Value, json};

const RECEIVED_AT: i64 = 1_700_000_001_480;

fn to_json(mapped: &Mapped<'_>) -> Value {
    let mut out = Vec::new();
    xdm::write_json(&mapped.event, &"acme".parse().unwrap(), &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn mapped_with(body: &str, source: &SourceOptions) -> Value {
    to_json(&map(body.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), source).unwrap())
}

fn mapped(body: &str) -> Value {
    mapped_with(body, &SourceOptions::default())
}

fn rejected(body: &str) -> RejectionCode {
    map(body.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &SourceOptions::default()).unwrap_err().code
}

/// Returns a body with this channel, metric and `data`.
fn body(object_type: &str, metric: &str, data: &str) -> String {
    format!(
        r#"{{"event_id":"01X","object_type":"{object_type}","metric":"{metric}","timestamp":1700000000,"data":{data}}}"#
    )
}

fn sample(object_type: ObjectType, metric: Metric, variant: Variant) -> String {
    let event = customerio::catalogue::CatalogueEvent::find(object_type, metric).unwrap();
    let person = Person { id: "u1", email: "a@example.com", cio_id: "d9" };
    Sample { event, variant, event_id: "01X", timestamp: 1_700_000_000, person, number: 1 }.body()
}

#[test]
fn every_field_of_every_sample_is_in_the_event_or_excluded_on_purpose() {
    // Message bodies and headers are never forwarded; an address of a person event is an identity.
    let left_out = ["content", "headers", "email_address"];
    for (event, variant) in combinations() {
        let xdm = mapped(&sample(event.object_type, event.metric, variant));
        let customerio = &xdm["_acme"]["customerio"];
        for field in event.fields().filter(|field| !left_out.contains(&field.as_str())) {
            let pointer = match field.as_str() {
                "subject" => "/subject",
                "recipient" => "/recipient",
                "failure_message" => "/failureMessage",
                "href" => "/link/href",
                "link_id" => "/link/id",
                "machine" => "/link/machine",
                "proxied" => "/open/proxied",
                "prefetched" => "/open/prefetched",
                "synthetic" => "/open/synthetic",
                "recipients" => "/devices/0/deviceID",
                "inbound_event_id" => "/reply/inboundEventID",
                "to" => "/reply/to",
                "tracked_response" => {
                    assert_eq!(xdm["inappMessageTracking"]["action"], "very-satisfied");
                    continue;
                }
                other => panic!("{other} has no place"),
            };
            assert!(customerio.pointer(pointer).is_some(), "{} {pointer}", event.subscription);
        }
        assert!(!xdm.to_string().contains("order is on its way.</p>"), "a message body was forwarded");
    }
}

#[test]
fn the_attribution_of_each_variant_is_mapped_as_text() {
    let ids = |variant| mapped(&sample(ObjectType::Email, Metric::Sent, variant))["_acme"]["customerio"].clone();
    for name in ["deliveryID", "campaignID", "actionID"] {
        assert!(ids(Variant::Campaign)[name].is_string() && ids(Variant::Workflow)[name].is_string(), "{name}");
    }
    for name in ["parentActionID", "journeyID", "triggerEventID"] {
        assert!(ids(Variant::Campaign).get(name).is_none() && ids(Variant::Workflow)[name].is_string(), "{name}");
    }
    // Parent ids that are null in a workflow's message are not in the event.
    for name in ["broadcastID", "newsletterID", "transactionalMessageID"] {
        assert!(ids(Variant::Workflow).get(name).is_none(), "{name}");
    }
    assert!(ids(Variant::Broadcast)["broadcastID"].is_string() && ids(Variant::Broadcast)["triggerID"].is_string());
    assert!(ids(Variant::Newsletter)["newsletterID"].is_string() && ids(Variant::Newsletter)["contentID"].is_string());
    assert!(ids(Variant::Transactional)["transactionalMessageID"].is_string());
    assert!(ids(Variant::Transactional).get("campaignID").is_none());
}

#[test]
fn email_unsubscribed_is_mapped_as_a_message_event_or_a_person_event() {
    let message =
        mapped(&body("email", "unsubscribed", r#"{"recipient":"a@b","delivery_id":"d","email_address":"a@b"}"#));
    assert_eq!(message["eventType"], "directMarketing.emailUnsubscribed");
    let person = mapped(&body("email", "unsubscribed", r#"{"email_address":"a@b"}"#));
    assert_eq!(person["eventType"], "customerio.customer.unsubscribed");
    assert_eq!(person["_acme"]["customerio"]["subscription"]["status"], "unsubscribed");
    assert_eq!(person["channel"]["typeAtSource"], "email");
}

#[test]
fn preferences_are_read_from_json_inside_a_string_and_sorted() {
    let data =
        r#"{"content":"{\"topics\":{\"topic_2\":false,\"topic_1\":true,\"x\":1},\"channels\":{\"email\":true}}"}"#;
    let xdm = mapped(&body("customer", "cio_subscription_preferences_changed", data));
    assert_eq!(
        xdm["_acme"]["customerio"]["subscription"],
        json!({"topics":[{"id":"topic_1","subscribed":true},{"id":"topic_2","subscribed":false}],"channels":[{"id":"email","subscribed":true}]})
    );
    for content in [r#""""#, r#""no json""#, r#""{\"topic_1\":true}""#, "null", "[1]"] {
        let xdm =
            mapped(&body("customer", "cio_subscription_preferences_changed", &format!(r#"{{"content":{content}}}"#)));
        assert!(xdm["_acme"]["customerio"].get("subscription").is_none(), "{content}");
    }
}

#[test]
fn opens_and_clicks_of_machines_are_distinguished_from_those_of_people() {
    let open = |flag: &str| mapped(&body("email", "opened", flag));
    let human = open(r#"{"prefetched":false}"#);
    assert_eq!((&human["producedBy"], &human["_acme"]["customerio"]["isMachine"]), (&json!("self"), &json!(false)));
    let machine = open(r#"{"prefetched":true,"proxied":true}"#);
    assert_eq!(machine["producedBy"], "system");
    assert_eq!(machine["_acme"]["customerio"]["interactionType"], "bot_open");
    assert_eq!(machine["_acme"]["customerio"]["isMachine"], true);
    assert_eq!(machine["directMarketing"]["opens"]["value"], 1.0);
    let unknown = open(r#"{"proxied":true}"#);
    assert!(unknown["_acme"]["customerio"].get("isMachine").is_none());
    assert_eq!(unknown["_acme"]["customerio"]["interactionType"], "open");
    let click = mapped(&body("email", "clicked", r#"{"machine":true,"link_id":"lnk_1"}"#));
    assert_eq!(click["_acme"]["customerio"]["interactionType"], "bot_click");
    assert_eq!(click["_acme"]["customerio"]["link"], json!({"id":"lnk_1","machine":true}));
}

#[test]
fn unknown_metrics_and_channels_get_a_custom_event_type() {
    let metric = mapped(&body("email", "read_aloud", r#"{"delivery_id":"d"}"#));
    assert_eq!(metric["eventType"], "customerio.email.readAloud");
    assert_eq!(metric["directMarketing"], json!({"messageID":"d"}));
    let channel = mapped(&body("live_notification", "bounced", "{}"));
    assert_eq!(channel["eventType"], "customerio.liveNotification.bounced");
    assert_eq!(channel["_acme"]["customerio"]["feedbackStatus"], "bounce");
    assert!(channel.get("channel").is_none() && channel.get("directMarketing").is_none());
    let line = body("line", "new_one", "{}");
    let source = SourceOptions::default();
    let mapped = map(line.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &source).unwrap();
    assert_eq!(mapped.labels(), ("other", "other"));
}

#[test]
fn object_type_is_read_from_its_misspelt_key_or_derived_from_the_metric() {
    let slip = r#"{"event_id":"1","object_type_type":"push","metric":"sent","timestamp":1,"data":{}}"#;
    assert_eq!(mapped(slip)["_acme"]["customerio"]["objectType"], "push");
    let none = r#"{"event_id":"1","metric":"subscribed","timestamp":1,"data":{}}"#;
    assert_eq!(mapped(none)["_acme"]["customerio"]["objectType"], "customer");
    assert_eq!(rejected(&none.replace("subscribed", "sent")), RejectionCode::MissingObjectType);
}

#[test]
fn the_first_valid_identity_in_the_fixed_order_is_primary() {
    let data = r#"{"customer_id":"0200000001","identifiers":{"id":" 42 ","email":" A@B.Example ","cio_id":"d9"}}"#;
    let xdm = mapped(&body("email", "sent", data));
    assert_eq!(
        xdm["identityMap"],
        json!({"CustomerioID":[{"id":"42","authenticatedState":"ambiguous","primary":true}],
               "CustomerioCioID":[{"id":"d9","authenticatedState":"ambiguous","primary":false}],
               "Email":[{"id":"a@b.example","authenticatedState":"ambiguous","primary":false}]})
    );
    assert_eq!(xdm["_acme"]["customerio"]["personID"], "42");
    let ids = |data: &str| mapped(&body("sms", "sent", data)).get("identityMap").cloned();
    let only = |namespace: &str, id: &str| {
        Some(json!({namespace: [{"id":id,"authenticatedState":"ambiguous","primary":true}]}))
    };
    assert_eq!(ids(r#"{"customer_id":7,"identifiers":{"id":null}}"#), only("CustomerioID", "7"));
    assert_eq!(ids(r#"{"customer_id":"","identifiers":{"id":"Anonymous","email":"no address"}}"#), None);
    assert_eq!(ids(r#"{"recipient":"+1 (555) 123"}"#), only("Phone", "+1555123"));
    // If a candidate is not an email address, the next candidate is used.
    assert_eq!(ids(r#"{"identifiers":{"email":"unset"},"email_address":"A@b"}"#), only("Email", "a@b"));
    let long = "İ".repeat(1020) + "@x";
    assert_eq!(ids(&format!(r#"{{"identifiers":{{"email":"{long}"}},"email_address":"a@b"}}"#)), only("Email", "a@b"));
    assert_eq!(ids(r#"{"recipient":"+1555","identifiers":{"id":"u"}}"#), only("CustomerioID", "u"));
    let email = mapped(&body("email", "sent", r#"{"recipient":"A@b"}"#));
    assert_eq!(email["identityMap"]["Email"][0]["id"], "a@b");
}

#[test]
fn source_options_control_phone_hashing_workspace_and_missing_identity() {
    let source = SourceOptions {
        include_phone: true,
        hash_email: true,
        workspace_id: Some("w1".into()),
        ..SourceOptions::default()
    };
    let data = r#"{"recipient":"+15551234567","identifiers":{"id":"A@b.example","email":"A@b.example"}}"#;
    let xdm = mapped_with(&body("sms", "sent", data), &source);
    // The output of `printf 'a@b.example' | sha256sum`.
    let hash = "ebb18a030bf15174f5714e24d63af1a81355c951ea7389bd2a9bd18e3d0c2477";
    assert_eq!(xdm["identityMap"]["Email_LC_SHA256"][0]["id"], hash);
    assert_eq!(xdm["identityMap"]["Phone"][0]["id"], "+15551234567");
    assert_eq!(xdm["_acme"]["customerio"]["workspaceID"], "w1");
    assert!(!xdm.to_string().to_lowercase().contains("a@b.example"));
    let email = mapped_with(&body("email", "sent", r#"{"recipient":"A@b.example"}"#), &source);
    assert!(!email.to_string().to_lowercase().contains("a@b.example"));
    let strict = SourceOptions { on_missing_identity: OnMissingIdentity::DeadLetter, ..SourceOptions::default() };
    let anonymous = body("slack", "sent", "{}");
    let result = map(anonymous.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &strict);
    assert_eq!(result.unwrap_err().code, RejectionCode::NoIdentity);
    let lenient = SourceOptions::default();
    let result = map(anonymous.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), &lenient).unwrap();
    assert_eq!(result.identity, Identity::Missing);
}

#[test]
fn an_event_time_after_received_at_is_adjusted_up_to_a_day_and_rejected_beyond() {
    let at = |timestamp: &str| body("email", "sent", "{}").replace("1700000000,", &format!("{timestamp},"));
    assert_eq!(mapped(&at("1700000000"))["timestamp"], "2023-11-14T22:13:20.000Z");
    // A record that another program wrote may have any `received-at`. An event time that RFC 3339 cannot express is
    // refused even if it is before `received-at`.
    let beyond = at("300000000000");
    let refused = map(beyond.as_bytes(), ReceivedAt::from_millis(i64::MAX), &SourceOptions::default()).unwrap_err();
    assert_eq!(refused.code, RejectionCode::BadTimestamp);
    assert!(refused.message.contains("9999"), "{refused}");
    // A gateway's clock may be slow by up to a day: 1,700,086,401 is 86,399.52 s after `received-at`.
    for ahead in ["1700000002", "1700000301", "1700086401"] {
        let adjusted = mapped(&at(ahead));
        assert_eq!(adjusted["timestamp"], "2023-11-14T22:13:21.480Z");
        assert_eq!(adjusted["_acme"]["customerio"]["timestampAdjusted"], true);
    }
    let (source, body) = (SourceOptions::default(), at("1700000302"));
    let ahead = |received_at| map(body.as_bytes(), ReceivedAt::from_millis(received_at), &source).unwrap().ahead_ms;
    assert_eq!((ahead(RECEIVED_AT), ahead(1_700_000_302_000), ahead(1_700_000_303_000)), (300_520, 0, -1000));
    for same in ["\"1700000000\"", "1.7e9", "1700000000.0"] {
        assert_eq!(mapped(&at(same))["timestamp"], "2023-11-14T22:13:20.000Z", "{same}");
    }
    assert!(mapped(&at("1"))["_acme"]["customerio"].get("timestampAdjusted").is_none());
    for bad in [
        "1700086402",
        "1700000000000",
        "\"1700000000000\"",
        "0",
        "-5",
        "\"0\"",
        "\"soon\"",
        "1700000000.5",
        "null",
        "9223372036854775807",
    ] {
        assert_eq!(rejected(&at(bad)), RejectionCode::BadTimestamp, "{bad}");
    }
}

#[test]
fn an_id_that_is_not_a_plain_uri_segment_is_hashed() {
    let id = |id: &str| mapped(&body("email", "sent", "{}").replace("01X", id))["_id"].as_str().unwrap().to_owned();
    assert_eq!(id("01HXYZ-a_b.c~"), "01HXYZ-a_b.c~");
    // The outputs of `printf 'a:b' | sha256sum` and `printf 'ü' | sha256sum`.
    assert_eq!(id("a:b"), "6783a31eabf68ccc0660f935c0826282bdd2241f3a80a9f2d10d59aea9ebb5d8");
    assert_eq!(id(&"x".repeat(65)).len(), 64);
    assert_eq!(id("ü"), "607474ca475a9724d7360aba71a56d5df77e61350e3f724cfa1f46e857e2d85f");
}

#[test]
fn every_unmappable_body_has_a_rejection_code() {
    let good = body("email", "sent", "{}");
    assert_eq!(rejected("{"), RejectionCode::NotJson);
    assert_eq!(rejected("[]"), RejectionCode::NotJson);
    assert_eq!(rejected(&good.replace(r#""01X""#, r#""  ""#)), RejectionCode::MissingEventId);
    assert_eq!(rejected(&good.replace(r#""01X""#, "null")), RejectionCode::MissingEventId);
    assert_eq!(rejected(&good.replace(r#""sent""#, r#""""#)), RejectionCode::MissingMetric);
    assert_eq!(rejected(&good.replace(r#""email""#, "{}")), RejectionCode::MissingObjectType);
    assert_eq!(rejected(&good.replace(":{}", ":[]")), RejectionCode::BadData);
    assert_eq!(rejected(&good.replace(r#","data":{}"#, "")), RejectionCode::BadData);
    assert_eq!(rejected(&body("email", &"m".repeat(20_000), "{}")), RejectionCode::TooLarge);
}

#[test]
fn a_huge_subject_is_truncated_between_code_points() {
    let subject = "🎉".repeat(75_000);
    let xdm = mapped(&body("email", "sent", &format!(r#"{{"subject":"{subject}"}}"#)));
    let customerio = &xdm["_acme"]["customerio"];
    assert_eq!(customerio["subject"].as_str().unwrap(), "🎉".repeat(255));
    assert_eq!(customerio["truncated"], true);
    let short = mapped(&body("email", "sent", r#"{"subject":"short"}"#));
    assert!(short["_acme"]["customerio"].get("truncated").is_none());
}

#[test]
fn integer_and_text_ids_of_any_size_are_mapped_exactly() {
    let data = r#"{"campaign_id":9223372036854775809,"journey_id":15,"link_id":"lnk_1","action_id":1.5,"content_id":null,"newsletter_id":""}"#;
    let xdm = mapped(&body("email", "clicked", data));
    let customerio = &xdm["_acme"]["customerio"];
    assert_eq!(customerio["campaignID"], "9223372036854775809");
    assert_eq!(customerio["journeyID"], "15");
    for absent in ["actionID", "contentID", "newsletterID"] {
        assert!(customerio.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn at_most_ten_devices_are_kept() {
    let devices: Vec<_> = (0..12).map(|n| format!(r#"{{"device_id":"t{n}","device_platform":"android"}}"#)).collect();
    let xdm = mapped(&body("push", "clicked", &format!(r#"{{"recipients":[{}],"link_id":5}}"#, devices.join(","))));
    assert_eq!(xdm["_acme"]["customerio"]["devices"].as_array().unwrap().len(), 10);
    assert_eq!(xdm["pushNotificationTracking"], json!({"pushProvider":"fcm","customAction":{"actionID":"5"}}));
}

#[test]
fn drop_fields_removes_only_the_dropped_fields_from_the_event() {
    let body = body(
        "push",
        "failed",
        r#"{"identifiers":{"id":"u1"},"recipient":"jo@example.com","subject":"Hi","failure_message":"gone","delivery_id":"d1",
           "recipients":[{"device_id":"t","device_platform":"ios","failure_message":"gone"}]}"#,
    );
    let whole = mapped(&body);
    let drop_fields = ["recipient", "subject", "failure_message"].map(|name| name.parse().unwrap()).to_vec();
    let dropped = mapped_with(&body, &SourceOptions { drop_fields, ..SourceOptions::default() });
    let text = dropped.to_string();
    assert!(!["jo@", "Hi", "gone"].iter().any(|part| text.contains(part)), "{text}");
    let mut expected = whole;
    let customerio = expected["_acme"]["customerio"].as_object_mut().unwrap();
    for name in ["recipient", "subject", "failureMessage"] {
        customerio.remove(name).unwrap();
    }
    customerio["devices"][0].as_object_mut().unwrap().remove("failureMessage").unwrap();
    assert_eq!(dropped, expected);
}

#[test]
fn a_message_with_a_dropped_recipient_stays_a_message_event() {
    let data = r#"{"recipient":"jo@example.com","email_address":"jo@example.com","delivery_id":"d1"}"#;
    let source = SourceOptions { drop_fields: vec!["recipient".parse().unwrap()], ..SourceOptions::default() };
    let event = mapped_with(&body("email", "unsubscribed", data), &source);
    assert_eq!(event["eventType"], "directMarketing.emailUnsubscribed");
    let event = mapped_with(&body("email", "sent", r#"{"recipient":"jo@example.com"}"#), &source);
    assert_eq!(event.get("identityMap"), None);
}
