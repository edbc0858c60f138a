//! Checks every request before its handler runs. The host must be accepted. A POST must come from the origin of the
//! console and contain a valid form token. Every response gets security headers.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::access::SessionId;
use crate::failure::Failure;
use crate::state::Console;

/// Maximum size of a request body in bytes. Only forms have a body.
const LARGEST_BODY: usize = 64 * 1024;

/// Address of the client, which the server adds to each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Security headers of every response, unless the handler has set the header.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // With `no-referrer`, a browser sends `Origin: null` with every form, and `is_same_origin` refuses the form.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("cache-control", "no-store"),
];

/// Middleware around all routes, which checks requests and adds headers to responses.
pub(crate) async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let mut response = match admit(&console, request).await {
        Ok((request, new_session)) => {
            let mut response = next.run(request).await;
            // The login handler sets the cookie of a new session itself.
            if let Some(cookie) = new_session.filter(|_| !response.headers().contains_key(header::SET_COOKIE)) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(failure) => failure.into_response(),
    };
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        // Assets have their own `cache-control` header.
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Checks a request. Returns it with its [`Visit`](crate::access::Visit), and the cookie if the session is new.
async fn admit(console: &Console, request: Request) -> Result<(Request, Option<HeaderValue>), Failure> {
    let (mut parts, body) = request.into_parts();
    let host = host(&parts.headers, &parts.uri).ok_or(Failure::UnknownHost)?.to_owned();
    if !console.settings().hosts.contains(&host) {
        return Err(Failure::UnknownHost);
    }
    let name = cookie_name(console);
    let session = session_of(&parts.headers, &name);
    let is_new = session.is_none();
    let session = session.unwrap_or_else(SessionId::random);
    let cookie = is_new.then(|| cookie(console, &session, &parts.headers)).flatten();
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
    let visit = console.visitors().visit(session, &parts.headers, peer, console.now());
    let body = if matches!(parts.method, Method::GET | Method::HEAD) {
        Body::empty()
    } else {
        if !is_same_origin(&parts.headers, &host) {
            return Err(Failure::OtherOrigin);
        }
        let bytes = read(body).await?;
        if !console.visitors().is_token(&visit, &token(&bytes).unwrap_or_default()) {
            return Err(Failure::FormExpired);
        }
        Body::from(bytes)
    };
    parts.extensions.insert(visit);
    Ok((Request::from_parts(parts, body), cookie))
}

/// Returns the header Host. Returns `None` if it is missing or repeated, or if the request URI has another authority.
fn host<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Option<&'r str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    let is_other = |authority: &str| !authority.eq_ignore_ascii_case(host);
    if hosts.next().is_some() || uri.authority().is_some_and(|authority| is_other(authority.as_str())) {
        return None;
    }
    Some(host)
}

/// Returns whether a page of this console sent the request, according to the headers `sec-fetch-site` and `origin`. A
/// request with neither header is refused.
fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match text("origin") {
        Some(origin) => {
            let after = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            after.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        }
        None => site.is_some(),
    }
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(_) => Err(Failure::Invalid("The request ended early.".to_owned())),
    }
}

/// Returns the value of the field `token` of a form.
fn token(body: &[u8]) -> Option<String> {
    form_urlencoded::parse(body).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned())
}

/// Returns the name of the session cookie. It contains the port, because browsers share cookies between all ports of a
/// host.
fn cookie_name(console: &Console) -> String {
    format!("customerio-aep-console-{}", console.settings().listen.port())
}

fn session_of(headers: &HeaderMap, name: &str) -> Option<SessionId> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).and_then(|(_, value)| SessionId::of_cookie(value))
}

/// Returns the `set-cookie` header for a session, with `Secure` if the proxy received the request over HTTPS.
pub(crate) fn cookie(console: &Console, session: &SessionId, headers: &HeaderMap) -> Option<HeaderValue> {
    let is_https = headers.get("x-forwarded-proto").is_some_and(|value| value.as_bytes() == b"https");
    let secure = if is_https { "; Secure" } else { "" };
    let text = format!("{}={}; Path=/; HttpOnly; SameSite=Strict{secure}", cookie_name(console), session.as_str());
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_request_is_accepted_only_with_headers_of_the_same_origin() {
        let same = |list| is_same_origin(&headers(list), "localhost:8088");
        assert!(same(&[("origin", "http://localhost:8088"), ("sec-fetch-site", "same-origin")]));
        assert!(same(&[("origin", "http://localhost:8088")]) && same(&[("sec-fetch-site", "same-origin")]));
        assert!(same(&[("origin", "https://localhost:8088")]), "behind a proxy with TLS");
        for list in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:9000")],
            &[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:8088"), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!same(list), "{list:?}");
        }
    }

    #[test]
    fn a_request_with_no_host_two_hosts_or_a_different_authority_is_refused() {
        let of = |list, uri: &'static str| host(&headers(list), &Uri::from_static(uri)).map(str::to_owned);
        assert_eq!(of(&[("host", "a:1")], "/").as_deref(), Some("a:1"));
        assert_eq!(of(&[("host", "a:1")], "http://a:1/").as_deref(), Some("a:1"));
        for (list, uri) in
            [(&[][..], "/"), (&[("host", "a:1"), ("host", "a:1")], "/"), (&[("host", "a:1")], "http://b:1/")]
        {
            assert_eq!(of(list, uri), None, "{list:?} {uri}");
        }
    }

    #[test]
    fn the_session_id_is_read_from_the_cookie_of_this_console() {
        let id = "a".repeat(64);
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("x=1; other={id}; mine={id}; y")).unwrap();
        headers.insert(header::COOKIE, value);
        assert_eq!(session_of(&headers, "mine").map(|id| id.as_str().to_owned()), Some(id));
        assert_eq!(session_of(&headers, "yours"), None);
    }
}
