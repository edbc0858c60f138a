//! The person that an event is about, and events about the person.

use super::{Case, PERSON, body, email, preferences};

pub(super) fn people() -> Vec<Case> {
    vec![
        // The person that the event is about.
        ("no-identifiers", "identifiers missing, address in recipient", email(r#""recipient":"Jo@Example.com""#)),
        (
            "null-email",
            "the person's email is null",
            email(r#""identifiers":{"id":"u1","email":null,"cio_id":null},"recipient":"jo@example.com""#),
        ),
        (
            "email-elsewhere",
            "the person's email is no address, but email_address is",
            body(
                r#""object_type":"customer","metric":"subscribed""#,
                r#""identifiers":{"id":null,"email":"unset"},"email_address":" Jo@Example.com ""#,
            ),
        ),
        ("deleted-person", "customer_id blank after deletion", email(r#""customer_id":"","identifiers":{"id":""}"#)),
        (
            "two-ids",
            "customer_id and identifiers.id differ, as in Customer.io's examples",
            email(r#""customer_id":"0200000001","identifiers":{"id":"42"}"#),
        ),
        ("id-only", "a workspace that identifies by id alone", email(PERSON)),
        ("test-delivery", "what Send Test may lack: identifiers, cio_id, address", email(r#""delivery_id":"d1""#)),
        (
            "blocked-identities",
            "values that Identity Service blocks",
            email(r#""identifiers":{"id":"NULL","cio_id":"anonymous","email":"invalid"}"#),
        ),
        (
            "display-name",
            "a recipient with its display name, and no other identity",
            email(r#""recipient":"Jo Doe <Jo+t1@example.com>","identifiers":{"id":null},"customer_id":"""#),
        ),
        (
            "display-name-email",
            "a display name in the person's own address",
            email(r#""identifiers":{"id":"u1","email":"\"Doe, Jo\" <jo@example.com>"}"#),
        ),
        (
            "address-list",
            "several addresses do not identify a person",
            email(
                r#""identifiers":{"email":"jo@example.com, al@example.com"},"recipient":"jo@example.com;al@example.com""#,
            ),
        ),
        ("half-address", "an address that breaks off", email(r#""identifiers":{"email":"jo@"}"#)),
        (
            "invisible-characters",
            "invisible characters around and inside ids",
            email(
                "\"identifiers\":{\"id\":\"\u{200B}u\u{2060}1\u{FEFF}\",\"cio_id\":\"\\u200fc1\\u00ad\",\"email\":\"\u{200B}jo@example.com\u{200E}\"}",
            ),
        ),
        (
            "nothing-visible",
            "ids of invisible characters alone are blank",
            email(
                r#""identifiers":{"id":"\u200b","cio_id":"\ufeff\u200f","email":"\u2060"},"customer_id":" \u3164 ","recipient":"\u200b""#,
            ),
        ),
        (
            "placeholders",
            "what programs and templates write in place of an id",
            email(
                r#""identifiers":{"id":"[object Object]","cio_id":"NaN","email":"{{customer.email}}"},"customer_id":"undefined""#,
            ),
        ),
        (
            "sms-phone",
            "nothing but a phone number",
            body(
                r#""object_type":"sms","metric":"replied""#,
                r#""recipient":"+1 (555) 010-9999","inbound_event_id":"i1","to":"+15550100""#,
            ),
        ),
        (
            "sms-national-phone",
            "nothing but a phone number without its country",
            body(r#""object_type":"sms","metric":"sent""#, r#""recipient":"(415) 555-0134""#),
        ),
        // Events about the person.
        (
            "email-unsubscribed-message",
            "the message's shape",
            body(
                r#""object_type":"email","metric":"unsubscribed""#,
                r#""identifiers":{"id":"u1"},"recipient":"jo@example.com","delivery_id":"d1""#,
            ),
        ),
        (
            "email-unsubscribed-person",
            "the person's shape",
            body(
                r#""object_type":"email","metric":"unsubscribed""#,
                r#""identifiers":{"id":"u1"},"email_address":"jo@example.com""#,
            ),
        ),
        (
            "email-unsubscribed-empty-recipient",
            "the person's shape with a recipient that is empty",
            body(
                r#""object_type":"email","metric":"unsubscribed""#,
                r#""identifiers":{"id":"u1"},"email_address":"jo@example.com","recipient":"""#,
            ),
        ),
        (
            "unsubscribed-null-address",
            "the person's shape, without an address",
            body(r#""object_type":"sms","metric":"unsubscribed""#, r#""identifiers":{"id":"u1"},"email_address":null"#),
        ),
        ("preferences-not-json", "content that is no JSON", preferences(r#""<p>""#)),
        ("preferences-empty", "content that is empty", preferences(r#""""#)),
        ("preferences-null", "content that is null", preferences("null")),
        (
            "preferences-absent",
            "no content: the webhook's body-content option is off",
            body(r#""object_type":"customer","metric":"cio_subscription_preferences_changed""#, PERSON),
        ),
        (
            "preferences-flat",
            "booleans without topics around them, as a third party saw them",
            preferences(r#""{\"topic_1\":true}""#),
        ),
        (
            "preferences-other-keys",
            "members that are not booleans, and keys next to topics",
            preferences(r#""{\"topics\":{\"topic_1\":true,\"topic_2\":\"yes\",\"topic_3\":null},\"reason\":\"x\"}""#),
        ),
    ]
}
