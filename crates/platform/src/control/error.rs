//! Errors of control-plane requests, each with its remedy.

use std::fmt;
use std::time::Duration;

use crate::control::{Method, Problem, Request};
use crate::credential::CredentialNames;
use crate::failure::{Failure, Unreached};
use crate::token::TokenError;

/// Error of a control-plane request. Its text contains the request, the cause, the next step, and who can take it.
#[derive(Debug, Clone)]
pub struct ControlError {
    /// HTTP method of the request.
    pub method: Method,
    /// Path and query of the request.
    pub path: String,
    /// Cause of the failure. It is boxed so that a `Result` stays small.
    pub kind: Box<ErrorKind>,
    /// The variables that the credential was read from.
    pub credential: CredentialNames,
}

/// The cause of a failed request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ErrorKind {
    /// IMS did not grant a token, and nothing was sent.
    #[error("there is no access token: {0}")]
    NoToken(TokenError),
    /// No connection could be made, and nothing was sent.
    #[error("Platform cannot be reached: {0}")]
    Unreachable(Failure),
    /// Platform may or may not have executed the request, and a repeat may execute it twice.
    #[error("it is unknown whether Platform carried this out: {0}")]
    OutcomeUnknown(Interruption),
    /// Every attempt of a repeatable request failed.
    #[error("Platform did not answer this usefully: {0}")]
    Unavailable(Interruption),
    /// Status 401, also with a new token.
    #[error("Platform refuses the access token (HTTP 401), a new one too: {0}")]
    Unauthorized(Problem),
    /// Status 403, also with a token that was requested recently.
    #[error("Platform forbids this (HTTP 403): {0}")]
    Forbidden(Problem),
    /// Status 404.
    #[error("this does not exist (HTTP 404): {0}")]
    NotFound(Problem),
    /// Status 406: the requested representation is not available.
    #[error("Platform does not offer this representation (HTTP 406): {0}")]
    NotAcceptable(Problem),
    /// The object exists already: status 409, or a title that is not unique.
    #[error("an object like this exists already{}: {problem}", .existing.as_ref().map(|id| format!(" ({id})")).unwrap_or_default())]
    AlreadyExists {
        /// Id of the existing object, if the response contains it.
        existing: Option<String>,
        /// Error body of the response.
        problem: Problem,
    },
    /// Status 412: the object no longer has the version in `If-Match`.
    #[error("the object was changed meanwhile (HTTP 412): {0}")]
    ChangedMeanwhile(Problem),
    /// Status 429: too many requests.
    #[error("Platform limits the rate of requests (HTTP 429): {problem}")]
    RateLimited {
        /// Wait from the header `Retry-After`, if the response has one.
        retry_after: Option<Duration>,
        /// Error body of the response.
        problem: Problem,
    },
    /// Any other unsuccessful status.
    #[error("Platform refuses this (HTTP {status}): {problem}")]
    Rejected {
        /// HTTP status code.
        status: u16,
        /// Error body of the response.
        problem: Problem,
    },
    /// A successful response that cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The link to the next page must not be followed, for example because it leads to another server.
    #[error("the link to the next page was not followed: {0}")]
    BadLink(String),
    /// A newly created object did not become visible in time.
    #[error("an object that was created {} s ago is still not visible: {last}", .waited.as_secs())]
    NotVisible {
        /// Time since the creation of the object.
        waited: Duration,
        /// Error body of the last response.
        last: Problem,
    },
}

/// Reason why a request has no usable response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interruption {
    /// No response arrived in time, or the connection broke.
    Failed(Failure),
    /// The response does not tell whether Platform executed the request.
    Status {
        /// HTTP status code.
        status: u16,
        /// Error body of the response.
        problem: Problem,
    },
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::Status { status, problem } => write!(f, "HTTP {status}: {problem}"),
        }
    }
}

