//! Reads lists page by page. A link to the next page is followed only if it leads to the same server.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::control::answer::{Answer, Unreadable, or_default};
use crate::control::{ApiUrl, Request};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Entries of the page.
    pub items: Vec<T>,
    /// Reference to the next page; `None` on the last page.
    pub next: Option<Next>,
}

/// Reference to the next page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A link, absolute or relative.
    Link(String),
    /// Value of the query parameter `start` for the next request, with the sort order of the list (Schema Registry).
    Start {
        /// Value of `start`.
        value: String,
        /// Value of `orderby`.
        orderby: Option<String>,
    },
    /// Number of entries on all pages so far, which is the next value of `start` (Catalog).
    Offset(usize),
}

/// Reason why a link to the next page is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// The link leads to another server, which would get the access token.
    #[error("it leads to another server ({0})")]
    AnotherServer(String),
    /// The text is not a link.
    #[error("it is not a link")]
    NotALink,
    /// The link leads to a page that was read before.
    #[error("it leads back to a page that was read before")]
    Loop,
}

/// Returns the request for the next page.
///
/// # Errors
/// Returns a [`BadLink`] if the link must not be followed.
pub fn following(request: &Request, next: &Next, api: &ApiUrl) -> Result<Request, BadLink> {
    let link = match next {
        Next::Link(link) => link,
        Next::Start { value, orderby } => {
            let request = match orderby {
                // `start` works only together with `orderby`.
                Some(orderby) if request.query_value("orderby").is_none() => {
                    request.clone().set_query("orderby", orderby)
                }
                _ => request.clone(),
            };
            return Ok(request.set_query("start", value));
        }
        Next::Offset(offset) => return Ok(request.clone().set_query("start", &offset.to_string())),
    };
    let path = match link.as_str() {
        link if link.contains("://") || link.starts_with("//") => absolute(link, api)?,
        link if link.starts_with('?') => format!("{}{link}", request.path.split('?').next().unwrap_or_default()),
        link if link.starts_with("/data/") => link.to_owned(),
        // Flow Service returns paths relative to the service's base: `/runs?…`.
        link if link.starts_with('/') => format!("{}{link}", service_base(&request.path)),
        link if link.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            format!("{}/{link}", service_base(&request.path))
        }
        _ => return Err(BadLink::NotALink),
    };
    let joined = api.join(&path).ok_or(BadLink::NotALink)?;
    if !api.is_same_server(&joined) {
        return Err(BadLink::AnotherServer(joined.host_str().unwrap_or_default().to_owned()));
    }
    Ok(Request { path, ..request.clone() })
}

fn absolute(link: &str, api: &ApiUrl) -> Result<String, BadLink> {
    let url: Url = api.url().join(link).map_err(|_| BadLink::NotALink)?;
    if !api.is_same_server(&url) {
        return Err(BadLink::AnotherServer(url.host_str().unwrap_or_default().to_owned()));
    }
    Ok(api.path_of(&url))
}

/// Returns the first three segments of a path, such as `/data/foundation/flowservice`.
fn service_base(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').take(4).collect::<Vec<_>>().join("/")
}

/// Members of a response that refer to the next page.
#[derive(Debug, Default, Deserialize)]
struct Links {
    #[serde(rename = "_links", default, deserialize_with = "or_default")]
    links: BTreeMap<String, Value>,
    #[serde(rename = "_page", default, deserialize_with = "or_default")]
    page: BTreeMap<String, Value>,
}

