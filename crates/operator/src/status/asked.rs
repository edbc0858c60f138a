//! Result of a query to a system that may not be configured.

/// Result of a query to a system that may not be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// The system was not queried. The text says what is not configured.
    NotConfigured(String),
    /// The query failed, for this reason.
    Failed(String),
    /// The query returned this value.
    Answer(T),
}
