//! Oddities of real webhooks and hostile values.

/// A body with these members of the envelope beside event id and timestamp, and these of `data`.
fn body(envelope: &str, data: &str) -> String {
    format!(r#"{{"event_id":"01HZX","timestamp":1700000000,{envelope},"data":{{{data}}}}}"#)
}

fn email(data: &str) -> String {
    body(r#""object_type":"email","metric":"sent""#, data)
}

/// Name, what it is about, body.
pub(crate) fn cases() -> Vec<(&'static str, &'static str, String)> {
    let id = r#""identifiers":{"id":"u1"}"#;
    let everything_null: String = [
        "campaign_id",
        "delivery_id",
        "subject",
        "failure_message",
        "parent_action_id",
        "content_id",
        "customer_id",
        "recipient",
        "href",
        "link_id",
        "identifiers",
        "recipients",
        "journey_id",
        "machine",
        "prefetched",
        "content",
    ]
    .map(|name| format!(r#""{name}":null"#))
    .join(",");
    vec![
        // Customer.io's own oddities (reporting-webhooks specification and its examples).
        ("late", "reported days after it happened", body(r#""object_type":"push","metric":"opened""#, id).replace("1700000000", "1699000000")),
        ("clock-ahead", "up to five minutes in the future", body(r#""object_type":"email","metric":"sent""#, id).replace("1700000000", "1700000200")),
        ("clock-far-ahead", "more than five minutes in the future", body(r#""object_type":"email","metric":"sent""#, id).replace("1700000000", "1700009999")),
        ("milliseconds", "a timestamp in milliseconds is not guessed at", email(id).replace("1700000000", "1700000000000")),
        ("integer-ids", "ids as integers", email(r#""campaign_id":8,"action_id":3,"delivery_id":12,"identifiers":{"id":42}"#)),
        ("string-ids", "ids as strings, leading zeros kept", email(r#""campaign_id":"8","customer_id":"0200000001","journey_id":15,"link_id":"007""#)),
        ("nulls", "null wherever it can stand", email(&everything_null)),
        ("no-identifiers", "identifiers missing, address in recipient", email(r#""recipient":"Jo@Example.com""#)),
        ("null-email", "the person's email is null", email(r#""identifiers":{"id":"u1","email":null,"cio_id":null},"recipient":"jo@example.com""#)),
        ("deleted-person", "customer_id blank after deletion", email(r#""customer_id":"","identifiers":{"id":""}"#)),
        ("unknown-metric", "a metric that came without notice", body(r#""object_type":"email","metric":"read_aloud""#, id)),
        ("unknown-channel", "a channel that came without notice", body(r#""object_type":"smoke_signal","metric":"sent""#, id)),
        ("unknown-fields", "fields that came without notice", email(r#""identifiers":{"id":"u1","tiktok":"x"},"mood":"good","nested":{"a":[1]}"#)),
        ("no-object-type", "object_type missing from a message event", body(r#""metric":"sent""#, id)),
        ("no-object-type-person", "object_type missing from a person event", body(r#""metric":"unsubscribed""#, r#""email_address":"jo@example.com""#)),
        ("object-type-type", "the documented misspelling", body(r#""object_type_type":"customer","metric":"cio_subscription_preferences_changed""#, r#""identifiers":{"id":"u1"},"content":"{\"topics\":{\"topic_1\":true,\"topic_2\":false},\"channels\":{\"email\":true}}""#)),
        ("preferences-not-json", "content that is no JSON", body(r#""object_type":"customer","metric":"cio_subscription_preferences_changed""#, r#""identifiers":{"id":"u1"},"content":"<p>""#)),
        ("email-unsubscribed-message", "the message's shape", body(r#""object_type":"email","metric":"unsubscribed""#, r#""identifiers":{"id":"u1"},"recipient":"jo@example.com","delivery_id":"d1""#)),
        ("email-unsubscribed-person", "the person's shape", body(r#""object_type":"email","metric":"unsubscribed""#, r#""identifiers":{"id":"u1"},"email_address":"jo@example.com""#)),
        ("machine-open", "opened by a machine", body(r#""object_type":"email","metric":"opened""#, r#""identifiers":{"id":"u1"},"prefetched":true,"proxied":true"#)),
        ("proxied-open", "through a privacy proxy, by a person", body(r#""object_type":"email","metric":"opened""#, r#""identifiers":{"id":"u1"},"prefetched":false,"proxied":true"#)),
        ("machine-click", "clicked by a machine", body(r#""object_type":"email","metric":"clicked""#, r#""identifiers":{"id":"u1"},"machine":true,"href":"https://example.com/a?b=1""#)),
        ("body-content", "the message's body and headers are not forwarded", email(r#""identifiers":{"id":"u1"},"content":"<html>private</html>","headers":{"x":"y"}"#)),
        ("old-activity-webhook", "event_type in place of object_type and metric", r#"{"event_id":"1","event_type":"email_delivered","timestamp":1700000000,"data":{}}"#.to_owned()),
        ("batch", "a batch, as third parties describe it", r#"{"events":[{"event_id":"1"}]}"#.to_owned()),
        ("app-link", "a link that is no URL", body(r#""object_type":"in_app","metric":"clicked""#, r#""identifiers":{"id":"u1"},"href":"myapp://{home} x","tracked_response":"Yes, please""#)),
        ("sms-phone", "nothing but a phone number", body(r#""object_type":"sms","metric":"replied""#, r#""recipient":"(555) 010-9999","inbound_event_id":"i1","to":"+15550100""#)),
        ("many-devices", "more devices than an event should hold", body(r#""object_type":"push","metric":"sent""#, &format!(r#""identifiers":{{"id":"u1"}},"recipients":[{}]"#, vec![r#"{"device_id":"t","device_platform":"ios"}"#; 25].join(",")))),
        // Hostile values.
        ("numbers-as-strings", "timestamp as a string", email(id).replace("1700000000", "\"1700000000\"")),
        ("fraction-timestamp", "timestamp with a fraction", email(id).replace("1700000000", "1700000000.5")),
        ("negative-timestamp", "before 1970", email(id).replace("1700000000", "-1")),
        ("huge-id", "an id beyond 2^63", email(r#""campaign_id":9223372036854775808,"action_id":123456789012345678901234567890,"identifiers":{"id":18446744073709551616}"#)),
        ("booleans-as-ids", "ids of a wrong type are left out", email(r#""identifiers":{"id":"u1"},"campaign_id":true,"delivery_id":[1],"subject":{"a":1}"#)),
        ("huge-subject", "300 kB of subject", email(&format!(r#""identifiers":{{"id":"u1"}},"subject":"{}""#, "ä€".repeat(60_000)))),
        ("huge-id-text", "too large even when texts are cut", email(&format!(r#""identifiers":{{"id":"u1"}},"delivery_id":"{}""#, "x".repeat(20_000)))),
        ("long-identity", "an identity longer than Identity Service takes", email(&format!(r#""identifiers":{{"id":"{}","cio_id":"c1"}}"#, "x".repeat(1025)))),
        ("blocked-identities", "values that Identity Service blocks", email(r#""identifiers":{"id":"NULL","cio_id":"anonymous","email":"invalid"}"#)),
        ("emoji", "emoji and right-to-left marks", email(r#""identifiers":{"id":"u1"},"subject":"🎉 \u202Eabc\u202C ﷽""#)),
        ("control-characters", "escaped control characters", email(r#""identifiers":{"id":"u1"},"subject":"a\u0000b\tc\nd\u001b[31m""#)),
        ("raw-control-character", "a control character that JSON forbids", email("\"identifiers\":{\"id\":\"u1\"},\"subject\":\"a\nb\"")),
        ("lone-surrogate", "half of a surrogate pair", email(r#""identifiers":{"id":"u1"},"subject":"\ud83c""#)),
        ("duplicate-keys", "the last one counts", r#"{"event_id":"first","event_id":"last","object_type":"email","metric":"sent","timestamp":1,"timestamp":1700000000,"data":{"subject":"a","subject":"b","identifiers":{"id":"x","id":"y"}}}"#.to_owned()),
        ("deep-nesting", "a thousand levels", email(&format!(r#""identifiers":{{"id":"u1"}},"deep":{}{}"#, "[".repeat(1000), "]".repeat(1000)))),
        ("data-is-a-list", "data is no object", r#"{"event_id":"1","object_type":"email","metric":"sent","timestamp":1700000000,"data":[]}"#.to_owned()),
        ("data-missing", "no data", r#"{"event_id":"1","object_type":"email","metric":"sent","timestamp":1700000000}"#.to_owned()),
        ("strange-event-id", "an event id that is no plain URI segment", email(id).replace("01HZX", "a b:c/ü")),
        ("blank-event-id", "a blank event id", email(id).replace("01HZX", " ")),
        ("blank-metric", "a blank metric", body(r#""object_type":"email","metric":"  ""#, id)),
        ("empty", "nothing at all", String::new()),
        ("array", "a JSON array", "[]".to_owned()),
        ("cut-off", "a body that breaks off", r#"{"event_id":"1","object_type":"em"#.to_owned()),
        ("trailing", "something behind the object", format!("{} x", email(id))),
    ]
}
