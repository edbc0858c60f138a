//! The answer of something that may not be configured.

/// An answer of something that may not be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// It was not asked, because this is not configured.
    NotConfigured(String),
    /// It did not answer, for this reason.
    Failed(String),
    /// Its answer.
    Answer(T),
}
