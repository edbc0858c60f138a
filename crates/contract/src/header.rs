//! Headers of Kafka records: a type for one header, and the header names that the services agree on.

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Name of the header.
    pub name: &'a str,
    /// Value of the header; Kafka allows null.
    pub value: Option<&'a [u8]>,
}

/// Time at which the gateway had received the headers of the HTTP request: milliseconds since 1970, decimal.
pub const RECEIVED_AT: &str = "received-at";
/// Name of the configured source.
pub const SOURCE: &str = "source";
/// The request's `X-CIO-Timestamp`, as received.
pub const CIO_TIMESTAMP: &str = "cio-timestamp";
/// The request's `X-CIO-Signature`, as received.
pub const CIO_SIGNATURE: &str = "cio-signature";
/// The request's `Content-Type`, as received.
pub const CONTENT_TYPE: &str = "content-type";
/// The request's `Content-Encoding`, as received.
pub const CONTENT_ENCODING: &str = "content-encoding";
/// W3C trace context of the request, as received.
pub const TRACEPARENT: &str = "traceparent";
/// On a typed record: the XDM `_id`.
pub const EVENT_ID: &str = "event-id";
/// On a typed record: the offset of the raw record that it was mapped from, decimal; the partition is the same.
pub const RAW_OFFSET: &str = "raw-offset";
/// On a raw or typed record that was replayed: the position of the original, `topic/partition/offset`.
pub const REPLAY_OF: &str = "replay-of";
/// On a raw record: the transformer maps the event even if it was mapped before. The value does not matter.
pub const REPROCESS: &str = "reprocess";
/// On a receipt: the version of its JSON form.
pub const VERSION: &str = "version";

/// Parses a header's value as a decimal number; `None` if the value is missing or not a number.
pub(crate) fn number(value: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}
