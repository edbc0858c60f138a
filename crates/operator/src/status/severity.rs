//! A finding and its severity.

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Information for a person. The status is still healthy.
    Note,
    /// A system could not be queried.
    Unanswered,
    /// Something is wrong, and a person has to act.
    Bad,
}

impl Severity {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Unanswered => "unanswered",
            Self::Bad => "bad",
        }
    }
}

/// A fact about the status that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// Stable name for programs.
    pub code: &'static str,
    /// Description of the finding.
    pub what: String,
    /// Recommended next step.
    pub next: String,
}
