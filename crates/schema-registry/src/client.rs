//! The client and its requests to a registry.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::answer::{Answer, RegistryError};
use crate::args::RegistrySettings;

/// The media type of Confluent's API; Apicurio's compatible API accepts it too.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Result of [`SchemaRegistry::ensure`]: whether the schema was found or had to be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// The subject already had the schema.
    Found,
    /// The schema was added to the subject.
    Added,
    /// The subject was created with the schema.
    NewSubject,
}

/// Client of one registry. It has no cache; a caller can keep an id, because ids never change.
#[derive(Debug, Clone)]
pub struct SchemaRegistry {
    http: reqwest::Client,
    settings: RegistrySettings,
}

impl SchemaRegistry {
    /// Creates a client, which connects at the first request.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`] if the HTTP client cannot be created.
    pub fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // A registry runs next to the brokers, not behind a proxy.
            .no_proxy()
            .build();
        let http = client
            .map_err(|error| RegistryError::Unreachable { url: settings.url.to_string(), reason: error.to_string() })?;
        Ok(Self { http, settings: settings.clone() })
    }

    /// Returns the id of `schema` in `subject`, and registers the schema if the subject does not have it.
    ///
    /// # Errors
    /// [`RegistryError`]; see [`RegistryError::may_pass`].
    pub async fn ensure(&self, subject: &str, schema: &str) -> Result<(u32, Ensured), RegistryError> {
        let body = json!({"schema": schema});
        let found = self.call(Method::POST, &["subjects", subject], Some(&body)).await?;
        if let Some(id) = found.id() {
            return Ok((id, Ensured::Found));
        }
        if found.status != StatusCode::NOT_FOUND.as_u16() {
            return Err(found.error());
        }
        let added = self.call(Method::POST, &["subjects", subject, "versions"], Some(&body)).await?;
        match (added.id(), added.status) {
            (Some(id), _) if found.subject_is_missing() => Ok((id, Ensured::NewSubject)),
            (Some(id), _) => Ok((id, Ensured::Added)),
            (None, status @ (409 | 422)) => {
                Err(RegistryError::Refused { subject: subject.to_owned(), status, message: added.message() })
            }
            (None, _) => Err(added.error()),
        }
    }

    /// Sets the subject's compatibility level to `FULL_TRANSITIVE`. The registry then refuses a schema that is not
    /// forward and backward compatible with all earlier versions.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn require_full_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        let body = json!({"compatibility": "FULL_TRANSITIVE"});
        let answer = self.call(Method::PUT, &["config", subject], Some(&body)).await?;
        if answer.is_success() { Ok(()) } else { Err(answer.error()) }
    }

    /// Whether the registry has any version of this subject.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn has_subject(&self, subject: &str) -> Result<bool, RegistryError> {
        let answer = self.call(Method::GET, &["subjects", subject, "versions"], None).await?;
        match answer.status {
            404 => Ok(false),
            _ if answer.is_success() => Ok(answer.body.as_array().is_some_and(|versions| !versions.is_empty())),
            _ => Err(answer.error()),
        }
    }

    /// Returns the compatibility level that is set for the subject; `None` if the registry's default applies.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let answer = self.call(Method::GET, &["config", subject], None).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_success() => Ok(answer.body["compatibilityLevel"].as_str().map(str::to_owned)),
            _ => Err(answer.error()),
        }
    }

    /// Returns the text of the schema with this id.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn schema(&self, schema_id: u32) -> Result<String, RegistryError> {
        let answer = self.call(Method::GET, &["schemas", "ids", &schema_id.to_string()], None).await?;
        match answer.body["schema"].as_str() {
            Some(schema) if answer.is_success() => Ok(schema.to_owned()),
            _ if answer.status == StatusCode::NOT_FOUND.as_u16() => {
                Err(RegistryError::NoSuchId { url: self.settings.url.to_string(), schema_id })
            }
            _ => Err(answer.error()),
        }
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Answer, RegistryError> {
        let request = self.http.request(method, self.settings.url.join(path));
        let request = match body {
            Some(body) => request.body(body.to_string()).header(CONTENT_TYPE, MEDIA_TYPE),
            None => request,
        };
        let request = self.authorized(request)?;
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            let reason = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            RegistryError::Unreachable { url: self.settings.url.to_string(), reason }
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(unreachable)?;
        Ok(Answer::new(status, &body))
    }

    fn authorized(&self, request: RequestBuilder) -> Result<RequestBuilder, RegistryError> {
        match &self.settings.credential {
            None => Ok(request),
            Some((name, password)) => Ok(request.basic_auth(name, Some(password.read()?.expose_secret()))),
        }
    }
}
