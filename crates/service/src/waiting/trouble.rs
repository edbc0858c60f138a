//! The failures that an activity can have.

use std::fmt;

/// Reason why a service waits, usually for an external system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The external system cannot be reached, or responds that it is not available now.
    Unavailable,
    /// The external system throttles requests.
    Throttled,
    /// The external system does not respond in time.
    Timeout,
    /// A host name cannot be resolved.
    Dns,
    /// No TLS connection can be established.
    Tls,
    /// The external system does not accept the credentials.
    Unauthenticated,
    /// The credentials do not permit the request.
    Unauthorized,
    /// The requested object does not exist.
    Missing,
    /// A response does not have the documented form.
    UnexpectedAnswer,
    /// A transaction of another process is open.
    OpenTransaction,
    /// The buffer is full: records arrive faster than they are processed.
    BufferFull,
    /// The clocks of this machine and of another machine differ.
    Clock,
    /// The service must not work before a configured time, which is still in the future.
    NotBefore,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::Unavailable,
        Self::Throttled,
        Self::Timeout,
        Self::Dns,
        Self::Tls,
        Self::Unauthenticated,
        Self::Unauthorized,
        Self::Missing,
        Self::UnexpectedAnswer,
        Self::OpenTransaction,
        Self::BufferFull,
        Self::Clock,
        Self::NotBefore,
    ];

    /// Returns the value of the metric label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Unauthenticated => "unauthenticated",
            Self::Unauthorized => "unauthorized",
            Self::Missing => "missing",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::OpenTransaction => "open_transaction",
            Self::BufferFull => "buffer_full",
            Self::Clock => "clock",
            Self::NotBefore => "not_before",
        }
    }

    /// Whether a person must change something, because the failure does not end by itself.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::Unauthorized | Self::Missing)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure of an activity, with a remedy for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Value of the label `reason` of the gauge.
    pub reason: Reason,
    /// Description of the failure, without secrets and personal data.
    pub cause: String,
    /// Advice that tells the operator how to end the failure.
    pub remedy: &'static str,
}
