//! Compares the JSON form of an event with the expected text, and tests which values are left out.

use super::*;
use crate::write_json;

pub(crate) fn sms_failed() -> ExperienceEvent<'static> {
    let mut identity_map = IdentityMap::default();
    for (namespace, id) in [("CustomerioID", "u1"), ("CustomerioCioID", "d9c1aa"), ("Email", "a@b.example")] {
        identity_map.add(namespace.into(), id.into());
    }
    let customerio = CustomerioDetails {
        object_type: "sms".into(),
        metric: "failed".into(),
        delivery_id: Some("RPIx".into()),
        campaign_id: Some("8".into()),
        action_id: Some("3".into()),
        person_id: Some("u1".into()),
        person_cio_id: Some("d9c1aa".into()),
        feedback_status: Some("error".into()),
        failure_message: Some("21610".into()),
        source: Some("default".into()),
        received_at: Some(Timestamp(1_700_000_001_480)),
        mapping_version: Some("1".into()),
        ..CustomerioDetails::default()
    };
    ExperienceEvent {
        id: "01HZX0000000000000000000AA".into(),
        timestamp: Timestamp(1_700_000_000_000),
        event_type: "customerio.sms.failed".into(),
        produced_by: "system".into(),
        identity_map,
        channel: Some(Channel {
            id: "https://ns.adobe.com/xdm/channels/sms".into(),
            channel_type: Some("https://ns.adobe.com/xdm/channel-types/messaging".into()),
            type_at_source: Some("sms".into()),
        }),
        direct_marketing: Some(DirectMarketing {
            message_id: Some("RPIx".into()),
            not_sent: Some(1.0.into()),
            ..DirectMarketing::default()
        }),
        tenant: Tenant { customerio },
        ..ExperienceEvent::default()
    }
}

fn json(event: &ExperienceEvent<'_>) -> String {
    let mut out = Vec::new();
    write_json(event, &"acme".parse().unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_event_is_written_as_the_exact_expected_json() {
    let expected = r#"{"_id":"01HZX0000000000000000000AA","timestamp":"2023-11-14T22:13:20.000Z","eventType":"customerio.sms.failed","producedBy":"system","identityMap":{"CustomerioID":[{"id":"u1","authenticatedState":"ambiguous","primary":true}],"CustomerioCioID":[{"id":"d9c1aa","authenticatedState":"ambiguous","primary":false}],"Email":[{"id":"a@b.example","authenticatedState":"ambiguous","primary":false}]},"channel":{"_id":"https://ns.adobe.com/xdm/channels/sms","_type":"https://ns.adobe.com/xdm/channel-types/messaging","typeAtSource":"sms"},"directMarketing":{"messageID":"RPIx","notSent":{"value":1.0}},"_acme":{"customerio":{"objectType":"sms","metric":"failed","deliveryID":"RPIx","campaignID":"8","actionID":"3","personID":"u1","personCioID":"d9c1aa","feedbackStatus":"error","failureMessage":"21610","source":"default","receivedAt":"2023-11-14T22:13:21.480Z","mappingVersion":"1"}}}"#;
    assert_eq!(json(&sms_failed()), expected);
}

#[test]
fn empty_fields_are_left_out_and_false_is_written() {
    let mut event = sms_failed();
    event.identity_map = IdentityMap::default();
    event.channel = None;
    event.push_notification_tracking =
        Some(PushNotificationTracking { custom_action: Some(CustomAction::default()), ..Default::default() });
    event.tenant.customerio.open = Some(Open { proxied: Some(false), ..Open::default() });
    event.tenant.customerio.link = Some(Link::default());
    event.tenant.customerio.devices = vec![Device::default()];
    event.tenant.customerio.subscription = Some(Subscription::default());
    let value: serde_json::Value = serde_json::from_str(&json(&event)).unwrap();
    let customerio = &value["_acme"]["customerio"];
    assert_eq!(customerio["open"], serde_json::json!({"proxied": false}));
    for (name, object) in [("link", customerio), ("devices", customerio), ("subscription", customerio)] {
        assert!(object.get(name).is_none(), "{name}");
    }
    for name in ["identityMap", "channel", "pushNotificationTracking", "_tenant"] {
        assert!(value.get(name).is_none(), "{name}");
    }
    assert!(!json(&event).contains("null"));
}

#[test]
fn special_characters_in_texts_are_escaped_in_the_json() {
    let mut event = sms_failed();
    event.tenant.customerio.subject = Some("\"\u{0}\n🎉\\".into());
    event.identity_map.add("a\"b".into(), "x".into());
    let value: serde_json::Value = serde_json::from_str(&json(&event)).unwrap();
    assert_eq!(value["_acme"]["customerio"]["subject"], "\"\u{0}\n🎉\\");
    assert_eq!(value["identityMap"]["a\"b"][0]["id"], "x");
}
