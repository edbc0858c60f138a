//! Reads error bodies. Each service of Platform uses a different form, and [`Problem`] represents all of them.
//!
//! | family | form |
//! |---|---|
//! | Schema Registry, Flow Service | `{type: ".../XDM-1012-404", title, status, report: {detailed-message}, detail}` |
//! | Flow Service, older | `{errorCode, errorMessage}` or `{errorDetails: [{code, message}]}` |
//! | Catalog | `{errors: {"400": [{code, message}]}}`, or the list alone |
//! | Identity | `{status, title, description, error, report: {code, message}}` |
//! | gateway | `{error_code, message}` |
//! | IMS | `{error, error_description}` |
//! | streaming ingestion | `{type, status: "401", title, report: {message}}` |

use std::fmt;

use serde_json::Value;

/// Maximum number of characters of each text from an error body.
const TEXT_LIMIT: usize = 600;

/// The content of an error body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// Adobe's error code, such as `XDM-1012-404`, `1404-412`, `403025` or `NAMESPACE_CODE_CONFLICT`.
    pub code: Option<String>,
    /// Short text about the error.
    pub title: Option<String>,
    /// The most detailed text of the body.
    pub detail: Option<String>,
    /// Adobe's id of the request, which Adobe's support needs.
    pub request_id: Option<String>,
}

impl Problem {
    /// Reads an error body. The result is empty if the body is not JSON, for example if it is empty or a proxy's page.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let inner = first_error(&value);
        let sources: Vec<&Value> = inner.into_iter().chain([&value]).collect();
        let find = |names: &[&str]| {
            sources.iter().find_map(|source| names.iter().find_map(|name| scalar(source.pointer(name))))
        };
        let code = find(&["/errorCode", "/error_code", "/code", "/report/code"])
            .or_else(|| find(&["/type"]).and_then(|kind| code_of_type(&kind)))
            .or_else(|| find(&["/error"]));
        Self {
            code: code.map(|code| code.strip_prefix("FLOW-").unwrap_or(&code).to_owned()),
            title: find(&["/title"]),
            detail: find(&[
                "/report/detailed-message",
                "/detail",
                "/errorMessage",
                "/error_description",
                "/report/message",
                "/description",
                "/message",
                "/exceptionMessage",
            ]),
            request_id: find(&["/report/registryRequestId", "/report/request-id", "/report/requestId", "/requestId"]),
        }
    }

    /// Whether the body contains this error code.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Returns the `$id` in a text such as "Title must be unique. An object … already exists with the same title".
    #[must_use]
    pub fn existing_id(&self) -> Option<String> {
        let detail = self.detail.as_deref().or(self.title.as_deref())?;
        let (_, rest) = detail.split_once("An object ")?;
        let (id, _) = rest.split_once(" already exists")?;
        Some(id.trim().to_owned())
    }

    /// Whether the error means that the object exists already, whatever the HTTP status is.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        let has = |text: &Option<String>, words: &str| text.as_deref().is_some_and(|text| text.contains(words));
        self.existing_id().is_some()
            || ["NAMESPACE_CODE_CONFLICT", "INTEGRATION_CODE_EXISTS"].iter().any(|code| self.has_code(code))
            || has(&self.title, "NAMESPACE_CODE_CONFLICT")
            || has(&self.detail, "Title must be unique")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.detail.as_deref().or(self.title.as_deref());
        match (&self.code, text) {
            (Some(code), Some(text)) => write!(f, "{code}: {text}"),
            (Some(text), None) => f.write_str(text),
            (None, Some(text)) => f.write_str(text),
            (None, None) => f.write_str("no reason given"),
        }
    }
}

/// Returns the first entry of a list of errors, or of a map from status to list.
fn first_error(value: &Value) -> Option<&Value> {
    let errors = value.get("errors").or_else(|| value.get("errorDetails")).unwrap_or(value);
    match errors {
        Value::Array(list) => list.first(),
        Value::Object(map) if value.get("errors").is_some() => match map.values().next()? {
            Value::Array(list) => list.first(),
            one => Some(one),
        },
        _ => None,
    }
}

/// Returns the last part of a type URI if it is a code, such as in `…/errors/XDM-1012-404`. Returns `None` for
/// `…/problem/namespacevalidation`.
fn code_of_type(kind: &str) -> Option<String> {
    let last = kind.rsplit('/').next()?;
    let ends_in_status = last.rsplit('-').next().is_some_and(|end| end.len() == 3 && end.parse::<u16>().is_ok());
    (last.contains('-') && ends_in_status).then(|| last.to_owned())
}