/// The person who can resolve an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The person who runs this program.
    You,
    /// An administrator of the organisation's Experience Platform.
    AdobeAdministrator,
    /// A person at Adobe's support.
    AdobeSupport,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::You => "you",
            Self::AdobeAdministrator => "an Adobe administrator",
            Self::AdobeSupport => "Adobe's support",
        })
    }
}

/// The next step to resolve an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// The person who can take the step.
    pub who: Who,
    /// The instruction, as text.
    pub step: String,
}

impl Remedy {
    fn new(who: Who, step: impl Into<String>) -> Self {
        Self { who, step: step.into() }
    }
}

impl ControlError {
    pub(crate) fn new(request: &Request, kind: ErrorKind) -> Self {
        let credential = CredentialNames::default();
        Self { method: request.method, path: request.path.clone(), kind: Box::new(kind), credential }
    }

    /// Returns the error with the variables of the credential that the request was sent with.
    pub(crate) fn with_credential(self, credential: CredentialNames) -> Self {
        Self { credential, ..self }
    }

    /// Returns the next step to resolve the error.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        use Who::{AdobeSupport, You};
        let CredentialNames { client_id, client_secret, scopes } = self.credential;
        match &*self.kind {
            ErrorKind::NoToken(TokenError::Refused { .. }) => Remedy::new(
                You,
                format!("compare {client_id}, {client_secret} and {scopes} with the Developer Console"),
            ),
            ErrorKind::NoToken(TokenError::Secret(_)) => {
                Remedy::new(You, format!("make the file with {client_secret} readable for this user"))
            }
            ErrorKind::NoToken(_) => Remedy::new(You, "check IMS_URL and the network, and run this again"),
            ErrorKind::Unreachable(Failure::Connect(Unreached::Tls)) => {
                Remedy::new(You, "check PLATFORM_API_URL, and PLATFORM_CA_FILE if a proxy decrypts TLS")
            }
            ErrorKind::Unreachable(_) => {
                Remedy::new(You, "check PLATFORM_API_URL, the proxy and the network, and run this again")
            }
            ErrorKind::OutcomeUnknown(_) => {
                Remedy::new(You, "look first: read the object before sending this again; `setup apply` does so")
            }
            ErrorKind::Unavailable(_) => Remedy::new(You, "run this again in a few minutes"),
            ErrorKind::Unauthorized(problem) | ErrorKind::Forbidden(problem) => access_remedy(problem, self.credential),
            ErrorKind::NotFound(problem) if is_sandbox(problem) => {
                Remedy::new(You, "set PLATFORM_SANDBOX to the name of a sandbox that this credential may use")
            }
            ErrorKind::NotFound(_) => {
                Remedy::new(You, "check the id, and that PLATFORM_SANDBOX is the object's sandbox")
            }
            ErrorKind::NotAcceptable(_) | ErrorKind::Unreadable(_) => {
                Remedy::new(You, "check PLATFORM_API_URL; if it is right, report this as a bug of this program")
            }
            ErrorKind::AlreadyExists { .. } => Remedy::new(You, "adopt the existing object, or choose another name"),
            ErrorKind::ChangedMeanwhile(_) => {
                Remedy::new(You, "someone else changed it: run this again, it reads the new version first")
            }
            ErrorKind::RateLimited { retry_after: Some(wait), .. } => {
                Remedy::new(You, format!("wait {} s and run this again", wait.as_secs().max(1)))
            }
            ErrorKind::RateLimited { .. } => Remedy::new(You, "wait a minute and run this again"),
            ErrorKind::Rejected { problem, .. } => rejection_remedy(problem),
            ErrorKind::BadLink(_) => Remedy::new(You, "check PLATFORM_API_URL: links must lead to the same server"),
            ErrorKind::NotVisible { .. } => {
                Remedy::new(AdobeSupport, "run this again in a few minutes; if it stays, ask Adobe's support")
            }
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = self.remedy();
        write!(f, "{} {}: {}; next step for {}: {}", self.method, self.path, self.kind, remedy.who, remedy.step)
    }
}

