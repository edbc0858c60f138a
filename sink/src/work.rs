//! Types for records on their way from Kafka to Platform.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::dead_letter::code;
use contract::raw::{DEFAULT_SOURCE, received_at_or};
use contract::receipt::{ReceiptEntry, ReceiptVerdict};
use kafka::ledger::Claim;
use kafka::record::{PackedRecord, header};

/// A record with its source; the dead-letter limit counts the records of each source separately.
pub(crate) trait Sourced {
    /// Returns the source that received the record's webhook.
    fn source(&self) -> &str;
}

/// A record whose event is ready to be sent.
#[derive(Debug)]
pub(crate) struct Item {
    /// The record's claim in the ledger: it must be settled with a durable outcome, or released.
    pub(crate) claim: Claim,
    /// The record as it was read; a dead letter contains it unchanged.
    pub(crate) record: PackedRecord,
    /// The event as JSON, until it is written into the body of a request. If that request fails, the event is encoded
    /// again.
    pub(crate) json: Option<Json>,
}

impl Sourced for Item {
    fn source(&self) -> &str {
        self.record.text_header(header::SOURCE).unwrap_or(DEFAULT_SOURCE)
    }
}

impl Item {
    /// Returns the XDM `_id` that the transformer wrote into the header `event-id`.
    pub(crate) fn event_id(&self) -> &str {
        self.record.text_header(header::EVENT_ID).unwrap_or_default()
    }

    /// Returns the record's entry in the receipt of its request.
    pub(crate) fn receipt_entry(&self, xaction_id: Option<String>, verdict: ReceiptVerdict) -> ReceiptEntry<'static> {
        ReceiptEntry {
            position: self.claim.position(),
            event_id: self.event_id().to_owned().into(),
            xaction_id: xaction_id.map(Cow::Owned),
            verdict,
        }
    }

    /// Returns the time at which the gateway received the webhook, in milliseconds since 1970.
    pub(crate) fn received_at(&self) -> i64 {
        received_at_or(self.record.text_header(header::RECEIVED_AT).map(str::as_bytes), self.record.timestamp)
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

/// Counts the bytes of JSON in memory, as events and in request bodies. Waiting records are undecoded and limited by
/// the consumer's budget; their JSON is several times as large and needs a separate limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts these bytes until the returned value is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Metered {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Metered { bytes, meter: self.clone() }
    }
}

/// Bytes that a [`Meter`] counts until this value is dropped.
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

/// A record to write to the dead-letter topic, with the code and the message of its dead letter.
#[derive(Debug)]
pub(crate) struct ToDeadLetter {
    /// The record as it was read.
    pub(crate) record: PackedRecord,
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The sink's codes for dead letters. The list is complete: `docs/dead-letters.md` has a row for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// Platform refused this record, and accepted others.
    Refused,
    /// The record is larger than a request may be.
    TooLarge,
    /// Platform responds with 500 whenever this record is sent alone.
    ServerError,
    /// The bytes are not an event.
    Undecodable,
}

impl Code {
    pub(crate) const ALL: &'static [Self] = &[Self::Refused, Self::TooLarge, Self::ServerError, Self::Undecodable];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => code::REFUSED,
            Self::TooLarge => code::TOO_LARGE,
            Self::ServerError => code::SERVER_ERROR,
            Self::Undecodable => code::UNDECODABLE,
        }
    }
}

/// The reason why a record becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    /// Platform refuses the record, with this status and message.
    Refused(u16, String),
    /// Platform responds with 500 whenever this record is sent alone, and accepts others.
    ServerError,
    /// The record cannot be sent at all.
    Unsendable(Code, String),
}

impl DeadLetterReason {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Refused(413, _) => Code::TooLarge,
            Self::Refused(..) => Code::Refused,
            Self::ServerError => Code::ServerError,
            Self::Unsendable(code, _) => *code,
        }
    }

    /// Returns the dead letter's code and message.
    pub(crate) fn into_parts(self) -> (Code, String) {
        match self {
            Self::Refused(413, message) => (Code::TooLarge, format!("Platform answered 413: {message}")),
            Self::Refused(status, message) => (Code::Refused, format!("Platform answered {status}: {message}")),
            Self::Unsendable(code, message) => (code, message),
            Self::ServerError => (
                Code::ServerError,
                "Platform answered 500 whenever this record was sent alone, and accepted others".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use kafka::ledger::Ledgers;
    use kafka::record::Header;

    use super::*;

    fn item(headers: &[Header<'_>]) -> Item {
        let position = Position::new(3, 17);
        let mut record = PackedRecord::pack(position, None, b"", headers.iter().copied());
        record.timestamp = Some(1_700_000_000_000);
        let mut ledgers = Ledgers::default();
        ledgers.assign(position);
        let claim = ledgers.charge(position, 1).unwrap().unwrap();
        Item { claim, record, json: None }
    }

    #[test]
    fn the_receive_time_of_a_record_without_received_at_is_its_timestamp() {
        let with_header = item(&[Header { name: header::RECEIVED_AT, value: Some(b"5") }]);
        let unreadable = item(&[Header { name: header::RECEIVED_AT, value: Some(&[0xff]) }]);
        assert_eq!(with_header.received_at(), 5);
        assert_eq!((unreadable.received_at(), item(&[]).received_at()), (1_700_000_000_000, 1_700_000_000_000));
    }

    #[test]
    fn the_contract_lists_every_dead_letter_code_of_the_sink() {
        assert_eq!(Code::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>(), code::SINK);
    }
}
