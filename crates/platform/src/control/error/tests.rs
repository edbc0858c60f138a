use serde_json::json;

use super::*;
use crate::control::Effect;

fn create() -> Request {
    Request::post("/data/foundation/x", json!({}))
}

fn kind(request: &Request, status: u16, body: &str) -> ErrorKind {
    *classify(request, status, None, body.as_bytes()).kind
}

#[test]
fn each_error_status_has_an_error_variant() {
    let get = Request::get("/a");
    assert!(matches!(kind(&get, 401, ""), ErrorKind::Unauthorized(_)));
    assert!(matches!(kind(&get, 403, ""), ErrorKind::Forbidden(_)));
    assert!(matches!(kind(&get, 404, ""), ErrorKind::NotFound(_)));
    assert!(matches!(kind(&get, 406, ""), ErrorKind::NotAcceptable(_)));
    assert!(matches!(kind(&get, 412, ""), ErrorKind::ChangedMeanwhile(_)));
    assert!(matches!(kind(&get, 429, ""), ErrorKind::RateLimited { .. }));
    assert!(matches!(kind(&get, 400, ""), ErrorKind::Rejected { status: 400, .. }));
    assert!(matches!(kind(&get, 302, ""), ErrorKind::Rejected { status: 302, .. }));
    assert!(matches!(kind(&get, 503, ""), ErrorKind::Unavailable(_)));
}

#[test]
fn an_interrupted_change_without_if_match_has_an_unknown_outcome() {
    let update = Request::new(Method::Patch, Effect::Update, "/a");
    for request in [create(), Request::delete("/a"), update.clone()] {
        for status in [408, 500, 502, 503, 504] {
            assert!(matches!(kind(&request, status, ""), ErrorKind::OutcomeUnknown(_)), "{request} {status}");
        }
        let timeout = ControlError::new(&request, interrupted(&request, Interruption::Failed(Failure::Timeout)));
        assert!(timeout.to_string().contains("look first"), "{timeout}");
    }
    let conditional = update.if_match(Some("1"));
    assert!(matches!(kind(&conditional, 503, ""), ErrorKind::Unavailable(_)));
}

#[test]
fn a_create_with_a_taken_title_fails_with_the_id_of_the_existing_object() {
    let body = r#"{"detail":"Title must be unique. An object https://ns.adobe.com/acme/mixins/1 already exists with the same title."}"#;
    let ErrorKind::AlreadyExists { existing, .. } = kind(&create(), 400, body) else { panic!("not a conflict") };
    assert_eq!(existing.as_deref(), Some("https://ns.adobe.com/acme/mixins/1"));
    assert!(matches!(kind(&create(), 409, ""), ErrorKind::AlreadyExists { existing: None, .. }));
    let update = Request::new(Method::Put, Effect::Update, "/a");
    assert!(
        matches!(kind(&update, 400, body), ErrorKind::Rejected { .. }),
        "only a create can adopt an existing object"
    );
}

#[test]
fn error_code_1404_412_is_classified_as_changed_meanwhile() {
    assert!(matches!(kind(&create(), 400, r#"{"errorCode":"1404-412"}"#), ErrorKind::ChangedMeanwhile(_)));
}

#[test]
fn every_error_text_contains_the_request_the_cause_and_a_remedy() {
    for (status, body, words) in [
        (403, "", ["HTTP 403", "an Adobe administrator", "Roles > API credentials"]),
        (403, r#"{"error_code":"403025","message":"m"}"#, ["403025: m", "you", "PLATFORM_IMS_ORG"]),
        (403, r#"{"error_code":"403003"}"#, ["403003", "you", "Developer Console"]),
        (401, r#"{"error_code":"401013"}"#, ["401013", "you", "IMS_CLIENT_ID"]),
        (404, r#"{"errorCode":"2100-404"}"#, ["2100-404", "you", "PLATFORM_SANDBOX"]),
        (400, r#"{"errorCode":"2105-400"}"#, ["2105-400", "you", "PLATFORM_SANDBOX"]),
        (400, r#"{"errorCode":"1100-400"}"#, ["1100-400", "an Adobe administrator", "HTTP API source"]),
        (400, r#"{"errorCode":"1425-400"}"#, ["1425-400", "you", "same schema"]),
        (409, r#"{"title":"NAMESPACE_CODE_CONFLICT"}"#, ["NAMESPACE_CODE_CONFLICT", "you", "adopt"]),
        (412, "", ["changed meanwhile", "you", "reads the new version first"]),
        (503, "", ["HTTP 503", "you", "look first"]),
    ] {
        let text = classify(&create(), status, None, body.as_bytes()).to_string();
        assert!(text.starts_with("POST /data/foundation/x: "), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text} lacks one of {words:?}");
    }
    let wait = classify(&create(), 429, Some(Duration::from_secs(7)), b"").to_string();
    assert!(wait.contains("wait 7 s"), "{wait}");
}