impl std::error::Error for ControlError {}

fn is_sandbox(problem: &Problem) -> bool {
    ["2100-404", "2105-400"].iter().any(|code| problem.has_code(code))
}

/// Returns the remedy for 401 and 403. The codes of Adobe's API gateway distinguish a wrong key or organisation from a
/// missing permission.
fn access_remedy(problem: &Problem, credential: CredentialNames) -> Remedy {
    let CredentialNames { client_id, scopes, .. } = credential;
    match problem.code.as_deref() {
        Some("403000" | "403003") => Remedy::new(
            Who::You,
            format!("add the Experience Platform API to the project of {client_id} in the Developer Console"),
        ),
        Some("403025" | "400003" | "1008-401") => {
            Remedy::new(Who::You, "set PLATFORM_IMS_ORG to the organisation that the credential belongs to")
        }
        Some("401013" | "403010" | "1001-401" | "2000-401" | "INVALID_IMS_TOKEN") => Remedy::new(
            Who::You,
            format!(
                "check that IMS_URL, {client_id} and PLATFORM_IMS_ORG belong together, and {scopes} in the Developer Console"
            ),
        ),
        Some("1100-400") => not_licensed(),
        _ => Remedy::new(
            Who::AdobeAdministrator,
            "add the credential to a role that has this permission and this sandbox (Permissions > Roles > API credentials); \
             a new role can take 15 minutes",
        ),
    }
}

fn not_licensed() -> Remedy {
    Remedy::new(Who::AdobeAdministrator, "check that the organisation has licensed the HTTP API source")
}

fn rejection_remedy(problem: &Problem) -> Remedy {
    match problem.code.as_deref() {
        Some("1100-400") => not_licensed(),
        Some("2105-400") => Remedy::new(Who::You, "set PLATFORM_SANDBOX"),
        Some("400003") => Remedy::new(Who::You, "set PLATFORM_IMS_ORG"),
        Some("1425-400") => Remedy::new(
            Who::You,
            "use the same schema, with the same version, for the dataset and the target connection",
        ),
        Some("1418-400") => Remedy::new(Who::You, "remove the flows and connections that use it first"),
        _ => Remedy::new(
            Who::You,
            "compare the request with the text of the answer; if it names none of your settings, report this as a bug of this program",
        ),
    }
}

/// Returns the error for an unsuccessful response.
pub(crate) fn classify(request: &Request, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ControlError {
    let problem = Problem::parse(body);
    let kind = match status {
        401 => ErrorKind::Unauthorized(problem),
        403 => ErrorKind::Forbidden(problem),
        404 => ErrorKind::NotFound(problem),
        406 => ErrorKind::NotAcceptable(problem),
        412 => ErrorKind::ChangedMeanwhile(problem),
        429 => ErrorKind::RateLimited { retry_after, problem },
        _ if problem.has_code("1404-412") => ErrorKind::ChangedMeanwhile(problem),
        408 | 500..=599 => interrupted(request, Interruption::Status { status, problem }),
        409 => ErrorKind::AlreadyExists { existing: problem.existing_id(), problem },
        _ if request.effect == crate::control::Effect::Create && problem.is_duplicate() => {
            ErrorKind::AlreadyExists { existing: problem.existing_id(), problem }
        }
        _ => ErrorKind::Rejected { status, problem },
    };
    ControlError::new(request, kind)
}

/// Returns the cause for a request without a usable response. If a repeat is not safe, the outcome is unknown, and the
/// caller must look for the object first.
pub(crate) fn interrupted(request: &Request, interruption: Interruption) -> ErrorKind {
    if request.is_repeatable() { ErrorKind::Unavailable(interruption) } else { ErrorKind::OutcomeUnknown(interruption) }
}

#[cfg(test)]
mod tests;
