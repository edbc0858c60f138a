//! The body that `customerio-aep check` sends through the gateway. It reports no event, and the transformer does not
//! pass it on.

/// Its `object_type`.
pub const CHECK_OBJECT_TYPE: &str = "customerio-aep.check";

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
