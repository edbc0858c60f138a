//! A lenient view of one webhook body.
//!
//! The view borrows from the body and reads a value only when it is needed. A body with fields of an unexpected type,
//! with missing, repeated or unknown keys, or with nulls can be read. Only a body that is not a JSON object cannot be
//! read. The mapping decides what the fields *mean*.

mod field;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use field::Field;
pub(crate) use field::{Key, KeySeed};

/// Error for a body that is not a JSON object. It contains the position of the problem, but no part of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// The body is not JSON, or is truncated.
    #[error("the body is not JSON: reading stopped at line {line}, column {column}")]
    Syntax {
        /// Line number, beginning with 1.
        line: usize,
        /// Column in bytes, beginning with 1; 0 if the line is empty.
        column: usize,
    },
    /// The body is JSON, but not an object.
    #[error("the body is JSON but not an object")]
    NotObject,
}

/// Declares a view of an object with one [`Field`] per known key and a count of the other keys. If a key is repeated,
/// its last value is used.
macro_rules! object_view {
    ($(#[$doc:meta])* $name:ident, $seed:ident { $($(#[$field_doc:meta])* $field:ident = $key:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name<'a> {
            $($(#[$field_doc])* pub $field: Field<'a>,)*
            /// Number of unknown keys.
            pub ignored: u32,
        }

        struct $seed;

        impl<'de> Visitor<'de> for $seed {
            type Value = $name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut view = $name::default();
                while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
                    match key.as_ref() {
                        $($key => view.$field = Field(Some(map.next_value()?)),)*
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            view.ignored += 1;
                        }
                    }
                }
                Ok(view)
            }
        }

        impl<'a> $name<'a> {
            /// Names of the known fields.
            pub const NAMES: &'static [&'static str] = &[$($key),*];

            /// Returns a known field by its name.
            pub fn field_mut(&mut self, name: &str) -> Option<&mut Field<'a>> {
                match name {
                    $($key => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// Returns the view of a field that contains an object; `None` for any other value.
            #[must_use]
            pub fn of(field: Field<'a>) -> Option<Self> {
                let raw = field.0.filter(|_| field.first() == Some(b'{'))?;
                serde_json::Deserializer::from_str(raw.get()).deserialize_map($seed).ok()
            }
        }
    };
}

object_view! {
    /// Top level of a webhook's body (reporting-webhooks specification, section "Webhook format").
    Webhook, WebhookVisitor {
        /// Unique id of this event; opaque text.
        event_id = "event_id",
        /// Channel, for example `email`.
        object_type = "object_type",
        /// Name that one part of the specification uses for `object_type`, presumably by mistake.
        object_type_type = "object_type_type",
        /// Kind of the event, for example `opened`.
        metric = "metric",
        /// Time of the event, in Unix seconds.
        timestamp = "timestamp",
        /// Details of the event; see [`Data`].
        data = "data",
    }
}

object_view! {
    /// Known fields of `data`, over all kinds of events (reporting-webhooks specification).
    Data, DataVisitor {
        /// The person's identifiers; see [`Identifiers`].
        identifiers = "identifiers",
        /// Id of the person at the time of the event. Deprecated; blank after the person was deleted.
        customer_id = "customer_id",
        /// Email address in an event about a person.
        email_address = "email_address",
        /// Id of one message to one person.
        delivery_id = "delivery_id",
        /// Id of the campaign.
        campaign_id = "campaign_id",
        /// Id of the API-triggered broadcast.
        broadcast_id = "broadcast_id",
        /// Id of the newsletter.
        newsletter_id = "newsletter_id",
        /// Id of the transactional template.
        transactional_message_id = "transactional_message_id",
        /// Id of the workflow action.
        action_id = "action_id",
        /// Id of the enclosing workflow action.
        parent_action_id = "parent_action_id",
        /// Id of the newsletter variant.
        content_id = "content_id",
        /// Id of the person's run through the workflow.
        journey_id = "journey_id",
        /// Id of the trigger of a broadcast.
        trigger_id = "trigger_id",
        /// Id of the event that started the campaign.
        trigger_event_id = "trigger_event_id",
        /// Id of the event that counted as conversion.
        conversion_event_id = "conversion_event_id",
        /// Address that the message was sent to.
        recipient = "recipient",
        /// Devices of a push message; see [`Device`].
        recipients = "recipients",
        /// Subject line of the message.
        subject = "subject",
        /// Reason of a failure, as free text.
        failure_message = "failure_message",
        /// URL that the link leads to.
        href = "href",
        /// Id of a tracked link.
        link_id = "link_id",
        /// Whether a machine made the click.
        machine = "machine",
        /// Whether the open came through a privacy proxy.
        proxied = "proxied",
        /// Whether a machine made the open.
        prefetched = "prefetched",
        /// Whether the open was inferred from a click.
        synthetic = "synthetic",
        /// Name of the action of an in-app component.
        tracked_response = "tracked_response",
        /// Id of a reply.
        inbound_event_id = "inbound_event_id",
        /// Phone number that was replied to.
        to = "to",
        /// Body of the message; for a change of preferences, JSON in a string.
        content = "content",
        /// Custom email headers.
        headers = "headers",
    }
}

