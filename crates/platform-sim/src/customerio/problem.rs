//! The forms of error bodies in the App API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::faults::ErrorShape;

/// An error in one field of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldError {
    pub(super) pointer: String,
    pub(super) detail: String,
}

impl FieldError {
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Returns an error response with the given form of the body.
pub(super) fn problem(status: StatusCode, shape: ErrorShape, detail: &str) -> Response {
    let status_text = status.as_u16().to_string();
    let body = match shape {
        ErrorShape::Errors => json!({"errors": [{"detail": detail, "status": status_text}]}),
        ErrorShape::Meta => json!({"meta": {"error": detail}}),
        ErrorShape::JsonApi => return json_api(status, &[FieldError::new("/", detail)]),
        ErrorShape::Html => return (status, format!("<html><body>{detail}</body></html>")).into_response(),
    };
    (status, Json(body)).into_response()
}

/// Returns the errors of fields in the form of JSON:API.
pub(super) fn json_api(status: StatusCode, errors: &[FieldError]) -> Response {
    let entry = |error: &FieldError| {
        json!({
            "status": status.as_u16().to_string(), "title": "invalid", "detail": error.detail,
            "source": {"pointer": error.pointer},
        })
    };
    let errors: Vec<Value> = errors.iter().map(entry).collect();
    (status, Json(json!({"errors": errors}))).into_response()
}
