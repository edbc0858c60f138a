//! The errors of the App API, with one variant for each possible reaction of the caller.

use std::fmt;

use crate::address::Region;
use crate::answer::ErrorDetail;
use crate::change::NewWebhook;
use crate::webhook::{Webhook, WebhookList};

/// Method and URL of a failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: String,
    /// The full URL. It contains neither a user name nor a query.
    pub url: String,
    /// The configured region; `None` if `CUSTOMERIO_API_URL` replaces the addresses of the regions.
    pub region: Option<Region>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// The person or organisation that can fix the cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The person who runs this program.
    You,
    /// A Customer.io administrator, whose role has "Manage API credentials".
    CustomerIoAdministrator,
    /// Customer.io. The problem may also disappear without any action.
    CustomerIo,
}

/// The reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Response 401: Customer.io does not accept the key.
    #[error(
        "{call}: Customer.io refuses the App API key (401{}). Either CUSTOMERIO_APP_API_KEY is wrong (deleted, or a key \
         of the Track API or of a data pipeline), or {}. An App API key is shown once, when it is created: a \
         Customer.io administrator creates one under Account settings > API credentials > App API keys",
        said(.details), wrong_region(.call)
    )]
    KeyRefused {
        /// The failed request.
        call: Call,
        /// Error texts of the response.
        details: Vec<ErrorDetail>,
    },
    /// Response 403: the key is valid but is not allowed to send this request.
    #[error(
        "{call}: the App API key is valid but may not do this (403{}). Either its scope leaves this out, or its list of \
         allowed IP addresses does not have this machine's. A Customer.io administrator changes both under Account \
         settings > API credentials > App API keys", said(.details)
    )]
    NotAllowed {
        /// The failed request.
        call: Call,
        /// Error texts of the response.
        details: Vec<ErrorDetail>,
    },
    /// Response 404: the object does not exist in the key's workspace.
    #[error(
        "{call}: not found (404{}). Either it has been deleted, or CUSTOMERIO_APP_API_KEY belongs to another workspace{}. \
         List the webhooks to see what this key reaches", said(.details), replaced_address(.call)
    )]
    NotFound {
        /// The failed request.
        call: Call,
        /// Error texts of the response.
        details: Vec<ErrorDetail>,
    },
    /// Response 400 or another 4xx: nothing was changed, and the same request would be refused again.
    #[error("{call}: Customer.io refuses the request ({status}{}); nothing was changed{}", said(.details), sent_back(.unknown_fields))]
    Rejected {
        /// The failed request.
        call: Call,
        /// HTTP status code.
        status: u16,
        /// Error texts of the response, each with the name of its field if the response contains one.
        details: Vec<ErrorDetail>,
        /// Names of fields in the request that this version does not know and sent back as they were received.
        unknown_fields: Vec<String>,
    },
    /// Every attempt got a 429.
    #[error(
        "{call}: over Customer.io's limit of 10 requests a second (429), {attempts} times in a row; nothing was changed. \
         Try again in a minute; if it persists, find out what else calls the App API of this workspace"
    )]
    TooManyRequests {
        /// The failed request.
        call: Call,
        /// Number of attempts.
        attempts: u32,
    },
    /// The last attempt got a 5xx or 408.
    #[error(
        "{call}: Customer.io answers {status} (sent {attempts} times). Try again later, and see https://status.customer.io"
    )]
    Unavailable {
        /// The failed request.
        call: Call,
        /// HTTP status code of the last attempt.
        status: u16,
        /// Number of attempts.
        attempts: u32,
    },
    /// No connection could be made, so the request was not sent.
    #[error(
        "{call}: no connection ({reason}); nothing was sent. Check the network, HTTPS_PROXY and CUSTOMERIO_API_URL of this machine"
    )]
    NotSent {
        /// The failed request.
        call: Call,
        /// Innermost cause from the HTTP client, such as "connection refused".
        reason: String,
    },
    /// The request was sent, and no response arrived.
    #[error(
        "{call}: no answer ({reason}, sent {attempts} times). Try again; if it persists, check the network and https://status.customer.io"
    )]
    NoAnswer {
        /// The failed request.
        call: Call,
        /// Innermost cause from the HTTP client.
        reason: String,
        /// Number of attempts.
        attempts: u32,
    },
    /// The response does not have the form of an App API response.
    #[error(
        "{call}: the answer ({status}) is not one of the App API: {what}. Check CUSTOMERIO_API_URL, and whether a proxy \
         answers in place of Customer.io"
    )]
    Unexpected {
        /// The failed request.
        call: Call,
        /// HTTP status code.
        status: u16,
        /// Description of the problem, without the text of the response.
        what: String,
    },
}

