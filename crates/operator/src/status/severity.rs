//! A finding, and how bad it is.

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing. The status is healthy all the same.
    Note,
    /// Something could not be queried.
    Unanswered,
    /// Something is wrong.
    Bad,
}

impl Severity {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Unanswered => "unanswered",
            Self::Bad => "bad",
        }
    }
}

/// What a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, for programs.
    pub code: &'static str,
    /// What it is.
    pub what: String,
    /// What to do.
    pub next: String,
}
