//! Sends requests at the rate of the request budget, and repeats them according to the retry policy.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::RequestBuilder;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::pace::{Ended, RequestBudget, RetryPolicy};
use crate::request::Repeat;

/// Maximum number of bytes that are read of a response. A list of a hundred webhooks has about a tenth of this size.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// HTTP client with a rate limit and a retry policy.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) budget: RequestBudget,
    pub(crate) retry: RetryPolicy,
    /// Time limit of a request with all its attempts, from its first attempt on; `None` if only each attempt has one.
    pub(crate) limit: Option<Duration>,
}

/// Leaves out the HTTP client, because its proxy's address may contain a password.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// The outcome of a request after all attempts.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) last: Attempt,
    pub(crate) attempts: u32,
    /// True if an attempt before the last one may have taken effect.
    pub(crate) earlier_unknown: bool,
}

/// The outcome of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Answered(Answer),
    /// No connection was established. The text is the cause.
    NotSent(String),
    /// No complete response arrived. The text is the cause.
    NoAnswer(String),
}

impl Attempt {
    pub(crate) fn ended(&self) -> Ended {
        match self {
            Self::Answered(answer) => Ended::Answered(answer.status),
            Self::NotSent(_) => Ended::NotSent,
            Self::NoAnswer(_) => Ended::NoAnswer,
        }
    }
}

impl Transport {
    pub(crate) async fn send(&self, repeat: Repeat, build: impl Fn(&reqwest::Client) -> RequestBuilder) -> Sent {
        let (mut attempts, mut earlier_unknown, mut end) = (0, false, None);
        loop {
            tokio::time::sleep_until(self.budget.reserve(Instant::now())).await;
            attempts += 1;
            // The wait for the request budget says nothing about Customer.io, so it does not count.
            end = end.or_else(|| self.limit.map(|limit| Instant::now() + limit));
            let last = attempt_until(end, build(&self.http)).await;
            let ended = last.ended();
            if ended == Ended::Answered(429) {
                // All clients that share the budget wait as well, even if this request is not repeated.
                self.budget.pause(Instant::now() + self.retry.wait(attempts));
            }
            let wait = self.retry.wait_after(attempts, repeat, ended);
            let Some(wait) = wait.filter(|wait| end.is_none_or(|end| Instant::now() + *wait < end)) else {
                return Sent { last, attempts, earlier_unknown };
            };
            earlier_unknown |= ended.is_unknown();
            tracing::debug!(attempts, ?wait, ?ended, "repeating a request to Customer.io");
            if ended != Ended::Answered(429) {
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// An attempt that ends at `end` at the latest.
async fn attempt_until(end: Option<Instant>, request: RequestBuilder) -> Attempt {
    match end {
        None => attempt(request).await,
        Some(end) => match tokio::time::timeout_at(end, attempt(request)).await {
            Ok(last) => last,
            Err(_) => Attempt::NoAnswer("the time-out has passed".to_owned()),
        },
    }
}

async fn attempt(request: RequestBuilder) -> Attempt {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => return Attempt::NotSent(reason(error)),
        Err(error) => return Attempt::NoAnswer(reason(error)),
    };
    let status = response.status().as_u16();
    match body_up_to_limit(response).await {
        Ok(body) => Attempt::Answered(Answer { status, body }),
        Err(error) => Attempt::NoAnswer(reason(error)),
    }
}

/// Reads at most [`ANSWER_LIMIT`] bytes. A response that is truncated there is not valid JSON and is reported as such.
async fn body_up_to_limit(mut response: reqwest::Response) -> Result<Bytes, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_LIMIT - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(body.freeze())
}

/// The innermost cause of an error, such as "connection refused". It does not contain the address.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "the time-out has passed".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = cause.to_string();
        next = cause.source();
    }
    text
}
