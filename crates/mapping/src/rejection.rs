//! Why a record becomes a dead letter instead of an event.

use std::borrow::Cow;

use xdm::avro::EncodeError;

/// The stable code of a rejection. A closed list: `docs/dead-letters.md` has a row for each.
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
    /// `timestamp` is not a Unix time in seconds, or is in the future.
    BadTimestamp,
    /// `data` is missing or not an object.
    BadData,
    /// There is no identity, and the configuration asks for a dead letter in this case.
    NoIdentity,
    /// Larger than Profile accepts, even after texts were cut.
    TooLarge,
    /// The event breaks a rule of XDM.
    InvalidXdm,
    /// The body is encoded in a way that is not supported.
    UnsupportedEncoding,
    /// The mapping failed on this record.
    MappingPanic,
}

impl RejectionCode {
    /// All codes.
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

    /// The code's name in headers and metrics.
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

/// A rejection: a code and a message. The message names fields, never values, because values may be personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Rejection {
    /// The code.
    pub code: RejectionCode,
    /// What is wrong.
    pub message: Cow<'static, str>,
}

/// The schema accepts every possible event, so this is a defect. The encoder's message is left out, because it may
/// contain a value.
impl From<EncodeError> for Rejection {
    fn from(_: EncodeError) -> Self {
        Self::new(RejectionCode::InvalidXdm, "the event does not fit the Avro schema; please report it with the record")
    }
}

impl Rejection {
    /// A rejection.
    pub fn new(code: RejectionCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}
