//! Decides what a response means for each record of a batch, as one pure function.
//!
//! Only the status decides, never a text. A record without a clear status is sent again: a repeat is harmless in
//! Profile (same `_id`). A record taken for accepted that was not is lost, and one taken for refused that was not
//! becomes a dead letter by mistake.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::token::TokenError;

/// The result of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A complete HTTP response.
    Response(Response),
    /// There was no response.
    Failed(Failure),
    /// The request was not sent, because there is no token.
    NoToken(TokenError),
}

/// An HTTP response.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// How long the sender should wait, from `Retry-After` (seconds or a date).
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// `Debug` shows only the length of the body, because the body may repeat what was sent.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The meaning of a response to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One verdict for each record, in the order of the records.
    Records {
        /// Platform's id of the inlet, if the response has one.
        inlet_id: Option<String>,
        /// Platform's id of the batch, if the response has one.
        batch_id: Option<String>,
        /// As many verdicts as there were records.
        records: Vec<RecordVerdict>,
    },
    /// Send all records again later.
    RetryAll {
        /// Do not send before this time has passed, if Platform said so.
        after: Option<Duration>,
        /// The reason, for logs and metrics.
        reason: RetryReason,
    },
    /// One record makes the whole request unacceptable: send the halves, to find that record.
    Bisect {
        /// What Platform said, at most 1 KiB.
        message: String,
    },
    /// The request is too large, or the entries cannot be matched to the records: send the halves.
    Halve {
        /// The reason, for logs and metrics.
        reason: RetryReason,
    },
    /// Nothing can be delivered until a person changes a setting, or something outside changes: hold everything, dead-letter nothing.
    Hold(HoldReason),
}

impl Verdict {
    /// Whether the entries refuse the token of the request: some do, and none is accepted.
    #[must_use]
    pub fn refuses_the_token(&self) -> bool {
        let Self::Records { records, .. } = self else { return false };
        let accepted = |record: &RecordVerdict| matches!(record, RecordVerdict::Accepted { .. });
        records.contains(&RecordVerdict::Retry(RetryReason::Unauthorized)) && !records.iter().any(accepted)
    }
}

/// The verdict on one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordVerdict {
    /// Platform accepted the record.
    Accepted {
        /// Platform's id of the transaction.
        xaction_id: Option<String>,
    },
    /// Platform refuses this record, and would refuse it again.
    Refused {
        /// The status of the entry.
        status: u16,
        /// What Platform said, at most 1 KiB.
        message: String,
    },
    /// The record was not accepted, or its state is unknown: send it again.
    Retry(RetryReason),
}

/// Why a record is sent again. The list is complete; it is used as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// 429.
    Throttled,
    /// 503, 502, 504.
    Unavailable,
    /// 500 and other 5xx.
    ServerError,
    /// No response in time, or 408.
    Timeout,
    /// No connection, or a broken one.
    Connection,
    /// 413 for a batch.
    TooLarge,
    /// An entry has the status 401 or 403.
    Unauthorized,
    /// The response does not say what happened to the record.
    Undeterminable,
}

impl RetryReason {
    /// All reasons.
    pub const ALL: &'static [Self] = &[
        Self::Throttled,
        Self::Unavailable,
        Self::ServerError,
        Self::Timeout,
        Self::Connection,
        Self::TooLarge,
        Self::Unauthorized,
        Self::Undeterminable,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::TooLarge => "too_large",
            Self::Unauthorized => "unauthorized",
            Self::Undeterminable => "undeterminable",
        }
    }
}

/// Why nothing can be delivered. The list is complete; it is used as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// 401, or 403 with a body, or IMS refuses the credential: the token is missing, expired or not entitled.
    Unauthorized,
    /// 403 without a body: this address is not on the organisation's allow list.
    Blocked,
    /// 404, 405, 3xx, 501 and similar: the address is not that of an inlet.
    Endpoint,
}

impl HoldReason {
    /// All reasons.
    pub const ALL: &'static [Self] = &[Self::Unauthorized, Self::Blocked, Self::Endpoint];

    /// The name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Blocked => "blocked",
            Self::Endpoint => "endpoint",
        }
    }

    /// What a person must do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unauthorized => {
                "check IMS_CLIENT_ID, IMS_CLIENT_SECRET and IMS_SCOPES, and that the technical account may write to this sandbox"
            }
            Self::Blocked => "add this machine's address to the organisation's allow list",
            Self::Endpoint => "check PLATFORM_INLET_URL: the address does not respond like an inlet",
        }
    }
}

/// Maximum length of a text of Platform that is kept, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// Classifies the response to a batch of `records` (at least 1).
#[must_use]
pub fn classify(answer: &Answer, records: usize) -> Verdict {
    let response = match answer {
        Answer::Failed(Failure::Connect(_) | Failure::Interrupted) => return retry(None, RetryReason::Connection),
        Answer::Failed(Failure::Timeout) => return retry(None, RetryReason::Timeout),
        Answer::NoToken(TokenError::Refused { .. } | TokenError::Secret(_)) => {
            return Verdict::Hold(HoldReason::Unauthorized);
        }
        Answer::NoToken(TokenError::NoAnswer(_) | TokenError::Unavailable(_) | TokenError::Unusable(_)) => {
            return retry(None, RetryReason::Connection);
        }
        Answer::Response(response) => response,
    };
    let after = response.retry_after;
    match response.status {
        200 | 207 => multi_status(&response.body, records),
        400 | 422 if records == 1 => refused(response),
        400 | 422 => Verdict::Bisect { message: text(&response.body) },
        401 => Verdict::Hold(HoldReason::Unauthorized),
        403 if response.body.is_empty() => Verdict::Hold(HoldReason::Blocked),
        403 => Verdict::Hold(HoldReason::Unauthorized),
        408 => retry(after, RetryReason::Timeout),
        413 if records == 1 => refused(response),
        413 => Verdict::Halve { reason: RetryReason::TooLarge },
        429 => retry(after, RetryReason::Throttled),
        502..=504 => retry(after, RetryReason::Unavailable),
        501 => Verdict::Hold(HoldReason::Endpoint),
        500..=599 => retry(after, RetryReason::ServerError),
        // Another 2xx or a 1xx does not come from the batch endpoint.
        100..=299 => retry(after, RetryReason::Undeterminable),
        _ => Verdict::Hold(HoldReason::Endpoint),
    }
}

