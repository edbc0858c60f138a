//! Responses of the control plane, and the form of the error body of each service.

use serde_json::{Value, json};

#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    /// Lines of JSON, the content of a file.
    pub(crate) lines: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<u32>,
}

/// The response of a handler; `Err` holds a refusal.
pub(crate) type Outcome = Result<Reply, Reply>;

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { status, body: Some(body), ..Self::default() }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn no_content() -> Self {
        Self { status: 204, ..Self::default() }
    }

    pub(crate) fn with_etag(self, etag: String) -> Self {
        Self { etag: Some(etag), ..self }
    }

    /// Returns an error of a service whose error bodies are not documented.
    pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Self {
        let kind = format!("http://ns.adobe.com/adobecloud/problem/{status}");
        Self::json(status, json!({"type": kind, "title": title, "status": status, "detail": detail}))
    }

    /// Returns an error of the Schema Registry. `code` ends in the status.
    pub(crate) fn xdm(code: &str, title: &str, detail: &str) -> Self {
        Self::aep(&format!("XDM-{code}"), title, detail)
    }

    /// Returns an error of Flow Service. `code` ends in the HTTP status. Adobe documents the codes, titles and texts,
    /// but not the JSON structure of the body; the simulator uses that of the Schema Registry.
    pub(crate) fn flow(code: &str, title: &str, detail: &str) -> Self {
        Self::aep(&format!("FLOW-{code}"), title, detail)
    }

    fn aep(code: &str, title: &str, detail: &str) -> Self {
        let status = code.rsplit('-').next().and_then(|status| status.parse().ok()).unwrap_or(400);
        let body = json!({
            "type": format!("http://ns.adobe.com/aep/errors/{code}"),
            "title": title,
            "status": status,
            "report": {
                "registryRequestId": format!("{:016x}", fastrand::u64(..)),
                "timestamp": "11-29-2026 08:00:00",
                "detailed-message": detail,
                "sub-errors": [],
            },
            "detail": detail,
        });
        Self::json(status, body)
    }

    /// Returns an error of Catalog, which is a map from status to errors.
    pub(crate) fn catalog(status: u16, code: &str, message: &str) -> Self {
        let errors = json!({status.to_string(): [{"code": code, "message": message}]});
        Self::json(status, json!({"requestId": format!("{:016x}", fastrand::u64(..)), "errors": errors}))
    }

    /// Returns an error of the service for identity namespaces.
    pub(crate) fn identity(status: u16, title: &str, code: &str, description: &str) -> Self {
        let body = json!({
            "type": "http://ns.adobe.com/adobecloud/problem/namespacevalidation",
            "status": status,
            "title": title,
            "description": description,
            "report": {"code": code},
        });
        Self::json(status, body)
    }

    /// Returns an error of the API gateway, which checks requests to all services.
    pub(crate) fn gateway(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, json!({"error_code": code, "message": message}))
    }
}
