//! The bodies that `customerio-aep check` sends through the gateway.
//!
//! The body of a check reports nothing: the transformer stops it. The body of a test (`check --end-to-end`) goes all the way to
//! Platform; its object type marks it there, and it names no person unless one is given.

use std::fmt;

/// Its `object_type`.
pub const CHECK_OBJECT_TYPE: &str = "customerio-aep.check";

/// The `object_type` of a test event, and so `objectType` in Platform.
pub const TEST_OBJECT_TYPE: &str = "customerio-aep.test";

/// The test person of a test event, by one identifier.
#[derive(Clone, PartialEq, Eq)]
pub enum TestPerson {
    /// The person's own id.
    Id(String),
    /// Customer.io's id.
    CioId(String),
    /// The email address.
    Email(String),
}

impl TestPerson {
    /// The name of the identifier in a webhook, and its value.
    fn identifier(&self) -> (&'static str, &str) {
        match self {
            Self::Id(value) => ("id", value),
            Self::CioId(value) => ("cio_id", value),
            Self::Email(value) => ("email", value),
        }
    }
}

/// The identifier may be that of a real person, so only its name is shown.
impl fmt::Debug for TestPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestPerson").field(&self.identifier().0).finish()
    }
}

/// The body of a test event. Without a person it has no identity.
#[must_use]
pub fn test_body(event_id: &str, timestamp: i64, person: Option<&TestPerson>) -> String {
    let data = match person.map(TestPerson::identifier) {
        Some((name, value)) => format!("{{\"identifiers\":{{\"{name}\":{}}}}}", serde_json::Value::from(value)),
        None => "{}".to_owned(),
    };
    format!(
        "{{\"event_id\":\"{event_id}\",\"object_type\":\"{TEST_OBJECT_TYPE}\",\"metric\":\"end_to_end\",\"timestamp\":{timestamp},\"data\":{data}}}"
    )
}

/// `object_type` is the first member, and its value ends within this many bytes, so only these are searched.
const WITHIN: usize = 64;

/// Builds a body for the check. `is_unusual` adds text that a proxy might change: non-ASCII characters and unusual
/// white space.
#[must_use]
pub fn check_body(event_id: &str, timestamp: i64, is_unusual: bool) -> String {
    let note = if is_unusual { "Größe – 日本語 – 🎉" } else { "check" };
    let space = if is_unusual { "\r\n\t " } else { "" };
    format!(
        "{{\"object_type\":{space}\"{CHECK_OBJECT_TYPE}\",\"metric\":\"check\",{space}\"event_id\":\"{event_id}\",\"timestamp\":{timestamp},\"data\" :{space}{{\"note\":\"{note}\"}}}}"
    )
}

/// Whether a body is that of `customerio-aep check`.
#[must_use]
pub fn is_check(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Check {
        object_type: String,
    }
    let beginning = &body[..body.len().min(WITHIN)];
    let has_name = beginning.windows(CHECK_OBJECT_TYPE.len()).any(|window| window == CHECK_OBJECT_TYPE.as_bytes());
    has_name && serde_json::from_slice::<Check>(body).is_ok_and(|check| check.object_type == CHECK_OBJECT_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_event_is_not_stopped_and_is_marked() {
        let body = test_body("an-id", 1_700_000_000, None);
        assert!(!is_check(body.as_bytes()));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["object_type"], &value["data"]), (&TEST_OBJECT_TYPE.into(), &serde_json::json!({})));
    }

    #[test]
    fn a_test_person_is_the_only_identifier_and_is_not_shown() {
        for (person, name) in [
            (TestPerson::Id("a\"b".to_owned()), "id"),
            (TestPerson::CioId("a\"b".to_owned()), "cio_id"),
            (TestPerson::Email("a\"b".to_owned()), "email"),
        ] {
            let value: serde_json::Value = serde_json::from_str(&test_body("an-id", 1, Some(&person))).unwrap();
            assert_eq!(value["data"], serde_json::json!({"identifiers": {name: "a\"b"}}));
            assert_eq!(format!("{person:?}"), format!("TestPerson({name:?})"));
        }
    }

    #[test]
    fn only_the_body_of_a_check_webhook_is_recognised_as_a_check() {
        for is_unusual in [true, false] {
            let body = check_body("an-id", 1_700_000_000, is_unusual);
            assert!(is_check(body.as_bytes()), "{body}");
            assert_eq!((body.is_ascii(), body.contains("\r\n\t ")), (!is_unusual, is_unusual));
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((value["event_id"].as_str(), value["data"].is_object()), (Some("an-id"), true));
        }
        for body in [
            "",
            "{}",
            r#"{"object_type":"email","metric":"customerio-aep.check"}"#,
            r#"{"object_type":"email","data":{"subject":"customerio-aep.check"}}"#,
            r#"{"object_type":"customerio-aep.check""#,
            r#"{"object_type":"customerio-aep.checks"}"#,
        ] {
            assert!(!is_check(body.as_bytes()), "{body}");
        }
    }
}