fn scalar(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_LIMIT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> (Option<String>, String) {
        let problem = Problem::parse(body.as_bytes());
        (problem.code.clone(), problem.to_string())
    }

    #[test]
    fn every_family_of_error_bodies_is_read() {
        let cases: &[(&str, Option<&str>, &str)] = &[
            // Schema Registry
            (
                r#"{"type":"http://ns.adobe.com/aep/errors/XDM-1006-400","title":"Accept header invalid","status":400,
                    "report":{"registryRequestId":"r1","timestamp":"11-25-2020 07:56:25","detailed-message":"not valid","sub-errors":[]},"detail":"not valid"}"#,
                Some("XDM-1006-400"),
                "XDM-1006-400: not valid",
            ),
            // Flow Service, in the form of the Schema Registry and in the older forms
            (
                r#"{"type":"http://ns.adobe.com/aep/errors/FLOW-1404-412","title":"Version not matching","status":412,
                    "report":{"detailed-message":"The supplied version does not match"}}"#,
                Some("1404-412"),
                "1404-412: The supplied version does not match",
            ),
            (r#"{"errorCode":"1403-400","errorMessage":"If-Match"}"#, Some("1403-400"), "1403-400: If-Match"),
            (
                r#"{"requestId":"x","errorDetails":[{"code":"FLOW-1325-400","message":"dataSetId"}]}"#,
                Some("1325-400"),
                "1325-400: dataSetId",
            ),
            // Catalog
            (
                r#"{"requestId":"q","errors":{"400":[{"code":"1503","message":"name is required"}]}}"#,
                Some("1503"),
                "1503: name is required",
            ),
            (r#"{"errors":[{"code":2,"message":"no"}]}"#, Some("2"), "2: no"),
            (r#"[{"code":"3","message":"no"}]"#, Some("3"), "3: no"),
            // Identity
            (
                r#"{"timestamp":"t","type":"http://ns.adobe.com/adobecloud/problem/namespacevalidation","status":409,
                    "title":"NAMESPACE_CODE_CONFLICT","description":"Namespace code already exists","report":{"code":"INTEGRATION_CODE_EXISTS"}}"#,
                Some("INTEGRATION_CODE_EXISTS"),
                "INTEGRATION_CODE_EXISTS: Namespace code already exists",
            ),
            (
                r#"{"type":"http://ns.adobe.com/adobecloud/problem/namespacevalidation","status":401,"error":"INVALID_IMS_TOKEN",
                    "title":"Namespace Validation","report":{"message":"Authorization failed"}}"#,
                Some("INVALID_IMS_TOKEN"),
                "INVALID_IMS_TOKEN: Authorization failed",
            ),
            // Gateway
            (
                r#"{"error_code":"403025","message":"Profile is not valid"}"#,
                Some("403025"),
                "403025: Profile is not valid",
            ),
            // IMS
            (
                r#"{"error":"invalid_scope","error_description":"a scope"}"#,
                Some("invalid_scope"),
                "invalid_scope: a scope",
            ),
            // Streaming ingestion
            (
                r#"{"type":"https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization","status":"401",
                    "title":"Authorization","report":{"message":"[id] Ims service token is empty"}}"#,
                None,
                "[id] Ims service token is empty",
            ),
            // Bodies without an error code
            ("", None, "no reason given"),
            ("<html>gateway</html>", None, "no reason given"),
            ("[]", None, "no reason given"),
            ("{\"title\":\"Forbidden\"}", None, "Forbidden"),
        ];
        for (body, code, text) in cases {
            assert_eq!(parse(body), (code.map(str::to_owned), (*text).to_owned()), "{body}");
        }
    }

    #[test]
    fn the_id_of_the_existing_object_is_read_from_the_error_text() {
        let problem = Problem::parse(
            br#"{"type":"http://ns.adobe.com/aep/errors/XDM-1521-400","detail":"Title must be unique. An object https://ns.adobe.com/acme/schemas/1 already exists with the same title."}"#,
        );
        assert_eq!(problem.existing_id().as_deref(), Some("https://ns.adobe.com/acme/schemas/1"));
        assert!(problem.is_duplicate());
        assert!(Problem::parse(br#"{"title":"NAMESPACE_CODE_CONFLICT"}"#).is_duplicate());
        assert!(!Problem::parse(br#"{"detail":"Title is missing"}"#).is_duplicate());
    }

    #[test]
    fn long_texts_are_truncated_and_control_characters_are_removed() {
        let body = format!(r#"{{"message":"a\u0007b\n{}"}}"#, "x".repeat(5000));
        let problem = Problem::parse(body.as_bytes());
        let detail = problem.detail.unwrap();
        assert!(detail.starts_with("abx") && detail.chars().count() <= TEXT_LIMIT, "{detail}");
    }
}
