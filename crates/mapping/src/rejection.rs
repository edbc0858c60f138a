//! Reasons why a record becomes a dead letter instead of an event.

use std::borrow::Cow;

use xdm::avro::EncodeError;

/// Stable code of a rejection. The set is closed: `docs/dead-letters.md` has a row for each code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionCode {
    /// The body is not a JSON object.
    NotJson,
    /// `event_id` is missing or blank: without it, repeats could not be distinguished from new events.
    MissingEventId,
    /// The channel cannot be determined.
    MissingObjectType,
    /// `metric` is missing or blank.
    MissingMetric,
    /// `timestamp` is not a Unix time in seconds, or is more than a day after the receive time.
    BadTimestamp,
    /// `data` is missing or not an object.
    BadData,
    /// There is no identity, and `ON_MISSING_IDENTITY` requires a dead letter in this case.
    NoIdentity,
    /// The decompressed body is larger than allowed, or the event is larger than Profile accepts even after texts were
    /// cut.
    TooLarge,
    /// The event breaks a rule of XDM.
    InvalidXdm,
    /// The body has an unsupported encoding, or is an incomplete gzip stream.
    UnsupportedEncoding,
    /// The mapping panicked on this record.
    MappingPanic,
}

impl RejectionCode {
    /// All codes, in the order of `docs/dead-letters.md`.
    pub const ALL: &'static [Self] = &[
        Self::NotJson,
        Self::MissingEventId,
        Self::MissingObjectType,
        Self::MissingMetric,
        Self::BadTimestamp,
        Self::BadData,
        Self::NoIdentity,
        Self::TooLarge,
        Self::InvalidXdm,
        Self::UnsupportedEncoding,
        Self::MappingPanic,
    ];

    /// Returns the code's name in headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::MissingEventId => "missing_event_id",
            Self::MissingObjectType => "missing_object_type",
            Self::MissingMetric => "missing_metric",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadData => "bad_data",
            Self::NoIdentity => "no_identity",
            Self::TooLarge => "too_large",
            Self::InvalidXdm => "invalid_xdm",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::MappingPanic => "mapping_panic",
        }
    }
}

/// A rejection: a code and a message. The message contains names of fields, never values, because values may be
/// personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Rejection {
    /// Stable code, for headers and metrics.
    pub code: RejectionCode,
    /// Text about what is wrong, without values of the event.
    pub message: Cow<'static, str>,
}

/// Converts an encoding error. The schema accepts every possible event, so such an error is a defect. The encoder's
/// message is left out, because it may contain a value.
impl From<EncodeError> for Rejection {
    fn from(_: EncodeError) -> Self {
        Self::new(RejectionCode::InvalidXdm, "the event does not fit the Avro schema; please report it with the record")
    }
}

impl Rejection {
    /// Creates a rejection. `message` must not contain a value of the event.
    pub fn new(code: RejectionCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}