object_view! {
    /// Known fields of `data.identifiers`.
    Identifiers, IdentifiersVisitor {
        /// Id of the person in the organisation's own systems.
        id = "id",
        /// Email address of the person.
        email = "email",
        /// Customer.io's immutable id of the person.
        cio_id = "cio_id",
    }
}

object_view! {
    /// Known fields of an entry of `data.recipients`.
    Device, DeviceVisitor {
        /// Push token of the device.
        device_id = "device_id",
        /// Platform, such as `ios` or `android`.
        device_platform = "device_platform",
        /// Reason of the failure on this device.
        failure_message = "failure_message",
    }
}

impl<'a> Webhook<'a> {
    /// Parses a body. White space around the object is allowed; any other text is not.
    ///
    /// # Errors
    /// Returns [`NotJson`] if the body is not a JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, NotJson> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if !object {
            let any = IgnoredAny::deserialize(&mut deserializer).and_then(|_| deserializer.end());
            return Err(any.map_or_else(|error| syntax(&error), |()| NotJson::NotObject));
        }
        let view = deserializer.deserialize_map(WebhookVisitor).map_err(|error| syntax(&error))?;
        deserializer.end().map_err(|error| syntax(&error))?;
        Ok(view)
    }
}

fn syntax(error: &serde_json::Error) -> NotJson {
    NotJson::Syntax { line: error.line(), column: error.column() }
}

