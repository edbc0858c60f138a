//! Decides what a response means for each record of a batch, as one pure function.
//!
//! Only statuses decide, never texts. A record without a clear status is sent again: a repeat is harmless in Profile,
//! because the event has the same `_id`. A record that is wrongly classified as accepted is lost, and a record that is
//! wrongly classified as refused becomes a dead letter.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::token::TokenError;

/// Result of sending a batch.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A complete HTTP response.
    Response(Response),
    /// There was no response.
    Failed(Failure),
    /// The request was not sent, because there is no token.
    NoToken(TokenError),
}

/// HTTP response to a batch.
#[derive(Clone)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// Minimum wait before the next request, from `Retry-After` (seconds or a date).
    pub retry_after: Option<Duration>,
    /// Body, truncated if it is longer than the client's limit.
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
        /// Verdicts in the order of the records.
        records: Vec<RecordVerdict>,
    },
    /// Send all records again later.
    RetryAll {
        /// Minimum wait before the next request, if the response has a `Retry-After`.
        after: Option<Duration>,
        /// The reason, for logs and metrics.
        reason: RetryReason,
    },
    /// Platform refuses the whole request because of one record: send both halves of the batch, to find that record.
    Bisect {
        /// Text of the response, at most 1 KiB.
        message: String,
    },
    /// The request is too large, or the entries cannot be matched to the records: send both halves of the batch.
    Halve {
        /// The reason, for logs and metrics.
        reason: RetryReason,
    },
    /// Nothing can be delivered until a person changes a setting or an external system changes: hold all records, and
    /// dead-letter none.
    Hold(HoldReason),
}

impl Verdict {
    /// Whether Platform refuses the token of the request: at least one entry refuses it, and no entry is accepted.
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
        /// Platform's id of the transaction, if the entry has one.
        xaction_id: Option<String>,
    },
    /// Platform refuses this record, and would refuse it again.
    Refused {
        /// Status of the entry, or of the response to a single record.
        status: u16,
        /// Platform's text about the record, at most 1 KiB.
        message: String,
    },
    /// The record was not accepted, or its outcome is unknown: send it again.
    Retry(RetryReason),
}

/// Reason why a record is sent again. The set is closed, because it is used as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// Status 429.
    Throttled,
    /// Status 502, 503 or 504.
    Unavailable,
    /// Status 500 or another 5xx.
    ServerError,
    /// Status 408, or no response in time.
    Timeout,
    /// The connection failed or broke, or IMS returns no token for now.
    Connection,
    /// Status 413 for a batch of several records.
    TooLarge,
    /// An entry has the status 401 or 403.
    Unauthorized,
    /// The response does not tell what happened to the record.
    Undeterminable,
}

impl RetryReason {
    /// All reasons, in the order of declaration.
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

    /// Returns the name in logs and metrics.
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

/// Reason why nothing can be delivered. The set is closed, because it is used as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// Status 401 or status 403 with a body; or there is no token, because IMS refuses the credential or the secret
    /// cannot be read.
    Unauthorized,
    /// Status 403 without a body: the address of this machine is not on the organisation's allow list.
    Blocked,
    /// Status 404, 405, 3xx, 501 or similar: the address is not that of an inlet.
    Endpoint,
}

impl HoldReason {
    /// All reasons, in the order of declaration.
    pub const ALL: &'static [Self] = &[Self::Unauthorized, Self::Blocked, Self::Endpoint];

    /// Returns the name in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Blocked => "blocked",
            Self::Endpoint => "endpoint",
        }
    }

    /// Returns what a person must do so that delivery can continue.
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

/// Maximum length in bytes of a text from Platform that is kept.
const MESSAGE_LIMIT: usize = 1024;

/// Classifies the result of sending a batch of `records` records (at least 1).
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

/// Reads the entries of a 200 or 207. Adobe documents two shapes of a failed entry, and an example with fewer entries
/// than messages.
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
    // A record without an entry keeps this verdict.
    let mut verdicts = vec![RecordVerdict::Retry(RetryReason::Undeterminable); records];
    for (entry, place) in entries.iter().zip(places) {
        if let Some(verdict) = verdicts.get_mut(place) {
            *verdict = classify_entry(entry);
        }
    }
    let id = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    Verdict::Records { inlet_id: id("inletId"), batch_id: id("batchId"), records: verdicts }
}

/// Returns the index of the record for each entry, in the order of the entries; `None` if the entries cannot be
/// matched.
///
/// An entry has an index if the number at the end of its `xactionId` is the index of a record and no other entry has
/// the same number. If all entries have an index, the indices decide, even if entries are missing or out of order.
/// Otherwise the positions decide, if there are as many entries as records. If an index then contradicts the position
/// of its entry, the entries cannot be matched. Either the number is not an index (Adobe also shows ids that end in
/// other numbers), or the entries are out of order. A wrong match would lose or dead-letter a record.
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

/// Returns the number after the last `-` or `:` of an entry's `xactionId`.
fn trailing_number(entry: &Value) -> Option<usize> {
    let (_, digits) = entry.get("xactionId")?.as_str()?.rsplit_once(['-', ':'])?;
    // `parse` alone would accept a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the status in the member `name` of an entry: `None` if there is no such member, 0 if it cannot be read.
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

/// Returns the wait that a `Retry-After` requests, as seconds or as a date compared with `now`; at most an hour.
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
