//! Bodies with oddities of real webhooks, and bodies with hostile values.

mod people;

use people::people;

/// Returns a body with an event id, a timestamp, these members of the envelope, and these members of `data`.
fn body(envelope: &str, data: &str) -> String {
    format!(r#"{{"event_id":"01HZX","timestamp":1700000000,{envelope},"data":{{{data}}}}}"#)
}

fn email(data: &str) -> String {
    body(r#""object_type":"email","metric":"sent""#, data)
}

fn preferences(content: &str) -> String {
    let kind = r#""object_type":"customer","metric":"cio_subscription_preferences_changed""#;
    body(kind, &format!(r#""identifiers":{{"id":"u1"}},"content":{content}"#))
}

fn with_time(body: String, timestamp: &str) -> String {
    body.replace("1700000000", timestamp)
}

/// Returns one JSON member for each name, all with the same value.
fn all(names: &[&str], value: &str) -> String {
    names.iter().map(|name| format!(r#""{name}":{value}"#)).collect::<Vec<_>>().join(",")
}

/// Returns the name, the description and the body of each case.
pub(crate) fn cases() -> Vec<(&'static str, &'static str, String)> {
    [envelope(), people(), attribution(), channels(), hostile()].concat()
}

type Case = (&'static str, &'static str, String);

const PERSON: &str = r#""identifiers":{"id":"u1"}"#;

fn envelope() -> Vec<Case> {
    let id = PERSON;
    let opened = |data: &str| body(r#""object_type":"email","metric":"opened""#, data);
    vec![
        // Times of events.
        (
            "late",
            "reported days after it happened",
            with_time(body(r#""object_type":"push","metric":"opened""#, id), "1699000000"),
        ),
        ("clock-ahead", "minutes after its receipt: the gateway's clock is slow", with_time(email(id), "1700000200")),
        ("clock-hours-ahead", "up to a day after its receipt", with_time(email(id), "1700086401")),
        ("clock-far-ahead", "more than a day after its receipt", with_time(email(id), "1700086402")),
        ("timestamp-text", "a timestamp as the text of a number", with_time(email(id), "\"1700000000\"")),
        ("timestamp-float", "a timestamp with a fraction of zeros", with_time(email(id), "1700000000.0")),
        // Letter case does not distinguish events.
        (
            "letter-case",
            "object_type and metric with capitals",
            body(r#""object_type":"Email","metric":"DELIVERED""#, &format!(r#"{id},"recipient":"jo@example.com""#)),
        ),
        (
            "letter-case-unknown",
            "capitals in names that are not known",
            body(r#""object_type":"Smoke_Signal","metric":"Read_Aloud""#, id),
        ),
        ("milliseconds", "a timestamp in milliseconds is not guessed at", with_time(email(id), "1700000000000")),
        // New metrics and channels.
        (
            "unknown-metric",
            "a metric that came without notice",
            body(r#""object_type":"email","metric":"read_aloud""#, id),
        ),
        (
            "unknown-channel",
            "a channel that came without notice",
            body(r#""object_type":"smoke_signal","metric":"sent""#, id),
        ),
        (
            "unpublished-channel",
            "a channel that Customer.io has but does not report yet",
            body(r#""object_type":"live_notification","metric":"clicked""#, &format!(r#"{id},"link_id":3"#)),
        ),
        (
            "unknown-fields",
            "fields that came without notice",
            email(r#""identifiers":{"id":"u1","tiktok":"x"},"mood":"good","nested":{"a":[1]}"#),
        ),
        // The key that contains the channel.
        ("no-object-type", "object_type missing from a message event", body(r#""metric":"sent""#, id)),
        (
            "no-object-type-person",
            "object_type missing from a person event",
            body(r#""metric":"unsubscribed""#, r#""email_address":"jo@example.com""#),
        ),
        (
            "object-type-type",
            "the documented misspelling",
            body(
                r#""object_type_type":"customer","metric":"cio_subscription_preferences_changed""#,
                r#""identifiers":{"id":"u1"},"content":"{\"topics\":{\"topic_1\":true,\"topic_2\":false},\"channels\":{\"email\":true}}""#,
            ),
        ),
        (
            "delivery-type",
            "a further key for the channel, as a third party saw it",
            body(
                r#""object_type":"customer","delivery_type":"email","metric":"cio_subscription_preferences_changed""#,
                id,
            ),
        ),
        (
            "null-object-type",
            "object_type is null next to the misspelling",
            body(r#""object_type":null,"object_type_type":"sms","metric":"sent""#, id),
        ),
        // Forms that other tools describe.
        ("batch", "a batch, as third parties describe it", r#"{"events":[{"event_id":"1"}]}"#.to_owned()),
        (
            "complained",
            "a metric that third parties invented passes as a new one",
            body(r#""object_type":"email","metric":"complained""#, id),
        ),
        (
            "old-activity-webhook",
            "event_type in place of object_type and metric",
            r#"{"event_id":"1","event_type":"email_delivered","timestamp":1700000000,"data":{}}"#.to_owned(),
        ),
        // Message bodies, and the bodies of webhook actions.
        (
            "body-content",
            "the message's body and headers are not forwarded",
            email(r#""identifiers":{"id":"u1"},"content":"<html>private</html>","headers":{"x":"y"}"#),
        ),
        (
            "webhook-action",
            "the body of a webhook action, which is no reporting webhook",
            r#"{"order":4711,"customer":{"id":"u1","email":"jo@example.com"}}"#.to_owned(),
        ),
        (
            "webhook-reported",
            "a webhook action as it is reported",
            body(
                r#""object_type":"webhook","metric":"failed""#,
                &format!(r#"{id},"campaign_id":5,"action_id":96,"failure_message":"HTTP 503""#),
            ),
        ),
        // Opens and clicks by machines.
        (
            "machine-open",
            "opened by a machine",
            opened(r#""identifiers":{"id":"u1"},"prefetched":true,"proxied":true"#),
        ),
        (
            "proxied-open",
            "through a privacy proxy, by a person",
            opened(r#""identifiers":{"id":"u1"},"prefetched":false,"proxied":true"#),
        ),
        (
            "synthetic-open",
            "no open was seen: inferred from a click of an unknown person",
            opened(r#""identifiers":{"id":"u1"},"synthetic":true"#),
        ),
        (
            "machine-click",
            "clicked by a machine",
            body(
                r#""object_type":"email","metric":"clicked""#,
                r#""identifiers":{"id":"u1"},"machine":true,"href":"https://example.com/a?b=1""#,
            ),
        ),
    ]
}

fn attribution() -> Vec<Case> {
    // The examples in Customer.io's specification lack fields that the specification requires.
    let example = |object_type: &str, recipient: &str| {
        format!(
            r#"{{"metric":"sent","event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"{object_type}","timestamp":1613063089,"data":{{"customer_id":"0200000001","delivery_id":"ZAIAAVTJVG0QcCok0-0ZKj6yiQ==","action_id":96,"broadcast_id":2,"recipient":"{recipient}","identifiers":{{"id":"42","email":"test@example.com","cio_id":"d9c106000001"}}}}}}"#
        )
    };
    let parents = ["campaign_id", "broadcast_id", "newsletter_id", "transactional_message_id"];
    vec![
        (
            "example-email-sent",
            "Customer.io's own example, without trigger_id and subject",
            example("email", "test@example.com"),
        ),
        ("example-sms-sent", "Customer.io's own example, without trigger_id", example("sms", "+15551234567")),
        // Types of ids.
        (
            "integer-ids",
            "ids as integers",
            email(r#""campaign_id":8,"action_id":3,"delivery_id":12,"identifiers":{"id":42}"#),
        ),
        (
            "string-ids",
            "ids as strings, leading zeros kept",
            email(r#""campaign_id":"8","customer_id":"0200000001","journey_id":15,"link_id":"007""#),
        ),
        (
            "link-text-id",
            "a link's id as text, as third parties have it",
            body(
                r#""object_type":"email","metric":"clicked""#,
                r#""identifiers":{"id":"u1"},"link_id":"lnk_1","href":"https://example.com/""#,
            ),
        ),
        // The message that caused the event.
        (
            "no-attribution",
            "neither campaign nor anything else",
            email(r#""identifiers":{"id":"u1"},"delivery_id":"d1""#),
        ),
        (
            "null-parents",
            "every parent key is there, all but one null",
            email(&format!(
                r#"{PERSON},{},"newsletter_id":10,"content_id":3"#,
                all(&[parents[0], parents[1], parents[3]], "null")
            )),
        ),
        (
            "transactional-sms",
            "a transactional message on a channel that has none in the specification, by its name",
            body(
                r#""object_type":"sms","metric":"delivered""#,
                &format!(r#"{PERSON},"transactional_message_id":"order_shipped""#),
            ),
        ),
    ]
}

fn channels() -> Vec<Case> {
    let push = |metric: &str, data: &str| {
        body(&format!(r#""object_type":"push","metric":"{metric}""#), &format!("{PERSON},{data}"))
    };
    let in_app = |data: &str| body(r#""object_type":"in_app","metric":"clicked""#, &format!("{PERSON},{data}"));
    vec![
        // Peculiarities of single channels.
        (
            "push-drafted-as-attempted",
            "the specification's slip: a draft that says attempted",
            push("attempted", r#""delivery_id":"d1""#),
        ),
        (
            "many-devices",
            "more devices than an event should hold",
            push(
                "sent",
                &format!(r#""recipients":[{}]"#, vec![r#"{"device_id":"t","device_platform":"ios"}"#; 25].join(",")),
            ),
        ),
        (
            "web-push",
            "a platform that is neither ios nor android",
            push("opened", r#""recipients":[{"device_id":"t","device_platform":"web"}]"#),
        ),
        (
            "push-recipient",
            "one recipient where the specification has a list",
            push("delivered", r#""recipient":"token-1""#),
        ),
        (
            "push-failures",
            "each device with its own failure",
            push(
                "bounced",
                r#""recipients":[{"device_id":"t1","device_platform":"ios","failure_message":"BadDeviceToken"},{"device_id":"t2","device_platform":"android"},null,7,{}]"#,
            ),
        ),
        (
            "email-failed",
            "no recipient, although the specification requires one",
            body(
                r#""object_type":"email","metric":"failed""#,
                &format!(r#"{PERSON},"subject":"Hi","failure_message":"no template""#),
            ),
        ),
        ("app-link", "a link that is no URL", in_app(r#""href":"myapp://{home} x","tracked_response":"Yes, please""#)),
        ("in-app-no-link", "a component that is no link", in_app(r#""href":"","tracked_response":"would-recommend""#)),
    ]
}

fn hostile() -> Vec<Case> {
    use customerio::webhook::{Data, Device, Identifiers};
    let id = PERSON;
    let null_objects = format!(
        r#""identifiers":{{{}}},"recipients":[null,{{{}}}]"#,
        all(Identifiers::NAMES, "null"),
        all(Device::NAMES, "null")
    );
    let flags = ["machine", "proxied", "prefetched", "synthetic"];
    let ids: Vec<&str> = Data::NAMES.iter().copied().filter(|name| name.ends_with("_id")).collect();
    let text_ids =
        format!(r#"{},{},"identifiers":{{"id":"42","cio_id":"7"}}"#, all(&ids, r#""17""#), all(&flags, r#""true""#));
    let big_ids = format!(
        r#"{},"identifiers":{{"id":9223372036854775808,"cio_id":18446744073709551616}}"#,
        all(&ids, "9223372036854775808")
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    vec![
        ("nulls", "null wherever it can stand", email(&all(Data::NAMES, "null"))),
        ("inner-nulls", "null in identifiers and devices", body(r#""object_type":"push","metric":"clicked","object_type_type":null"#, &null_objects)),
        ("null-envelope", "null for everything", format!("{{{}}}", all(&["event_id", "object_type", "metric", "timestamp", "data"], "null"))),
        ("timestamp-word", "a timestamp that is a date in words", with_time(email(id), "\"2023-11-14T22:13:20Z\"")),
        ("ids-and-flags-as-strings", "every id as a string of digits, every flag as text", body(r#""object_type":"email","metric":"clicked""#, &text_ids)),
        ("fraction-timestamp", "timestamp with a fraction", with_time(email(id), "1700000000.5")),
        ("negative-timestamp", "before 1970", with_time(email(id), "-1")),
        ("huge-timestamp", "a timestamp beyond 64 bits", with_time(email(id), "9223372036854775808")),
        ("huge-id", "an id beyond 2^63", email(r#""campaign_id":9223372036854775808,"action_id":123456789012345678901234567890,"identifiers":{"id":18446744073709551616}"#)),
        ("huge-ids", "every id 2^63", body(r#""object_type":"email","metric":"clicked""#, &big_ids)),
        ("booleans-as-ids", "ids of a wrong type are left out", email(r#""identifiers":{"id":"u1"},"campaign_id":true,"delivery_id":[1],"subject":{"a":1}"#)),
        ("huge-subject", "300 kB of subject", email(&format!(r#"{id},"subject":"{}""#, "ä€".repeat(60_000)))),
        ("huge-texts", "every text that is cut, with emoji at the edges", body(r#""object_type":"push","metric":"failed""#, &format!(r#"{id},"subject":"{}","failure_message":"{}","href":"{}","recipients":[{{"device_id":"t","failure_message":"{}"}}]"#, "🎉".repeat(3000), "é🎉".repeat(3000), "https://example.com/🎉".repeat(300), "🎉é".repeat(3000)))),
        ("huge-id-text", "too large even when texts are cut", email(&format!(r#"{id},"delivery_id":"{}""#, "x".repeat(20_000)))),
        ("long-identity", "an identity longer than Identity Service takes", email(&format!(r#""identifiers":{{"id":"{}","cio_id":"c1"}}"#, "x".repeat(1025)))),
        ("emoji", "emoji and right-to-left marks", email(r#""identifiers":{"id":"u1"},"subject":"🎉 \u202Eabc\u202C ﷽""#)),
        ("emoji-everywhere", "emoji in ids and names, raw and escaped", body(r#""object_type":"📣","metric":"👀_\ud83c\udf89""#, r#""identifiers":{"id":"👩‍👩‍👧","email":"😀@example.com"},"campaign_id":"🎯","delivery_id":"\ud83d\udce8""#)),
        ("control-characters", "escaped control characters", email(r#""identifiers":{"id":"u1"},"subject":"a\u0000b\tc\nd\u001b[31m""#)),
        ("control-characters-in-ids", "control characters where ids stand", with_time(body(r#""object_type":"email","metric":"se\u0000nt""#, r#""identifiers":{"id":"u\u00001","cio_id":"\t\n"},"delivery_id":"d\u001b""#), "1700000000")),
        ("raw-control-character", "a control character that JSON forbids", email("\"identifiers\":{\"id\":\"u1\"},\"subject\":\"a\nb\"")),
        ("lone-surrogate", "half of a surrogate pair", email(r#""identifiers":{"id":"u1"},"subject":"\ud83c""#)),
        ("duplicate-keys", "the last one counts", r#"{"event_id":"first","event_id":"last","object_type":"email","metric":"sent","timestamp":1,"timestamp":1700000000,"data":{"subject":"a","subject":"b","identifiers":{"id":"x","id":"y"}}}"#.to_owned()),
        ("duplicate-data", "the last one counts, whatever it is", r#"{"event_id":"1","object_type":"email","metric":"sent","timestamp":1700000000,"data":{"identifiers":{"id":"x"}},"data":null}"#.to_owned()),
        ("deep-nesting", "a thousand levels", email(&format!(r#"{id},"deep":{}{}"#, "[".repeat(1000), "]".repeat(1000)))),
        ("deep-nesting-in-known-fields", "a hundred thousand levels where text or an object is expected", email(&format!(r#"{id},"subject":{deep},"recipients":{deep},"content":{deep},"customer_id":{deep}"#))),
        ("data-is-a-list", "data is no object", r#"{"event_id":"1","object_type":"email","metric":"sent","timestamp":1700000000,"data":[]}"#.to_owned()),
        ("data-missing", "no data", r#"{"event_id":"1","object_type":"email","metric":"sent","timestamp":1700000000}"#.to_owned()),
        ("strange-event-id", "an event id that is no plain URI segment", email(id).replace("01HZX", "a b:c/ü")),
        ("blank-event-id", "a blank event id", email(id).replace("01HZX", " ")),
        ("blank-metric", "a blank metric", body(r#""object_type":"email","metric":"  ""#, id)),
        ("empty", "nothing at all", String::new()),
        ("array", "a JSON array", "[]".to_owned()),
        ("cut-off", "a body that breaks off", r#"{"event_id":"1","object_type":"em"#.to_owned()),
        ("trailing", "something behind the object", format!("{} x", email(id))),
        ("byte-order-mark", "a byte order mark, which JSON forbids", format!("\u{feff}{}", email(id))),
    ]
}
