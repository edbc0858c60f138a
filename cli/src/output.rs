//! Words for the terminal. What a closed pipe swallows is not missed.

use std::io::{IsTerminal, Write};

/// A line on standard output.
pub(crate) fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Text that ends its own lines, on standard output.
pub(crate) fn text(text: &str) {
    drop(write!(std::io::stdout(), "{text}"));
}

/// A line on standard error.
pub(crate) fn problem(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A result, as JSON.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Progress on a terminal: one line, written over again and again; nothing where nobody watches.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        drop(write!(out, "\r\x1b[2K{text}"));
        drop(out.flush());
    }
}
