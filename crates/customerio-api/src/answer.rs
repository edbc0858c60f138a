//! A response of the API, and the three shapes in which it reports an error.

use std::fmt;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;

use crate::credential::without_secret;

/// The maximum length of a text from the API that is kept, in characters.
const TEXT_LIMIT: usize = 300;
/// The maximum number of details of one response that are kept.
const DETAIL_LIMIT: usize = 10;

/// A complete HTTP response.
#[derive(Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Shows only the length of the body: it may repeat the request, and the token endpoint's response is a secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("body_bytes", &self.body.len()).finish()
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A statement of the API about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The text, at most one line of it.
    pub message: String,
    /// The JSON pointer or field that the text is about, if the API named one.
    pub field: Option<String>,
}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{} ({field})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads the error texts of a response. Customer.io uses three shapes:
///
/// - `{"errors": [{"detail": "…", "status": "404"}]}`
/// - `{"meta": {"error": "…"}}`, also with a list `errors`
/// - JSON:API: `{"errors": [{"title": "…", "detail": "…", "source": {"pointer": "/…"}}]}`
///
/// OAuth's `{"error": "…"}` of the token endpoint is read as well. Empty if the body has none of these shapes.
#[must_use]
pub fn error_details(body: &[u8], secret: Option<&SecretString>) -> Vec<ErrorDetail> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut details: Vec<ErrorDetail> = Vec::new();
    for entry in list(&value["errors"]) {
        details.extend(detail(entry));
    }
    for entry in [&value["meta"]["error"], &value["error_description"], &value["error"], &value["message"]] {
        details.extend(entry.as_str().map(plain));
    }
    for entry in list(&value["meta"]["errors"]) {
        details.extend(entry.as_str().map(plain).or_else(|| detail(entry)));
    }
    details.truncate(DETAIL_LIMIT);
    for detail in &mut details {
        detail.message = shown(&detail.message, secret);
        detail.field = detail.field.as_deref().map(|field| shown(field, secret));
    }
    details
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn plain(message: &str) -> ErrorDetail {
    ErrorDetail { message: message.to_owned(), field: None }
}

fn detail(entry: &Value) -> Option<ErrorDetail> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.trim().is_empty());
    let message = match (text("title"), text("detail").or_else(|| text("message"))) {
        (Some(title), Some(detail)) if title != detail => format!("{title}: {detail}"),
        (title, detail) => detail.or(title)?.to_owned(),
    };
    let source = &entry["source"];
    let field = source["pointer"].as_str().or_else(|| source["parameter"].as_str());
    Some(ErrorDetail { message, field: field.map(str::to_owned) })
}

/// One line of text from the API, without our secret.
fn shown(text: &str, secret: Option<&SecretString>) -> String {
    let text = secret.map_or_else(|| text.to_owned(), |secret| without_secret(text, secret));
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_LIMIT).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Vec<String> {
        error_details(body.as_bytes(), Some(&"topsecret".into())).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_three_shapes_of_error_bodies_are_read() {
        assert_eq!(read(r#"{"errors":[{"detail":"not found","status":"404"}]}"#), ["not found"]);
        assert_eq!(read(r#"{"meta":{"error":"unauthorized"}}"#), ["unauthorized"]);
        let pointer = r#"{"errors":[{"status":"400","title":"Invalid","detail":"must be a URL","source":{"pointer":"/endpoint"}},
            {"detail":"unknown","source":{"parameter":"limit"}}]}"#;
        assert_eq!(read(pointer), ["Invalid: must be a URL (/endpoint)", "unknown (limit)"]);
        assert_eq!(read(r#"{"meta":{"errors":["one","two"]}}"#), ["one", "two"]);
        assert_eq!(read(r#"{"error":"invalid_client"}"#), ["invalid_client"]);
    }

    #[test]
    fn a_body_of_another_shape_gives_no_message() {
        for body in
            ["", "<html>topsecret</html>", "[]", "{}", "3", r#"{"errors":{}}"#, r#"{"errors":[3,{}]}"#, r#"{"meta":3}"#]
        {
            assert!(read(body).is_empty(), "{body}");
        }
    }

    #[test]
    fn a_message_has_no_credential_no_control_characters_and_a_limited_length() {
        assert_eq!(read(r#"{"meta":{"error":"key topsecret\nis bad"}}"#), ["key [redacted] is bad"]);
        let pointer = r#"{"errors":[{"detail":"x","source":{"pointer":"/topsecret"}}]}"#;
        assert_eq!(read(pointer), ["x (/[redacted])"]);
        let long = format!(r#"{{"meta":{{"error":"{}"}}}}"#, "é".repeat(1000));
        assert_eq!(read(&long)[0].chars().count(), TEXT_LIMIT);
        let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"detail":"x"},"#.repeat(1000));
        assert_eq!(read(&many).len(), DETAIL_LIMIT);
    }

    #[test]
    fn the_debug_form_of_an_answer_has_no_body() {
        let answer = Answer { status: 200, body: Bytes::from_static(b"topsecret") };
        assert_eq!(format!("{answer:?}"), "Answer { status: 200, body_bytes: 9 }");
    }
}