impl Links {
    fn next(&self) -> Option<Next> {
        let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let link = match self.links.get("next") {
            Some(Value::String(link)) => filled(link),
            Some(Value::Object(link)) if link.get("templated") != Some(&Value::Bool(true)) => {
                link.get("href").and_then(Value::as_str).and_then(filled)
            }
            _ => None,
        };
        if let Some(link) = link {
            return Some(Next::Link(link));
        }
        let next = match self.page.get("next")? {
            Value::String(text) => filled(text)?,
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        if next.contains("://") || next.starts_with(['/', '?']) {
            return Some(Next::Link(next));
        }
        let orderby = self.page.get("orderby").and_then(Value::as_str).and_then(filled);
        Some(Next::Start { value: next, orderby })
    }
}

/// Reads a page whose entries are in the member `name`.
pub(crate) fn page<T: DeserializeOwned>(answer: &Answer, name: &str) -> Result<Page<T>, Unreadable> {
    let mut body: BTreeMap<String, Value> = answer.json()?;
    let next = answer.json::<Links>()?.next();
    let items = match body.remove(name) {
        None | Some(Value::Null) => Vec::new(),
        Some(items) => serde_json::from_value(items)
            .map_err(|_| Unreadable(format!("`{name}` is not a list of the documented form")))?,
    };
    Ok(Page { items, next })
}

/// Reads a page of Catalog, which is a map from id to entry. Catalog returns no link to the next page. The query
/// parameter `start` is the number of entries before the page, and an empty page is the last one.
pub(crate) fn offset_page<T>(
    request: &Request,
    answer: &Answer,
    with_id: fn(String, Value) -> Result<T, Unreadable>,
) -> Result<Page<T>, Unreadable> {
    let body: serde_json::Map<String, Value> = answer.json()?;
    let items = body.into_iter().map(|(id, value)| with_id(id, value)).collect::<Result<Vec<_>, _>>()?;
    let before: usize = request.query_value("start").and_then(|start| start.parse().ok()).unwrap_or(0);
    let next = (!items.is_empty()).then(|| Next::Offset(before + items.len()));
    Ok(Page { items, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: &str = "/data/foundation/flowservice/flows?limit=2";

    fn follow(link: &str) -> Result<String, BadLink> {
        following(&Request::get(FLOWS), &Next::Link(link.to_owned()), &ApiUrl::default()).map(|request| request.path)
    }

    #[test]
    fn links_of_the_same_server_are_followed_in_every_form() {
        let wanted = "/data/foundation/flowservice/flows?continuationToken=a";
        for link in [
            "https://platform.adobe.io/data/foundation/flowservice/flows?continuationToken=a",
            "https://platform.adobe.io:443/data/foundation/flowservice/flows?continuationToken=a",
            "//platform.adobe.io/data/foundation/flowservice/flows?continuationToken=a",
            "/data/foundation/flowservice/flows?continuationToken=a",
            "/flows?continuationToken=a",
            "flows?continuationToken=a",
            "?continuationToken=a",
        ] {
            assert_eq!(follow(link).as_deref(), Ok(wanted), "{link}");
        }
    }

    #[test]
    fn a_link_to_another_server_is_refused() {
        for link in [
            "https://evil.example/data/foundation/flowservice/flows",
            "//evil.example/flows",
            "http://platform.adobe.io/flows",
            "https://platform.adobe.io:8443/flows",
            "https://platform.adobe.io@evil.example/flows",
            "https://me:pw@platform.adobe.io/flows",
        ] {
            assert!(matches!(follow(link), Err(BadLink::AnotherServer(_))), "{link}: {:?}", follow(link));
        }
        assert_eq!(follow("@evil.example/"), Err(BadLink::NotALink));
    }

    #[test]
    fn a_start_value_is_sent_with_its_sort_order() {
        let request = Request::get("/data/foundation/schemaregistry/tenant/schemas").query("limit", "2");
        let next = Next::Start { value: "B & C".to_owned(), orderby: Some("title".to_owned()) };
        let path = following(&request, &next, &ApiUrl::default()).unwrap().path;
        assert_eq!(path, "/data/foundation/schemaregistry/tenant/schemas?limit=2&orderby=title&start=B%20%26%20C");
    }

    fn next_of(body: &'static str) -> Option<Next> {
        let answer = Answer { status: 200, body: bytes::Bytes::from_static(body.as_bytes()), ..Answer::default() };
        page::<Value>(&answer, "items").unwrap().next
    }

    #[test]
    fn the_next_page_is_read_from_the_members_links_and_page() {
        let link = |text: &str| Some(Next::Link(text.to_owned()));
        assert_eq!(next_of(r#"{"items":[],"_links":{"next":{"href":"/runs?a"}}}"#), link("/runs?a"));
        assert_eq!(next_of(r#"{"items":[],"_links":{"next":"/runs?a"}}"#), link("/runs?a"));
        assert_eq!(
            next_of(r#"{"items":[],"_page":{"next":"https://x/y"},"_links":{"next":null}}"#),
            link("https://x/y")
        );
        let start = Next::Start { value: "Z".to_owned(), orderby: Some("title".to_owned()) };
        assert_eq!(next_of(r#"{"items":[],"_page":{"orderby":"title","next":"Z","count":2}}"#), Some(start));
        for last in [
            r#"{"items":null}"#,
            r#"{"items":[],"_page":{"next":null},"_links":{"next":null}}"#,
            r#"{"items":[],"_page":null,"_links":{"next":{"href":"/?limit={limit}","templated":true},"page":{"href":"/x"}}}"#,
            r#"{"items":[],"_links":{"next":{}}}"#,
        ] {
            assert_eq!(next_of(last), None, "{last}");
        }
    }

    #[test]
    fn a_list_of_catalog_is_read_until_an_empty_page() {
        let read = |path: &str, body: &'static str| {
            let answer = Answer { status: 200, body: bytes::Bytes::from_static(body.as_bytes()), ..Answer::default() };
            offset_page(&Request::get(path), &answer, |id, _| Ok(id)).unwrap()
        };
        let first = read("/c?limit=100", r#"{"a":{},"b":{}}"#);
        assert_eq!((first.items.len(), first.next), (2, Some(Next::Offset(2))));
        let second = read("/c?limit=100&start=2", r#"{"c":{}}"#);
        assert_eq!(second.next, Some(Next::Offset(3)));
        assert_eq!(read("/c?limit=100&start=3", "{}").next, None);
    }
}
