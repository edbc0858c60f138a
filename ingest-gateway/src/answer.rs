//! All responses of the gateway with their HTTP form. They are defined in one place, because Customer.io waits an hour
//! after some of them: after 400, 401, 404, 405, 429, 500, 502 and reset connections, but not after 503
//! (reporting-webhooks specification).

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// Media type of problem details (RFC 9457).
const PROBLEM_JSON: &str = "application/problem+json";

/// The response to a request, by its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All in-sync replicas have the body, or the dead letter for a body over the limit.
    Stored,
    /// The signature is missing, malformed or invalid, or the timestamp is out of tolerance. All these requests get the
    /// same response, so that it does not show which check failed.
    Unauthenticated,
    /// The route or the source does not exist.
    NotFound,
    /// The method is not POST.
    MethodNotAllowed,
    /// The body is over the limit and not authentic, or over the hard limit.
    TooLarge,
    /// The client stopped sending in the middle of the request, or took too long.
    ReadTimeout,
    /// The client closed the connection in the middle of the request, or its framing was invalid.
    Unreadable,
    /// More bytes are in flight than the budget allows.
    Overloaded,
    /// Kafka did not acknowledge in time, or the producer could not queue the record.
    Unavailable,
    /// The gateway has a defect; the client should send the request again.
    Defect,
}

impl Answer {
    #[cfg(test)]
    pub(crate) const ALL: &'static [Self] = &[
        Self::Stored,
        Self::Unauthenticated,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::ReadTimeout,
        Self::Unreadable,
        Self::Overloaded,
        Self::Unavailable,
        Self::Defect,
    ];

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Stored => StatusCode::ACCEPTED,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ReadTimeout | Self::Unreadable => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded | Self::Unavailable | Self::Defect => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the body with problem details (RFC 9457): a stable code and title, without any content of the request.
    fn problem(self) -> Option<&'static str> {
        match self {
            Self::Stored => None,
            Self::Unauthenticated => Some(
                r#"{"type":"about:blank","status":401,"code":"unauthenticated","title":"The request is not signed with a live signing key of this source"}"#,
            ),
            Self::NotFound => {
                Some(r#"{"type":"about:blank","status":404,"code":"not_found","title":"No such route or source"}"#)
            }
            Self::MethodNotAllowed => Some(
                r#"{"type":"about:blank","status":405,"code":"method_not_allowed","title":"Only POST is allowed"}"#,
            ),
            Self::TooLarge => {
                Some(r#"{"type":"about:blank","status":413,"code":"too_large","title":"The body is over the limit"}"#)
            }
            Self::ReadTimeout | Self::Unreadable => Some(
                r#"{"type":"about:blank","status":408,"code":"read_timeout","title":"The request did not arrive whole"}"#,
            ),
            Self::Overloaded => Some(
                r#"{"type":"about:blank","status":503,"code":"overloaded","title":"Too many bytes are in flight"}"#,
            ),
            Self::Unavailable => Some(
                r#"{"type":"about:blank","status":503,"code":"unavailable","title":"The event could not be stored in time"}"#,
            ),
            Self::Defect => Some(
                r#"{"type":"about:blank","status":503,"code":"defect","title":"The request could not be handled"}"#,
            ),
        }
    }

    /// Returns the header that the response has in addition to the content type.
    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed => Some((header::ALLOW, HeaderValue::from_static("POST"))),
            Self::Overloaded | Self::Unavailable | Self::Defect => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("5")))
            }
            // The gateway cannot distinguish the unread rest of such a request from the next request, so the connection
            // must close.
            Self::TooLarge | Self::ReadTimeout | Self::Unreadable => {
                Some((header::CONNECTION, HeaderValue::from_static("close")))
            }
            Self::Stored | Self::Unauthenticated | Self::NotFound => None,
        }
    }

    /// Returns the whole HTTP response as text, for a connection that is closed after the response.
    pub(crate) fn on_the_wire(self) -> String {
        let (status, problem) = (self.status(), self.problem().unwrap_or_default());
        format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{problem}",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            problem.len()
        )
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = match self.problem() {
            None => Response::new(Full::default()),
            Some(problem) => {
                let mut response = Response::new(Full::from(problem));
                let json = HeaderValue::from_static(PROBLEM_JSON);
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
        };
        *response.status_mut() = self.status();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_401_404_and_405_responses_make_customerio_wait_an_hour() {
        let slow = [400, 401, 402, 403, 404, 405, 410, 429, 500, 502, 521];
        for &answer in Answer::ALL {
            let expected = matches!(answer, Answer::Unauthenticated | Answer::NotFound | Answer::MethodNotAllowed);
            assert_eq!(slow.contains(&answer.status().as_u16()), expected, "{answer:?}");
        }
    }

    #[test]
    fn the_json_body_of_every_problem_contains_the_http_status() {
        for &answer in Answer::ALL {
            let Some(problem) = answer.problem() else { continue };
            let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
            assert_eq!(problem["status"], answer.status().as_u16(), "{answer:?}");
            assert!(problem["code"].is_string() && problem["title"].is_string());
        }
        let response = Answer::Unavailable.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(Answer::MethodNotAllowed.into_response().headers()[header::ALLOW], "POST");
        let wire = Answer::ReadTimeout.on_the_wire();
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}\r\nconnection: close", body.len())), "{head}");
    }
}
