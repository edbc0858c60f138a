//! The key of a raw record: the same for all events of one person, so that Kafka keeps their order, and telling nothing
//! of the person.

use std::fmt;

use crate::hash::sha256_hex;
use crate::webhook::{Data, Field, Identifiers, Webhook};

/// 32 lower-case hex digits: the first half of a SHA-256.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PersonKey(String);

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonKey({})", self.0)
    }
}

impl PersonKey {
    fn of(kind: &str, value: &str) -> Self {
        let mut digits = sha256_hex([kind, ":", value]);
        digits.truncate(32);
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits, as the record's key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The key for a body: of the person's id (`identifiers.id`, else `customer_id`), else `cio_id`, else the email address
/// in lower case, else of the event id; the first that is not blank. `None` if the body cannot be read or has none of them.
#[must_use]
pub fn person_key(body: &[u8]) -> Option<PersonKey> {
    let webhook = Webhook::parse(body).ok()?;
    let data = Data::of(webhook.data).unwrap_or_default();
    let identifiers = Identifiers::of(data.identifiers).unwrap_or_default();
    let first = |kind: &str, fields: &[Field<'_>]| {
        let value = fields.iter().find_map(|field| field.non_blank())?;
        Some(if kind == "email" { PersonKey::of(kind, &value.to_lowercase()) } else { PersonKey::of(kind, &value) })
    };
    first("id", &[identifiers.id, data.customer_id])
        .or_else(|| first("cio_id", &[identifiers.cio_id]))
        .or_else(|| first("email", &[identifiers.email, data.email_address]))
        .or_else(|| first("event", &[webhook.event_id]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(json: &str) -> Option<String> {
        person_key(json.as_bytes()).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn the_key_is_the_first_half_of_the_hash_of_kind_and_value() {
        // printf 'id:42' | sha256sum
        assert_eq!(key(r#"{"data":{"identifiers":{"id":"42"}}}"#).unwrap(), "bbb3660007f68b86e00e9ea8af5f57b7");
    }

    #[test]
    fn the_first_identifier_that_is_not_blank_counts() {
        let cases = [
            (r#"{"event_id":"e","data":{"customer_id":"c","identifiers":{"id":" 42 ","email":"a@b"}}}"#, ("id", "42")),
            (r#"{"event_id":"e","data":{"customer_id":7,"identifiers":{"id":null}}}"#, ("id", "7")),
            (r#"{"event_id":"e","data":{"customer_id":"","identifiers":{"cio_id":"d9"}}}"#, ("cio_id", "d9")),
            (r#"{"event_id":"e","data":{"identifiers":{"email":"A@B.Example"}}}"#, ("email", "a@b.example")),
            (r#"{"event_id":"e","data":{"email_address":"A@B.Example"}}"#, ("email", "a@b.example")),
            (r#"{"event_id":"e","data":{"identifiers":null}}"#, ("event", "e")),
            (r#"{"event_id":"e","data":5}"#, ("event", "e")),
        ];
        for (json, (kind, value)) in cases {
            assert_eq!(key(json).unwrap(), PersonKey::of(kind, value).0, "{json}");
        }
        assert_eq!(key("{}"), None);
        assert_eq!(key("not json"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(person_key(&body));
        }

        #[test]
        fn events_of_one_person_share_the_key(id in "[a-z0-9]{1,20}", first in "[A-Z0-9]{26}", second in "[A-Z0-9]{26}") {
            let body = |event: &str| format!(r#"{{"event_id":"{event}","data":{{"identifiers":{{"id":"{id}"}}}}}}"#);
            prop_assert_eq!(key(&body(&first)), key(&body(&second)));
            prop_assert!(key(&body(&first)).is_some());
        }
    }
}
