//! HTTP responses of Customer.io, and the error texts in their bodies.

use std::fmt;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;

use crate::credential::without_secret;

/// Maximum length of a text from the API, in characters. Longer texts are cut off.
const TEXT_LIMIT: usize = 300;
/// Maximum number of error details that are kept from one response.
const DETAIL_LIMIT: usize = 10;

/// A complete HTTP response.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body, truncated at the transport's size limit.
    pub body: Bytes,
}

/// Shows only the length of the body. A body may repeat the request, and the token endpoint's body contains a token.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("body_bytes", &self.body.len()).finish()
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `None` if it is not valid JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// One error text of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The error text as one line, with the credential redacted.
    pub message: String,
    /// JSON pointer or name of the field that the error is about, if the response contains one.
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
/// The OAuth error `{"error": "…"}` of the token endpoint is read as well. The result is empty if the body has none of
/// these shapes. `secret` is redacted from the texts.
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

/// Redacts the secret, replaces control characters such as line breaks by spaces, and shortens the text.
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
    fn every_documented_shape_of_an_error_body_is_read() {
        assert_eq!(read(r#"{"errors":[{"detail":"not found","status":"404"}]}"#), ["not found"]);
        assert_eq!(read(r#"{"meta":{"error":"unauthorized"}}"#), ["unauthorized"]);
        let pointer = r#"{"errors":[{"status":"400","title":"Invalid","detail":"must be a URL","source":{"pointer":"/endpoint"}},
            {"detail":"unknown","source":{"parameter":"limit"}}]}"#;
        assert_eq!(read(pointer), ["Invalid: must be a URL (/endpoint)", "unknown (limit)"]);
        assert_eq!(read(r#"{"meta":{"errors":["one","two"]}}"#), ["one", "two"]);
        assert_eq!(read(r#"{"error":"invalid_client"}"#), ["invalid_client"]);
    }

    #[test]
    fn a_body_of_an_unknown_shape_yields_no_error_details() {
        for body in
            ["", "<html>topsecret</html>", "[]", "{}", "3", r#"{"errors":{}}"#, r#"{"errors":[3,{}]}"#, r#"{"meta":3}"#]
        {
            assert!(read(body).is_empty(), "{body}");
        }
    }

    #[test]
    fn error_details_are_redacted_shortened_and_on_one_line() {
        assert_eq!(read(r#"{"meta":{"error":"key topsecret\nis bad"}}"#), ["key [redacted] is bad"]);
        let pointer = r#"{"errors":[{"detail":"x","source":{"pointer":"/topsecret"}}]}"#;
        assert_eq!(read(pointer), ["x (/[redacted])"]);
        let long = format!(r#"{{"meta":{{"error":"{}"}}}}"#, "é".repeat(1000));
        assert_eq!(read(&long)[0].chars().count(), TEXT_LIMIT);
        let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"detail":"x"},"#.repeat(1000));
        assert_eq!(read(&many).len(), DETAIL_LIMIT);
    }

    #[test]
    fn the_debug_output_of_a_response_omits_the_body() {
        let answer = Answer { status: 200, body: Bytes::from_static(b"topsecret") };
        assert_eq!(format!("{answer:?}"), "Answer { status: 200, body_bytes: 9 }");
    }
}
