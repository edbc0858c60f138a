//! Writes to the terminal. Commands that end by themselves ignore a closed pipe; endless commands check [`Reader`] to
//! stop.

use std::io::{ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use operator::{Progress, thousands};

use crate::printable::printable_json;

/// State of the process that reads standard output. In `tail | head -1`, for example, `head` exits after one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Reads,
    HasLeft,
}

impl Reader {
    /// The state of the reader after a write.
    fn of(written: &std::io::Result<()>) -> Self {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Self::HasLeft,
            Ok(()) | Err(_) => Self::Reads,
        }
    }
}

/// Prints a line on standard output.
pub(crate) fn line(text: &str) {
    line_for_a_reader(text);
}

/// Like [`line()`], for a command that runs until its reader leaves.
pub(crate) fn line_for_a_reader(text: &str) -> Reader {
    Reader::of(&writeln!(std::io::stdout(), "{text}"))
}

/// Prints text that contains its own line breaks on standard output.
pub(crate) fn text(text: &str) {
    drop(write!(std::io::stdout(), "{text}"));
}

/// Prints a line on standard error.
pub(crate) fn problem(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints a line on standard output, with colours if a terminal shows it.
pub(crate) fn styled(text: &str) {
    styled_for_a_reader(text);
}

/// Like [`styled`], for a command that runs until its reader leaves.
pub(crate) fn styled_for_a_reader(text: &str) -> Reader {
    Reader::of(&writeln!(anstream::stdout(), "{text}"))
}

/// Clears the terminal and prints these lines. Without a terminal, the lines are appended.
pub(crate) fn screen(lines: &[String]) -> Reader {
    if std::io::stdout().is_terminal() {
        text("\x1b[H\x1b[J");
    }
    lines.iter().for_each(|line| styled(line));
    line_for_a_reader("")
}

/// Adds a style to a text.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Style of headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// Style of good results.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// Style of results that need attention.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Style of bad results.
pub(crate) const RED: Style = AnsiColor::Red.on_default();

/// When texts have colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

impl ColorWhen {
    /// Applies the choice to all output of the process.
    pub(crate) fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// The width of the terminal in columns; `None` if standard output is not a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    size.map(|size| usize::from(size.ws_col)).filter(|&width| width > 0)
}

/// Prints a result as JSON.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// Prints a JSON object on one line, for a command that runs until its reader leaves.
pub(crate) fn json_line(value: &serde_json::Value) -> Reader {
    line_for_a_reader(&printable_json(&value.to_string()))
}

/// Shows progress on a terminal, in one line that is overwritten. Prints nothing without a terminal.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        drop(write!(out, "\r\x1b[2K{text}"));
        drop(out.flush());
    }
}

/// Clears the progress line.
pub(crate) fn progress_done() {
    progress("");
}

/// Shows the progress of an operation of the operator library.
pub(crate) fn show_progress(at: Progress) {
    progress(&match at {
        Progress::ReadingOffsets => "asking for committed offsets and the ends of the topics".to_owned(),
        Progress::Read { records } => format!("{} records read", thousands(records)),
        Progress::ReadTopic { topic, records, of: Some(of) } => {
            format!("{} of about {} records of {topic} read", thousands(records), thousands(of))
        }
        Progress::ReadTopic { topic, records, of: None } => format!("{} records of {topic} read", thousands(records)),
        Progress::StartingAgain => "records expired while they were read: starting again".to_owned(),
        Progress::Resolved { dead_letters, of } => format!("{dead_letters} of {of} dead letters resolved"),
    });
}

/// The lines of a table. Each column is as wide as its longest cell, and the last column is not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let width = |column: usize| {
        std::iter::once(&head).chain(rows).filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_table_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "long".to_owned(), "z".to_owned()]];
        assert_eq!(table(&["one", "b", "c"], &rows), ["one  b     c", "a    long  z"]);
    }

    #[test]
    fn a_write_to_a_closed_pipe_shows_that_the_reader_has_left() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(Reader::of(&writeln!(writer, "a")), Reader::Reads);
        drop(reader);
        assert_eq!(Reader::of(&writeln!(writer, "b")), Reader::HasLeft);
        assert_eq!(Reader::of(&Err(ErrorKind::StorageFull.into())), Reader::Reads);
    }
}
