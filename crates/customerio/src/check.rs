//! Bodies of the requests that `customerio-aep check` sends to the gateway.
//!
//! The body of a check is not an event: the transformer discards it. The body of a test event (`check --end-to-end`)
//! reaches Platform, where its object type marks it as a test. A test event has an identity only if a test person is
//! given.

use std::fmt;

/// The `object_type` in the body of a check.
pub const CHECK_OBJECT_TYPE: &str = "customerio-aep.check";

/// The `object_type` of a test event, and so `objectType` in Platform.
pub const TEST_OBJECT_TYPE: &str = "customerio-aep.test";

/// Test person of a test event, with one identifier.
#[derive(Clone, PartialEq, Eq)]
pub enum TestPerson {
    /// Id of the person in the organisation's own systems (`id`).
    Id(String),
    /// Customer.io's id of the person (`cio_id`).
    CioId(String),
    /// Email address of the person (`email`).
    Email(String),
}

impl TestPerson {
    /// Returns the name of the identifier in a webhook, and its value.
    fn identifier(&self) -> (&'static str, &str) {
        match self {
            Self::Id(value) => ("id", value),
            Self::CioId(value) => ("cio_id", value),
            Self::Email(value) => ("email", value),
        }
    }
}

/// Shows only the name of the identifier, because the value may identify a real person.
impl fmt::Debug for TestPerson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestPerson").field(&self.identifier().0).finish()
    }
}

/// Builds the body of a test event. Without a person, the event has no identity.
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

/// Number of bytes at the beginning of a body that are searched for [`CHECK_OBJECT_TYPE`]. In the body of a check,
/// `object_type` is the first member and ends within these bytes.
const WITHIN: usize = 64;

/// Builds the body of a check. If `is_unusual` is set, the body contains text that a proxy might change: non-ASCII
/// characters and unusual white space.
#[must_use]
pub fn check_body(event_id: &str, timestamp: i64, is_unusual: bool) -> String {
    let note = if is_unusual { "Größe – 日本語 – 🎉" } else { "check" };
    let space = if is_unusual { "\r\n\t " } else { "" };
    format!(
        "{{\"object_type\":{space}\"{CHECK_OBJECT_TYPE}\",\"metric\":\"check\",{space}\"event_id\":\"{event_id}\",\"timestamp\":{timestamp},\"data\" :{space}{{\"note\":\"{note}\"}}}}"
    )
}

/// Whether a body is the body of a check.
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
    fn a_test_event_has_its_own_object_type_and_is_not_a_check() {
        let body = test_body("an-id", 1_700_000_000, None);
        assert!(!is_check(body.as_bytes()));
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["object_type"], &value["data"]), (&TEST_OBJECT_TYPE.into(), &serde_json::json!({})));
    }

    #[test]
    fn the_test_person_is_the_only_identifier_of_a_test_event() {
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
