//! Error pages. Each page has a sentence about what happened and a next step.

use askama::Template;
use axum::http::header::{HeaderMap, HeaderValue, LOCATION};
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::access::Role;
use crate::frame::Page;

/// Reason for which a request gets an error page or a redirect instead of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The page or object does not exist. The text is a sentence for the page.
    NotFound(String),
    /// The page exists, but does not support the method of the request.
    WrongMethod,
    /// The user has to log in, and then gets the page `next`.
    LoginNeeded {
        next: String,
    },
    /// The user has to log in, and JavaScript requested only a part of a page.
    LoginNeededInPart,
    RoleNeeded(Role),
    NoRole,
    NotFromProxy,
    /// The token of the form is not valid for this session, for example after a restart.
    FormExpired,
    /// A page of another site sent the request.
    OtherOrigin,
    /// The header Host of the request is not an accepted host.
    UnknownHost,
    TooLarge,
    /// The input is invalid. The text is a sentence for the page.
    Invalid(String),
    /// Another job is running, or the state has changed in the meantime. The text is a sentence for the page.
    Conflict(String),
    /// The configuration does not allow the action. The text is a sentence for the page.
    Disabled(String),
    /// Kafka or a service did not respond. The text is a sentence for the page.
    Unanswered(String),
    /// A defect of the console.
    Defect(&'static str),
}

impl Failure {
    /// Returns the failure for a request without a login. Only a GET request leads back to its page after the login.
    pub(crate) fn login_needed(method: &Method, headers: &HeaderMap, path: &str) -> Self {
        if headers.contains_key("hx-request") {
            return Self::LoginNeededInPart;
        }
        let next = if method == Method::GET { path } else { "/" };
        Self::LoginNeeded { next: next.to_owned() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::LoginNeeded { .. } => StatusCode::SEE_OTHER,
            Self::LoginNeededInPart => StatusCode::UNAUTHORIZED,
            Self::RoleNeeded(_)
            | Self::NoRole
            | Self::NotFromProxy
            | Self::FormExpired
            | Self::OtherOrigin
            | Self::Disabled(_) => StatusCode::FORBIDDEN,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unanswered(_) => StatusCode::BAD_GATEWAY,
            Self::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the heading of the error page.
    fn title(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "Not found",
            Self::WrongMethod => "Not possible here",
            Self::LoginNeeded { .. } | Self::LoginNeededInPart => "Log in",
            Self::RoleNeeded(_) | Self::NoRole | Self::Disabled(_) => "Not allowed",
            Self::NotFromProxy | Self::UnknownHost => "Not reachable this way",
            Self::FormExpired => "This form has expired",
            Self::OtherOrigin => "Refused",
            Self::TooLarge => "Too large",
            Self::Invalid(_) => "This cannot be used",
            Self::Conflict(_) => "Not now",
            Self::Unanswered(_) => "No answer",
            Self::Defect(_) => "A defect",
        }
    }

    /// Returns two sentences for the error page: what happened, and what to do next.
    fn sentences(&self) -> (String, String) {
        let (what, next): (&str, &str) = match self {
            Self::NotFound(what) => (what, "Check the address, or start from the overview."),
            Self::WrongMethod => {
                ("This address does not accept this kind of request.", "Go back, and use the buttons of the page.")
            }
            Self::LoginNeeded { .. } | Self::LoginNeededInPart => ("You are not logged in.", "Log in to continue."),
            Self::RoleNeeded(role) => {
                let article = if *role == Role::Viewer { "a" } else { "an" };
                return (
                    format!("This needs the role of {article} {role}, which you do not have."),
                    "Ask somebody who has it, or the person who runs this console.".to_owned(),
                );
            }
            Self::NoRole => (
                "You are known, but none of your groups has a role in this console.",
                "Ask the person who runs this console to add one of your groups to CONSOLE_PROXY_ROLES.",
            ),
            Self::NotFromProxy => (
                "This console is reached only through its authenticating proxy, which names the user.",
                "Open the address of the proxy.",
            ),
            Self::FormExpired => (
                "The form was made for another session, or before the console was started again. Nothing was changed.",
                "Go back, reload the page, and send the form again.",
            ),
            Self::OtherOrigin => (
                "The request was sent by a page of another site. Nothing was changed.",
                "Open the console itself, and do it there.",
            ),
            Self::UnknownHost => (
                "The console does not answer under the name in the address.",
                "Open it under the name of its configuration; CONSOLE_HOSTS adds others.",
            ),
            Self::TooLarge => ("The form is larger than the console accepts.", "Go back, and send less."),
            Self::Invalid(what) => (what, "Go back, and correct it."),
            Self::Conflict(what) => (what, "Go back, and reload the page to see the current state."),
            Self::Disabled(what) => (what, "The person who runs this console can change its configuration."),
            Self::Unanswered(what) => (what, "The overview says what can be reached. Try again in a moment."),
            Self::Defect(what) => (what, "This is a defect of the console: please report it with its log."),
        };
        (what.to_owned(), next.to_owned())
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    page: Page,
    what: String,
    next: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Self::Defect(what) = self {
            tracing::error!(what, "a request failed; this is a defect, please report it");
        }
        if let Self::LoginNeeded { next } = &self {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            let location = HeaderValue::try_from(format!("/login?{query}"));
            return (status, [(LOCATION, location.unwrap_or(HeaderValue::from_static("/login")))]).into_response();
        }
        if self == Self::LoginNeededInPart {
            return (status, [("hx-redirect", "/login")]).into_response();
        }
        let (what, next) = self.sentences();
        let page = FailurePage { page: Page::without_user(self.title()), what, next };
        match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => status.into_response(),
        }
    }
}
