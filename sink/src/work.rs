//! A record on its way to Platform.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kafka::ledger::Claim;
use kafka::record::{PackedRecord, header};

use crate::dispatch::Sourced;

/// A record whose event is ready to be sent.
#[derive(Debug)]
pub(crate) struct Item {
    /// What has to be settled in the end.
    pub(crate) claim: Claim,
    /// The record as it was read: a dead letter holds it untouched.
    pub(crate) record: PackedRecord,
    /// The event, until it goes into the body of a request: should that fail, it is made anew.
    pub(crate) json: Option<Json>,
}

impl Sourced for Item {
    fn source(&self) -> &str {
        self.record.text_header(header::SOURCE).unwrap_or("default")
    }
}

impl Item {
    /// The XDM `_id`, as the transformer wrote it into the header.
    pub(crate) fn event_id(&self) -> &str {
        self.record.text_header(header::EVENT_ID).unwrap_or_default()
    }

    /// When the gateway received the webhook, in milliseconds since 1970.
    pub(crate) fn received_at(&self) -> Option<i64> {
        self.record.text_header(header::RECEIVED_AT)?.parse().ok()
    }
}

/// An event as XDM JSON.
#[derive(Debug)]
pub(crate) struct Json {
    bytes: Box<[u8]>,
    _metered: Metered,
}

impl Json {
    pub(crate) fn new(json: &[u8], meter: &Meter) -> Self {
        Self { bytes: json.into(), _metered: meter.hold(json.len()) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How many bytes of JSON there are, as events and in bodies. Records wait undecoded, bounded by the consumer's budget; their
/// JSON is several times as large and needs a bound of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts these bytes until what it returns is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Metered {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Metered { bytes, meter: self.clone() }
    }
}

/// See [`Meter::hold`].
#[derive(Debug)]
pub(crate) struct Metered {
    bytes: usize,
    meter: Meter,
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A record that cannot be delivered, and why.
#[derive(Debug)]
pub(crate) struct Condemned {
    /// What has to be settled in the end.
    pub(crate) claim: Claim,
    /// The record as it was read.
    pub(crate) record: PackedRecord,
    /// The reason's code.
    pub(crate) code: Code,
    /// The reason in words.
    pub(crate) message: String,
}

/// The sink's codes for dead letters. A closed list: `docs/dead-letters.md` has a row for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// Platform refused this record, and would again.
    Refused,
    /// Larger than a request may be.
    TooLarge,
    /// Platform fails on this record alone, time and again.
    ServerError,
    /// The bytes are no event.
    Undecodable,
}

impl Code {
    pub(crate) const ALL: &'static [Self] = &[Self::Refused, Self::TooLarge, Self::ServerError, Self::Undecodable];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::ServerError => "server_error",
            Self::Undecodable => "undecodable",
        }
    }
}
