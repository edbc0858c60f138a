//! Requests as values: method, path, headers and body, without the credential.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::answer::{Answer, Unreadable};

/// HTTP methods of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The method `GET`.
    Get,
    /// The method `POST`.
    Post,
    /// The method `PUT`.
    Put,
    /// The method `PATCH`.
    Patch,
    /// The method `DELETE`.
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        })
    }
}

/// Effect of a request on Platform. The method does not determine the effect: one `POST` only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The request changes nothing.
    Read,
    /// The request creates an object.
    Create,
    /// The request changes an object.
    Update,
    /// The request removes an object.
    Delete,
}

/// One request without the credential: the client adds `Authorization` and the headers that every request has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Path and query, as sent.
    pub path: String,
    /// Headers in addition to those that every request has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// JSON body, if the request has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Effect of the request on Platform.
    pub effect: Effect,
}

impl Request {
    pub(crate) fn new(method: Method, effect: Effect, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: BTreeMap::new(), body: None, effect }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, Effect::Read, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self::new(Method::Post, Effect::Create, path).json(body)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, Effect::Delete, path)
    }

    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self.header("Content-Type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn if_match(self, etag: Option<&str>) -> Self {
        match etag {
            Some(etag) => self.header("If-Match", etag),
            None => self,
        }
    }

    pub(crate) fn accept(self, value: &str) -> Self {
        self.header("Accept", value)
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{separator}{name}={}", self.path, encode(value));
        self
    }

    /// Sets a query parameter and removes an earlier value.
    pub(crate) fn set_query(mut self, name: &str, value: &str) -> Self {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let is_other = |pair: &&str| !pair.is_empty() && pair.split('=').next() != Some(name);
        let others: Vec<&str> = query.split('&').filter(is_other).collect();
        self.path = if others.is_empty() { path.to_owned() } else { format!("{path}?{}", others.join("&")) };
        self.query(name, value)
    }

    /// Returns the value of a query parameter, encoded as in the path.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    /// Whether sending the request twice has the same effect as sending it once. This is true if the request only
    /// reads, or if `If-Match` limits an update to one version of the object. Creates and deletes are not repeated.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self.effect {
            Effect::Read => true,
            Effect::Update => self.headers.contains_key("If-Match"),
            Effect::Create | Effect::Delete => false,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Function that reads a response.
pub(crate) type Read<T> = fn(&Request, &Answer) -> Result<T, Unreadable>;

/// A request and the function that reads the response.
pub struct Call<T> {
    pub(crate) request: Request,
    pub(crate) read: Read<T>,
}

impl<T> Call<T> {
    pub(crate) fn new(request: Request, read: Read<T>) -> Self {
        Self { request, read }
    }

    /// Returns the request without sending it.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Reads a successful response.
    ///
    /// # Errors
    /// Returns [`Unreadable`] if the response does not have the documented form.
    pub fn read(&self, answer: &Answer) -> Result<T, Unreadable> {
        (self.read)(&self.request, answer)
    }

    pub(crate) fn with_request(&self, request: Request) -> Self {
        Self { request, read: self.read }
    }
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        self.with_request(self.request.clone())
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Response of Flow Service to a create or an update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Created {
    /// Id of the object.
    pub id: String,
    /// Version of the object, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
}

/// All characters except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes a text as one path segment or one query value.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_with_slashes_is_sent_as_one_path_segment() {
        assert_eq!(encode("https://ns.adobe.com/a"), "https%3A%2F%2Fns.adobe.com%2Fa");
        assert_eq!(encode("_acme.schemas.0a-~"), "_acme.schemas.0a-~");
        assert_eq!(encode("ü "), "%C3%BC%20");
    }

    #[test]
    fn query_parameters_are_added_replaced_and_found() {
        let request = Request::get("/a").query("x", "1 2").query("y", "3").set_query("x", "4");
        assert_eq!(request.path, "/a?y=3&x=4");
        assert_eq!((request.query_value("x"), request.query_value("z")), (Some("4"), None));
        assert_eq!(Request::get("/a").query("x", "1").set_query("x", "2").path, "/a?x=2");
    }

    #[test]
    fn only_reads_and_conditional_updates_are_repeatable() {
        let update = Request::new(Method::Patch, Effect::Update, "/a");
        assert!(Request::get("/a").is_repeatable());
        assert!(Request::new(Method::Post, Effect::Read, "/a").is_repeatable());
        assert!(update.clone().if_match(Some("1")).is_repeatable());
        assert!(!update.is_repeatable());
        assert!(!Request::post("/a", json!({})).is_repeatable());
        assert!(!Request::delete("/a").if_match(Some("1")).is_repeatable());
    }

    #[test]
    fn a_request_can_be_written_to_json_and_read_back() {
        let request = Request::post("/a", json!({"b": 1})).accept("x");
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.contains(r#""method":"POST""#) && text.contains(r#""effect":"create""#), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
