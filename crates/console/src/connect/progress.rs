//! Progress and result of the last change of the set-up.

use super::source::Changed;

/// Maximum number of progress lines that are kept.
const LINES: usize = 200;

/// The last change of the set-up.
#[derive(Debug, Default, Clone)]
pub(super) struct Progress {
    /// User who started the change, and the start time in milliseconds since 1970.
    pub(super) begun: Option<(String, i64)>,
    pub(super) lines: Vec<String>,
    pub(super) result: Option<Result<Changed, String>>,
}

impl Progress {
    /// Adds a line, unless [`LINES`] lines are already kept.
    pub(super) fn report(&mut self, line: String) {
        if self.lines.len() < LINES {
            self.lines.push(line);
        }
    }
}
