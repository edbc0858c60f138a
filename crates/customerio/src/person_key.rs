//! Computes the key of a raw record. All events of one person have the same key, so that Kafka keeps them in order. All
//! deliveries of one webhook have the same key, so that the same dedup window receives them. The key is a hash and does
//! not show the person's id.

use std::fmt;

use crate::beginning::{Beginning, is_gzip};
use crate::hash::{Sha256, sha256_hex};
use crate::visible;
use crate::webhook::{Data, Field, Identifiers, Webhook};

/// Key of a raw record: 32 lower-case hex digits, the first half of a SHA-256.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonKey(String);

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonKey({})", self.0)
    }
}

/// Kind of value that identifies a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identifier {
    /// Id of the person in the organisation's own systems.
    Id,
    /// Customer.io's immutable id of the person.
    CioId,
    /// Email address of the person, in any letter case.
    Email,
}

impl PersonKey {
    /// Returns the key of a person's records; `None` if the value is blank.
    #[must_use]
    pub fn of_person(identifier: Identifier, value: &str) -> Option<Self> {
        let value = visible(value);
        let key = || match identifier {
            Identifier::Id => Self::of("id", &value),
            Identifier::CioId => Self::of("cio_id", &value),
            Identifier::Email => Self::of("email", &value.to_lowercase()),
        };
        (!value.is_empty()).then(key)
    }

    fn of(kind: &str, value: &str) -> Self {
        Self::half(sha256_hex([kind, ":", value]))
    }

    /// Returns the key of a body that identifies neither a person nor an event: a hash of the body. Customer.io repeats
    /// a webhook with the same bytes, so all deliveries get the same key.
    fn of_bytes(body: &[u8]) -> Self {
        let mut hash = Sha256::default();
        hash.update(b"body:");
        hash.update(body);
        Self::half(hash.hex())
    }

    fn half(mut digits: String) -> Self {
        digits.truncate(32);
        Self(digits)
    }

