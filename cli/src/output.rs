//! Writes to the terminal. A command that ends by itself ignores that no one reads; one that does not asks for it.

use std::io::{ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use operator::{Progress, thousands};

use crate::printable::printable_json;

/// Whether anybody reads what is written. `tail | head -1` reads one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Reads,
    HasLeft,
}

impl Reader {
    /// Of the result of a write.
    fn of(written: &std::io::Result<()>) -> Self {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Self::HasLeft,
            Ok(()) | Err(_) => Self::Reads,
        }
    }
}

/// A line on standard output.
pub(crate) fn line(text: &str) {
    line_for_a_reader(text);
}

/// The same for a command without an end of its own.
pub(crate) fn line_for_a_reader(text: &str) -> Reader {
    Reader::of(&writeln!(std::io::stdout(), "{text}"))
}

/// Text with its own line breaks, on standard output.
pub(crate) fn text(text: &str) {
    drop(write!(std::io::stdout(), "{text}"));
}

/// A line on standard error.
pub(crate) fn problem(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A line on standard output with colour, where a person looks.
pub(crate) fn styled(text: &str) {
    styled_for_a_reader(text);
}

/// The same for a command without an end of its own.
pub(crate) fn styled_for_a_reader(text: &str) -> Reader {
    Reader::of(&writeln!(anstream::stdout(), "{text}"))
}

/// Shows these lines in place of what the terminal shows; elsewhere, after it.
pub(crate) fn screen(lines: &[String]) -> Reader {
    if std::io::stdout().is_terminal() {
        text("\x1b[H\x1b[J");
    }
    lines.iter().for_each(|line| styled(line));
    line_for_a_reader("")
}

/// A text in this style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// For headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what is good.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// For what a person should look at.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// For what is bad.
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
    /// Holds for everything that the process prints.
    pub(crate) fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// The width of the terminal that standard output is; `None` if it is not one.
pub(crate) fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    size.map(|size| usize::from(size.ws_col)).filter(|&width| width > 0)
}

/// A result, as JSON.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// An object in one line, of a command without an end of its own.
pub(crate) fn json_line(value: &serde_json::Value) -> Reader {
    line_for_a_reader(&printable_json(&value.to_string()))
}

/// Shows progress on a terminal, in one line that is overwritten; shows nothing elsewhere.
pub(crate) fn progress(text: &str) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        drop(write!(out, "\r\x1b[2K{text}"));
        drop(out.flush());
    }
}

/// Ends the progress line.
pub(crate) fn progress_done() {
    progress("");
}

/// Shows the progress of an operation of the library.
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

/// Lines of a table: each column is as wide as its longest cell, and the last one is not padded.
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
    fn a_reader_has_left_when_the_pipe_is_closed() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(Reader::of(&writeln!(writer, "a")), Reader::Reads);
        drop(reader);
        assert_eq!(Reader::of(&writeln!(writer, "b")), Reader::HasLeft);
        assert_eq!(Reader::of(&Err(ErrorKind::StorageFull.into())), Reader::Reads);
    }
}
