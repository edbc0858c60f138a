//! A parsed request to the control plane.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::control::reply::Reply;

/// Headers that influence the response and are recorded.
const NOTED: [&str; 5] = ["accept", "content-type", "if-match", "x-api-key", "x-gw-ims-org-id"];

#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// Segments of the path, decoded, without `data`.
    pub(crate) segments: Vec<String>,
    /// Parameters of the query, decoded, in the order of the request.
    pub(crate) query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Incoming {
    /// Parses a request. Returns `None` if the path does not begin with `/data/`, or cannot be decoded as UTF-8 text.
    pub(crate) fn new(method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let path = uri.path().strip_prefix("/data/")?;
        let segments = path.split('/').map(decode).collect::<Option<Vec<_>>>()?;
        let mut query = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.push((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?));
        }
        let text = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        Some(Self {
            method: method.to_owned(),
            target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            segments,
            query,
            headers: text.collect(),
            body: body.to_vec(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn noted_headers(&self) -> BTreeMap<String, String> {
        let noted = |name: &&&str| self.header(name).is_some();
        NOTED.iter().filter(noted).map(|name| ((*name).to_owned(), self.headers[*name].clone())).collect()
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    pub(crate) fn sandbox(&self) -> &str {
        self.header("x-sandbox-name").unwrap_or_default()
    }

    /// Returns the value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the segments of the path as text, for pattern matching.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// Checks that the query contains no other parameters than `allowed`.
    pub(crate) fn only_params(&self, allowed: &[&str]) -> Result<(), String> {
        match self.query.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown query parameter `{name}`; allowed: {}", allowed.join(", "))),
        }
    }

    /// Parses the body as JSON into a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is not as documented: {error}"))
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the request has an `If-Match` with another version than `etag`.
    pub(crate) fn is_stale(&self, etag: &str) -> bool {
        let bare = |text: &str| text.trim().trim_matches('"').to_owned();
        self.header("if-match").is_some_and(|sent| sent != "*" && bare(sent) != bare(etag))
    }

    /// Returns a link to the same list with changed parameters.
    pub(crate) fn link(&self, changes: &[(&str, &str)]) -> String {
        let mut query = self.query.clone();
        for (name, value) in changes {
            query.retain(|(key, _)| key != name);
            query.push(((*name).to_owned(), (*value).to_owned()));
        }
        let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("{}?{}", self.target.split('?').next().unwrap_or_default(), pairs.join("&"))
    }

    /// Returns the error for a method that the path does not support, or a 404 if `methods`, its supported methods, is
    /// empty.
    pub(crate) fn unknown(&self, methods: &[&str]) -> Reply {
        if methods.is_empty() {
            return Reply::problem(404, "Not Found", &format!("there is no {}", self.target));
        }
        let detail = format!("{} is not a method of this path; it has {}", self.method, methods.join(", "));
        Reply::problem(405, "Method Not Allowed", &detail)
    }
}

/// Decodes percent-encoded text. Returns `None` if a `%` is not followed by two hexadecimal digits, or the result is
/// not UTF-8.
fn decode(text: &str) -> Option<String> {
    let is_escape =
        |part: &str| part.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// All characters except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_decoded_in_paths_and_restored_in_links() {
        let uri: Uri = "/data/foundation/x/https%3A%2F%2Fa%2Fb?property=name%3D%3Da+b&limit=2".parse().unwrap();
        let incoming = Incoming::new("GET", &uri, &HeaderMap::new(), b"").unwrap();
        assert_eq!(incoming.parts(), ["foundation", "x", "https://a/b"]);
        assert_eq!(incoming.param("property"), Some("name==a b"));
        let link = incoming.link(&[("start", "2"), ("limit", "3")]);
        assert_eq!(link, "/data/foundation/x/https%3A%2F%2Fa%2Fb?property=name%3D%3Da%20b&start=2&limit=3");
        assert!(incoming.only_params(&["property", "limit"]).is_ok() && incoming.only_params(&["limit"]).is_err());
        assert!(decode("%zz").is_none() && decode("%4").is_none());
    }
}