    /// Returns the 32 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the 32 hex digits as bytes, for the key of a Kafka record.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Returns the key for a body. It is built from the first value that is not blank: `identifiers.id`, `customer_id`,
/// `cio_id`, the email address in lower case, the event id.
///
/// A gzip body is recognised by its first bytes, because a proxy that decompresses bodies may leave the header
/// `Content-Encoding` unchanged. Only the beginning of a gzip body is decompressed. If none of these fields can be
/// read, the key is built from the bytes as received.
#[must_use]
pub fn person_key(body: &[u8]) -> PersonKey {
    let text = Beginning::text(body);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let found = match Webhook::parse(text) {
        Ok(webhook) => of_webhook(&webhook),
        Err(_) if is_gzip(body) => of_beginning(&Beginning::read(text)),
        Err(_) => None,
    };
    found.unwrap_or_else(|| PersonKey::of_bytes(body))
}

fn of_webhook(webhook: &Webhook<'_>) -> Option<PersonKey> {
    let data = Data::of(webhook.data).unwrap_or_default();
    let Identifiers { id, email, cio_id, .. } = Identifiers::of(data.identifiers).unwrap_or_default();
    let (customer_id, email_address) = (data.customer_id, data.email_address);
    let delivery_id = data.delivery_id;
    of_beginning(&Beginning { event_id: webhook.event_id, delivery_id, customer_id, email_address, id, cio_id, email })
}

fn of_beginning(found: &Beginning<'_>) -> Option<PersonKey> {
    let person = |identifier, fields: &[Field<'_>]| {
        let value = fields.iter().find_map(|field| field.non_blank())?;
        PersonKey::of_person(identifier, &value)
    };
    person(Identifier::Id, &[found.id, found.customer_id])
        .or_else(|| person(Identifier::CioId, &[found.cio_id]))
        .or_else(|| person(Identifier::Email, &[found.email, found.email_address]))
        .or_else(|| found.event_id.non_blank().map(|id| PersonKey::of("event", &id)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::beginning::tests::gzip;

    fn key(json: &str) -> String {
        person_key(json.as_bytes()).0
    }

    #[test]
    fn the_key_is_the_first_half_of_the_hash_of_kind_and_value() {
        // printf 'id:42' | sha256sum
        assert_eq!(key(r#"{"data":{"identifiers":{"id":"42"}}}"#), "bbb3660007f68b86e00e9ea8af5f57b7");
        // printf 'body:not json' | sha256sum
        assert_eq!(key("not json"), "8eeb5ab600007c59ca7f75e691416bf8");
    }

    #[test]
    fn the_key_is_built_from_the_first_identifier_that_is_not_blank() {
        let cases = [
            (r#"{"event_id":"e","data":{"customer_id":"c","identifiers":{"id":" 42 ","email":"a@b"}}}"#, ("id", "42")),
            (r#"{"event_id":"e","data":{"customer_id":7,"identifiers":{"id":null}}}"#, ("id", "7")),
            (r#"{"event_id":"e","data":{"customer_id":"","identifiers":{"cio_id":"d9"}}}"#, ("cio_id", "d9")),
            (r#"{"event_id":"e","data":{"identifiers":{"email":"A@B.Example"}}}"#, ("email", "a@b.example")),
            (r#"{"event_id":"e","data":{"email_address":"A@B.Example"}}"#, ("email", "a@b.example")),
            (r#"{"event_id":"e","data":{"identifiers":null}}"#, ("event", "e")),
            (r#"{"event_id":"e","data":5}"#, ("event", "e")),
            ("{\"data\":{\"identifiers\":{\"id\":\"\u{200B}42\u{FEFF}\"}}}", ("id", "42")),
            (r#"{"data":{"identifiers":{"id":"\u200B","email":"jo@example.com\u200F"}}}"#, ("email", "jo@example.com")),
        ];
        for (json, (kind, value)) in cases {
            assert_eq!(key(json), PersonKey::of(kind, value).0, "{json}");
            assert_eq!(person_key(&gzip(json.as_bytes())).0, PersonKey::of(kind, value).0, "compressed: {json}");
            assert_eq!(key(&format!("\u{feff}{json}")), PersonKey::of(kind, value).0, "with a byte order mark: {json}");
        }
        assert_eq!(PersonKey::of_person(Identifier::CioId, "  "), None);
    }

    #[test]
    fn the_key_of_a_large_compressed_body_comes_from_its_beginning() {
        let large =
            |data: &str| gzip(format!(r#"{{"data":{{{data}"content":"{}"}}}}"#, "x".repeat(1_000_000)).as_bytes());
        let person = large(r#""identifiers":{"id":"42"},"#);
        assert_eq!(person_key(&person), PersonKey::of("id", "42"));
        let named_too_late = gzip(
            format!(r#"{{"data":{{"content":"{}","identifiers":{{"id":"42"}}}}}}"#, "x".repeat(1_000_000)).as_bytes(),
        );
        assert_eq!(person_key(&named_too_late), PersonKey::of_bytes(&named_too_late));
    }

    #[test]
    fn the_key_of_an_unreadable_body_is_the_hash_of_its_bytes() {
        let gzip = gzip(br#"{"event_id":"e"}"#);
        let cut = &gzip[..12];
        let bodies = [
            b"".as_slice(),
            b"{}",
            b"[1]",
            b"not json",
            b"\xef\xbb\xbf",
            b"\xff\xfe{\0}\0",
            b"{\"event_id\":\"\xff\"}",
            b"\x1f\x8b",
            b"\x1f\x8bnot gzip",
            cut,
            b"\x78\x9c deflate",
            b"\x1b\x10 brotli",
            b"\x28\xb5\x2f\xfd zstd",
        ];
        for body in bodies {
            assert_eq!(person_key(body), PersonKey::of_bytes(body), "{body:?}");
        }
        let keys: std::collections::HashSet<_> = bodies.into_iter().map(person_key).collect();
        assert_eq!(keys.len(), bodies.len());
    }

    proptest! {
        #[test]
        fn any_body_has_a_stable_key_of_32_hex_digits(body in prop::collection::vec(any::<u8>(), 0..300), compressed in any::<bool>()) {
            let body = if compressed { [gzip(&body), body].concat() } else { body };
            let key = person_key(&body);
            prop_assert_eq!(&key, &person_key(&body));
            prop_assert!(key.as_str().len() == 32 && key.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        }

        #[test]
        fn compressed_and_plain_events_of_one_person_have_the_same_key(
            id in "[a-z0-9]{1,20}", first in "[A-Z0-9]{26}", second in "[A-Z0-9]{26}", content in "[ -~]{0,200}",
        ) {
            let body = |event: &str| serde_json::json!({
                "data": {"content": content, "identifiers": {"id": id}}, "event_id": event,
            }).to_string();
            let expected = PersonKey::of_person(Identifier::Id, &id).unwrap();
            prop_assert_eq!(&person_key(body(&first).as_bytes()), &expected);
            prop_assert_eq!(&person_key(body(&second).as_bytes()), &expected);
            prop_assert_eq!(&person_key(&gzip(body(&second).as_bytes())), &expected);
        }
    }
}