impl ApiError {
    /// An identifier for machine-readable output, such as `key_refused`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyRefused { .. } => "key_refused",
            Self::NotAllowed { .. } => "not_allowed",
            Self::NotFound { .. } => "not_found",
            Self::Rejected { .. } => "rejected",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Unavailable { .. } => "unavailable",
            Self::NotSent { .. } => "not_sent",
            Self::NoAnswer { .. } => "no_answer",
            Self::Unexpected { .. } => "unexpected_answer",
        }
    }

    /// The person or organisation that can fix the cause.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::KeyRefused { .. } | Self::NotAllowed { .. } => Remedy::CustomerIoAdministrator,
            Self::NotFound { .. } | Self::Rejected { .. } | Self::NotSent { .. } | Self::Unexpected { .. } => {
                Remedy::You
            }
            Self::TooManyRequests { .. } | Self::Unavailable { .. } | Self::NoAnswer { .. } => Remedy::CustomerIo,
        }
    }
}

fn said(details: &[ErrorDetail]) -> String {
    details.iter().map(|detail| format!("; it says: {detail}")).collect()
}

fn wrong_region(call: &Call) -> String {
    match call.region {
        Some(region) => {
            format!("the account is not in region `{region}`: try CUSTOMERIO_REGION={}", region.other())
        }
        None => "CUSTOMERIO_API_URL is not the address of the account's region".to_owned(),
    }
}

fn replaced_address(call: &Call) -> &'static str {
    if call.region.is_none() { ", or CUSTOMERIO_API_URL is wrong" } else { "" }
}

fn sent_back(unknown_fields: &[String]) -> String {
    match unknown_fields {
        [] => String::new(),
        names => format!(
            ". Fields that this version does not know were sent back as they were received: {}. If one of them is refused, \
             change this webhook on Customer.io's page",
            names.join(", ")
        ),
    }
}

/// The reason why a webhook was not created, or why the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Nothing was created. The request can be sent again once the cause is fixed.
    #[error("the webhook was not created. {0}")]
    NotCreated(ApiError),
    /// It is unknown whether the webhook exists: list the webhooks before creating it again.
    #[error("{0}")]
    Unconfirmed(Box<UnconfirmedCreate>),
}

/// A create request whose outcome is unknown.
///
/// This value owns the [`NewWebhook`] and returns it only from [`Self::look_in`], after a check of the list of
/// webhooks. Creating the webhook again without a check could leave two webhooks that both send every event.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is unknown whether the webhook `{}` was created: {cause}. List the webhooks and look for this name and endpoint \
     before creating it again", .new.name
)]
#[must_use = "look for the webhook before creating it again"]
pub struct UnconfirmedCreate {
    new: NewWebhook,
    cause: ApiError,
}

/// Result of the search for a webhook after a create whose outcome was unknown.
#[derive(Debug)]
pub enum Looked {
    /// The webhook exists.
    Created(Webhook),
    /// The webhook is not in this list. If Customer.io is still processing the create, the webhook may appear later; a
    /// list that is read after another time-out is more reliable.
    Absent(NewWebhook),
    /// Several webhooks match, or an unreadable entry may be the webhook. A person has to choose; each text describes a
    /// candidate.
    Ambiguous(Vec<String>),
}

impl UnconfirmedCreate {
    pub(crate) fn new(new: NewWebhook, cause: ApiError) -> Box<Self> {
        Box::new(Self { new, cause })
    }

    /// The reason why the outcome is unknown.
    #[must_use]
    pub fn cause(&self) -> &ApiError {
        &self.cause
    }