impl<'a> Data<'a> {
    /// Returns at most `most` devices. Entries that are not objects are skipped.
    #[must_use]
    pub fn devices(&self, most: usize) -> Vec<Device<'a>> {
        struct Devices(usize);
        impl<'de> Visitor<'de> for Devices {
            type Value = Vec<Device<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let mut devices = Vec::new();
                while let Some(raw) = sequence.next_element::<&RawValue>()? {
                    if devices.len() < self.0
                        && let Some(device) = Device::of(Field(Some(raw)))
                    {
                        devices.push(device);
                    }
                }
                Ok(devices)
            }
        }
        let Some(raw) = self.recipients.0.filter(|_| self.recipients.first() == Some(b'[')) else { return Vec::new() };
        serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Devices(most)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn data(json: &str) -> Data<'_> {
        Data::of(Webhook::parse(json.as_bytes()).unwrap().data).unwrap()
    }

    #[test]
    fn the_known_fields_of_a_body_are_read_and_unknown_fields_are_counted() {
        let body = br#"{"metric":"sent","event_id":"01E4","object_type":"email","timestamp":1613063089,"new":[1],
            "data":{"identifiers":{"id":"42","cio_id":"d9"},"campaign_id":5,"recipients":[{"device_id":"t"},7]}}"#;
        let webhook = Webhook::parse(body).unwrap();
        assert_eq!(webhook.event_id.text().unwrap(), "01E4");
        assert_eq!(webhook.timestamp.whole_number(), Some(1_613_063_089));
        assert_eq!(webhook.ignored, 1);
        let data = Data::of(webhook.data).unwrap();
        assert_eq!(Identifiers::of(data.identifiers).unwrap().id.text().unwrap(), "42");
        assert_eq!(data.campaign_id.text().unwrap(), "5");
        assert_eq!(data.devices(10).len(), 1);
    }

    #[test]
    fn only_integers_and_strings_have_a_text_which_keeps_every_digit() {
        let data = data(
            r#"{"data":{"campaign_id":9223372036854775809,"action_id":1.5,"link_id":true,"content_id":null,"journey_id":"007"}}"#,
        );
        assert_eq!(data.campaign_id.text().unwrap(), "9223372036854775809");
        assert_eq!(data.campaign_id.whole_number(), None);
        assert_eq!(data.journey_id.text().unwrap(), "007");
        assert_eq!((data.action_id.text(), data.link_id.text(), data.content_id.text()), (None, None, None));
        assert_eq!(data.link_id.boolean(), Some(true));
        for field in [data.campaign_id, data.action_id, data.link_id, data.content_id, data.journey_id, data.subject] {
            assert_eq!(field.is_text(), field.text().is_some(), "{field:?}");
        }
        assert!(data.content_id.is_null() && !data.content_id.is_absent() && data.subject.is_absent());
    }

    #[test]
    fn a_whole_number_is_read_in_every_unambiguous_form() {
        let number = |json: &str| Field::parse(json).unwrap().whole_number();
        for same in ["1700000000", "1700000000.0", "1700000000.000", "1.7e9", "17E8"] {
            assert_eq!(number(same), Some(1_700_000_000), "{same}");
            assert_eq!(number(&format!("\"{same}\"")), Some(1_700_000_000), "the text {same}");
        }
        assert_eq!(number("\" 1700000000\\u200B\""), Some(1_700_000_000));
        assert_eq!(
            (number("-1"), number("\"-1.0\""), number("9223372036854775807")),
            (Some(-1), Some(-1), Some(i64::MAX))
        );
        for other in [
            "1700000000.5",
            "\"1700000000.5\"",
            "9223372036854775808",
            "9007199254740993.0",
            "1e400",
            "\"inf\"",
            "\"NaN\"",
            "\"\"",
            "\"1,700\"",
            "\"0x10\"",
            "\"2023-11-14\"",
            "true",
            "null",
            "[1]",
            "{}",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_repeated_key_has_its_last_value() {
        let webhook = Webhook::parse(br#"{"event_id":"a","event_id":"b"}"#).unwrap();
        assert_eq!(webhook.event_id.text().unwrap(), "b");
    }

    #[test]
    fn escapes_are_decoded_and_lone_surrogates_are_replaced() {
        let data = data(r#"{"data":{"subject":"a\n\u00fc\ud83c\udf89","failure_message":"x\ud800y","href":"plain"}}"#);
        assert_eq!(data.subject.text().unwrap(), "a\nü🎉");
        assert!(data.failure_message.text().unwrap().contains('\u{fffd}'));
        assert!(matches!(data.href.text(), Some(Cow::Borrowed("plain"))));
        let webhook = Webhook::parse(br#"{"\ud800":1,"event\u005fid":"escaped key"}"#).unwrap();
        assert_eq!(webhook.event_id.text().unwrap(), "escaped key");
    }

    #[test]
    fn fields_of_unexpected_types_do_not_make_a_body_unreadable() {
        let data = data(r#"{"data":{"identifiers":[1],"recipients":{"a":1},"customer_id":{"x":1}}}"#);
        assert!(Identifiers::of(data.identifiers).is_none());
        assert!(data.devices(10).is_empty());
        assert_eq!(data.customer_id.text(), None);
        assert!(Data::of(Webhook::parse(br#"{"data":"text"}"#).unwrap().data).is_none());
    }

    #[test]
    fn a_body_is_refused_unless_it_is_an_object_and_a_syntax_error_has_its_line_and_column() {
        assert_eq!(Webhook::parse(b"[1]").unwrap_err(), NotJson::NotObject);
        assert_eq!(Webhook::parse(b" null ").unwrap_err(), NotJson::NotObject);
        for body in [&b""[..], b"{", b"{\"a\":", b"\xff\xfe\x00{}", b"{}x", b"{\"a\":\"\xff\"}x", b"\xef\xbb\xbf{}"] {
            assert!(matches!(Webhook::parse(body), Err(NotJson::Syntax { .. })), "{body:?}");
        }
        assert_eq!(Webhook::parse(b"{}\n").unwrap().ignored, 0);
        assert_eq!(Webhook::parse(b"{\n1}").unwrap_err(), NotJson::Syntax { line: 2, column: 1 });
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!(
            "{{\"x\":{}{},\"data\":{{\"content\":{}{}}}}}",
            "[".repeat(200_000),
            "]".repeat(200_000),
            "{\"a\":".repeat(9),
            "1".to_owned() + &"}".repeat(9)
        );
        assert_eq!(Webhook::parse(deep.as_bytes()).unwrap().ignored, 1);
        let known = format!("{{\"event_id\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(Webhook::parse(known.as_bytes()).unwrap().event_id.text(), None);
    }

    #[test]
    fn the_entries_of_an_object_keep_their_order() {
        let data = data(r#"{"data":{"content":{"b":true,"a":"x"}}}"#);
        let entries = data.content.entries();
        assert_eq!(entries.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(entries[0].1.boolean(), Some(true));
    }

    #[test]
    fn span_returns_the_byte_range_of_a_value_in_its_body() {
        let body = br#" {"data": {"recipients": [7, {"a":1} ] } }"#;
        let whole = Field::parse(std::str::from_utf8(body).unwrap()).unwrap();
        let data = Data::of(whole.entries()[0].1).unwrap();
        let elements = data.recipients.elements();
        assert_eq!(elements[1].json(), Some(r#"{"a":1}"#));
        assert_eq!(&body[elements[1].span(body).unwrap()], br#"{"a":1}"#);
        assert_eq!(elements[1].span(b"elsewhere"), None);
        assert!(Field::default().span(body).is_none() && whole.elements().is_empty());
    }

    #[test]
    fn debug_output_shows_the_types_of_values_but_not_the_values() {
        let webhook = Webhook::parse(br#"{"event_id":"secret"}"#).unwrap();
        assert!(!format!("{webhook:?}").contains("secret"));
    }
}