fn retry(after: Option<Duration>, reason: RetryReason) -> Verdict {
    Verdict::RetryAll { after, reason }
}

fn refused(response: &Response) -> Verdict {
    let verdict = RecordVerdict::Refused { status: response.status, message: text(&response.body) };
    Verdict::Records { inlet_id: None, batch_id: None, records: vec![verdict] }
}

/// Reads a 207. Adobe documents two shapes of a failed entry, and an example with fewer entries than messages.
fn multi_status(body: &[u8], records: usize) -> Verdict {
    let unmatched = if records == 1 {
        retry(None, RetryReason::Undeterminable)
    } else {
        Verdict::Halve { reason: RetryReason::Undeterminable }
    };
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return unmatched };
    let Some(entries) = body.get("responses").and_then(Value::as_array).filter(|entries| !entries.is_empty()) else {
        return unmatched;
    };
    let Some(places) = places(entries, records) else { return unmatched };
    // A record without an entry has no verdict.
    let mut verdicts = vec![RecordVerdict::Retry(RetryReason::Undeterminable); records];
    for (entry, place) in entries.iter().zip(places) {
        if let Some(verdict) = verdicts.get_mut(place) {
            *verdict = classify_entry(entry);
        }
    }
    let id = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Verdict::Records { inlet_id: id("inletId"), batch_id: id("batchId"), records: verdicts }
}

/// Finds the record of each entry, in the order of the entries; `None` if that is not possible.
///
/// An index is the number at the end of `xactionId`, if it is the index of a record and of no other entry. If every
/// entry has one, the indices decide, in any order and number. Otherwise the positions decide, if there are as many
/// entries as records. If an index then contradicts the position, neither counts: the number may not be an index (Adobe
/// shows such ids too), or the entries may be out of order, and a mistaken record would be lost or dead-lettered.
fn places(entries: &[Value], records: usize) -> Option<Vec<usize>> {
    let mut claims = vec![0_u32; records];
    let numbers: Vec<Option<usize>> = entries.iter().map(trailing_number).collect();
    for &number in numbers.iter().flatten() {
        if let Some(claims) = claims.get_mut(number) {
            *claims += 1;
        }
    }
    let unique = |number: &usize| claims.get(*number) == Some(&1);
    let indices: Vec<Option<usize>> = numbers.into_iter().map(|number| number.filter(unique)).collect();
    if let Some(all) = indices.iter().copied().collect() {
        return Some(all);
    }
    let in_order = indices.iter().enumerate().all(|(position, index)| index.is_none_or(|index| index == position));
    (entries.len() == records && in_order).then(|| (0..records).collect())
}

/// Returns the digits after the last `-` or `:` of an entry's `xactionId`.
fn trailing_number(entry: &Value) -> Option<usize> {
    let (_, digits) = entry.get("xactionId")?.as_str()?.rsplit_once(['-', ':'])?;
    // `parse` alone would accept a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the status of an entry under either of its two names: `None` if it has none, 0 if it cannot be read.
fn named_status(entry: &Map<String, Value>, name: &str) -> Option<u64> {
    entry.get(name).map(|status| match status {
        Value::Number(number) => number.as_u64().unwrap_or(0),
        Value::String(text) => text.trim().parse().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
    })
}

fn classify_entry(entry: &Value) -> RecordVerdict {
    let Some(entry) = entry.as_object() else { return RecordVerdict::Retry(RetryReason::Undeterminable) };
    let xaction_id = entry.get("xactionId").and_then(Value::as_str).map(str::to_owned);
    let status = match (named_status(entry, "status"), named_status(entry, "statusCode")) {
        (Some(one), Some(other)) if one != other => 0,
        (Some(status), _) | (None, Some(status)) => status,
        // A documented success has an id and no status. An entry with neither is undeterminable.
        (None, None) if xaction_id.is_some() => 200,
        (None, None) => 0,
    };
    match status {
        200..=299 => RecordVerdict::Accepted { xaction_id },
        401 | 403 => RecordVerdict::Retry(RetryReason::Unauthorized),
        408 => RecordVerdict::Retry(RetryReason::Timeout),
        429 => RecordVerdict::Retry(RetryReason::Throttled),
        400..=499 => RecordVerdict::Refused {
            status: u16::try_from(status).unwrap_or(400),
            message: entry.get("message").and_then(Value::as_str).map(cut).unwrap_or_default(),
        },
        502..=504 => RecordVerdict::Retry(RetryReason::Unavailable),
        500..=599 => RecordVerdict::Retry(RetryReason::ServerError),
        _ => RecordVerdict::Retry(RetryReason::Undeterminable),
    }
}

fn text(body: &[u8]) -> String {
    cut(&String::from_utf8_lossy(body))
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MESSAGE_LIMIT)).unwrap_or_default().to_owned()
}

/// How long a `Retry-After` asks to wait: seconds, or a date compared with `now`. At most an hour is honoured.
#[must_use]
pub fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(3600);
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(MOST));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(date.duration_since(now)).ok().map(|wait| wait.min(MOST))
}

#[cfg(test)]
mod tests;