    /// Looks for the webhook in a list that was read after the create.
    #[must_use]
    pub fn look_in(self, list: &WebhookList) -> Looked {
        let readable = list.webhooks.iter().filter(|webhook| self.new.may_be(webhook));
        let namesakes =
            list.unreadable.iter().filter(|other| other.name.as_ref().is_none_or(|name| *name == self.new.name));
        let candidates: Vec<&Webhook> = readable.collect();
        let unclear: Vec<String> = namesakes.map(ToString::to_string).collect();
        match candidates.as_slice() {
            [] if unclear.is_empty() => Looked::Absent(self.new),
            [only] if unclear.is_empty() => Looked::Created((*only).clone()),
            several => {
                let ids = several.iter().map(|webhook| format!("webhook {} has the name and endpoint", webhook.id()));
                Looked::Ambiguous(ids.chain(unclear).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event_name::EventSelection;
    use crate::webhook::{MessageContent, Resolution};

    fn call(region: Option<Region>) -> Call {
        Call { method: "GET".to_owned(), url: "https://api.customer.io/v1/workspaces".to_owned(), region }
    }

    #[test]
    fn the_message_for_a_refused_key_names_the_variable_and_the_region_to_try() {
        let error = |region| ApiError::KeyRefused { call: call(region), details: Vec::new() }.to_string();
        let us = error(Some(Region::Us));
        assert!(us.contains("CUSTOMERIO_APP_API_KEY is wrong") && us.contains("CUSTOMERIO_REGION=eu"), "{us}");
        assert!(us.contains("administrator") && us.contains("https://api.customer.io"), "{us}");
        assert!(error(Some(Region::Eu)).contains("CUSTOMERIO_REGION=us"));
        assert!(error(None).contains("CUSTOMERIO_API_URL"));
    }

    #[test]
    fn the_message_for_a_rejected_update_lists_the_unknown_fields_in_the_request() {
        let detail = ErrorDetail { message: "unknown field".to_owned(), field: Some("/batching".to_owned()) };
        let rejected = |unknown_fields| ApiError::Rejected {
            call: call(None),
            status: 400,
            details: vec![detail.clone()],
            unknown_fields,
        };
        let error = rejected(vec!["batching".to_owned()]).to_string();
        assert!(
            error.contains("unknown field (/batching)") && error.contains("sent back") && error.contains(": batching."),
            "{error}"
        );
        assert!(!rejected(Vec::new()).to_string().contains("sent back"));
    }

    fn unconfirmed() -> Box<UnconfirmedCreate> {
        let new = NewWebhook {
            name: "ours".to_owned(),
            endpoint: "https://x.example/hook".parse().unwrap(),
            events: EventSelection::all(),
            resolution: Resolution::FirstOnly,
            content: MessageContent::Omitted,
        };
        let cause = ApiError::NoAnswer { call: call(None), reason: "no answer in time".to_owned(), attempts: 1 };
        UnconfirmedCreate::new(new, cause)
    }

    fn list(entries: &[serde_json::Value]) -> WebhookList {
        WebhookList::parse(&json!({"reporting_webhooks": entries})).unwrap()
    }

    #[test]
    fn an_unconfirmed_create_is_looked_up_by_name_and_endpoint() {
        let entry = |id: u64, name: &str, endpoint: &str| json!({"id": id, "name": name, "endpoint": endpoint});
        let ours = entry(1, "ours", "https://X.example:443/hook");
        let others = [entry(2, "ours", "https://other.example/hook"), entry(3, "theirs", "https://x.example/hook")];
        assert!(matches!(unconfirmed().look_in(&list(&others)), Looked::Absent(new) if new.name == "ours"));
        let found = unconfirmed().look_in(&list(&[others[0].clone(), ours.clone()]));
        assert!(matches!(found, Looked::Created(webhook) if webhook.id().0 == 1));
        let twice = [ours, entry(4, "ours", "https://x.example/hook")];
        assert!(matches!(unconfirmed().look_in(&list(&twice)), Looked::Ambiguous(found) if found.len() == 2));
        let unreadable = json!({"id": 5, "name": "ours"});
        assert!(matches!(unconfirmed().look_in(&list(&[unreadable])), Looked::Ambiguous(_)));
        let unrelated = json!({"id": 5, "name": "theirs"});
        assert!(matches!(unconfirmed().look_in(&list(&[unrelated])), Looked::Absent(_)));
    }

    #[test]
    fn the_message_for_an_unconfirmed_create_says_to_list_webhooks_first() {
        let error = CreateError::Unconfirmed(unconfirmed()).to_string();
        assert!(
            error.contains("unknown whether the webhook `ours`") && error.contains("before creating it again"),
            "{error}"
        );
    }
}
