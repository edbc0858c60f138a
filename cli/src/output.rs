//! Writes to standard output and standard error. A command that ends by itself ignores a closed pipe. An endless
//! command ends when [`Reader`] shows that no one reads its output.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use operator::{Progress, thousands};
use serde_json::{Map, Value, json};

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

/// Whether standard output is reserved for [`result`].
static RESERVED: AtomicBool = AtomicBool::new(false);

/// Reserves standard output for [`result`], because another program reads it. From then on, [`line()`] and the
/// functions that call it print on standard error.
pub(crate) fn reserve_stdout() {
    RESERVED.store(true, Ordering::Relaxed);
}

/// Prints text for another program on standard output, even after [`reserve_stdout`].
pub(crate) fn result(text: &str) {
    drop(write!(std::io::stdout(), "{text}"));
}

/// Prints a line on standard output, or on standard error after [`reserve_stdout`].
pub(crate) fn line(text: &str) {
    line_for_a_reader(text);
}

/// Like [`line()`], for a command that runs until its reader leaves.
pub(crate) fn line_for_a_reader(text: &str) -> Reader {
    if RESERVED.load(Ordering::Relaxed) {
        return Reader::of(&writeln!(std::io::stderr(), "{text}"));
    }
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

/// Prints text on standard error, with colours if a terminal shows it.
pub(crate) fn styled_problem(text: &str) {
    drop(write!(anstream::stderr(), "{text}"));
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

/// Format of the results that `--json` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Json {
    /// One object
    Object,
    /// One object on each line: a list has one line for each of its elements
    Lines,
}

/// Whether results are printed with one object on each line.
static LINES: AtomicBool = AtomicBool::new(false);
/// Whether the result of the command was printed as JSON.
static PRINTED: AtomicBool = AtomicBool::new(false);

impl Json {
    /// Applies the choice to all results of the process.
    pub(crate) fn apply(self) {
        LINES.store(self == Self::Lines, Ordering::Relaxed);
    }
}

/// Prints a result as JSON. The result must contain the version of its format, `"version": 1`.
pub(crate) fn json(value: &Value) {
    debug_assert_eq!(value["version"], 1, "programs rely on the version of every result");
    PRINTED.store(true, Ordering::Relaxed);
    line(&json_text(value, LINES.load(Ordering::Relaxed)));
}

/// Prints indented JSON that is not in a format of this tool, such as an XDM event, and so has no `version`.
pub(crate) fn pretty(document: &Value) {
    line(&json_text(document, false));
}

/// Prints a list as JSON: one object that contains the list under this name, or with `--json=lines` one object on
/// a line for each element.
pub(crate) fn json_list(name: &str, elements: Vec<Value>) {
    PRINTED.store(true, Ordering::Relaxed);
    list_texts(name, elements, LINES.load(Ordering::Relaxed)).iter().for_each(|text| line(text));
}

/// Prints the error that ends the command as JSON, unless the command has already printed a result: the output must be
/// one object.
pub(crate) fn json_failure(value: &Value) {
    if !PRINTED.load(Ordering::Relaxed) {
        json_line(value);
    }
}

fn json_text(value: &Value, is_line: bool) -> String {
    let text = if is_line { Ok(value.to_string()) } else { serde_json::to_string_pretty(value) };
    printable_json(&text.unwrap_or_default()).into_owned()
}

fn list_texts(name: &str, elements: Vec<Value>, is_lines: bool) -> Vec<String> {
    if !is_lines {
        return vec![json_text(&versioned(json!({ name: elements })), false)];
    }
    elements.into_iter().map(|element| json_text(&versioned(element), true)).collect()
}

/// Adds the version of the format, `"version": 1`, to an object as its first member.
pub(crate) fn versioned(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    std::iter::once(("version".to_owned(), Value::from(1))).chain(members).collect::<Map<_, _>>().into()
}

/// Prints a JSON object on one line, for a command that runs until its reader leaves.
pub(crate) fn json_line(value: &Value) -> Reader {
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
    fn a_json_list_is_one_versioned_object_or_with_json_lines_one_versioned_object_for_each_element() {
        let list = || vec![json!({"a": 1}), json!({"a": "x\ny"})];
        assert_eq!(list_texts("events", list(), true), [r#"{"version":1,"a":1}"#, r#"{"version":1,"a":"x\ny"}"#]);
        let [object] = &list_texts("events", list(), false)[..] else { panic!("one object") };
        assert_eq!(
            serde_json::from_str::<Value>(object).unwrap(),
            json!({"version": 1, "events": [{"a": 1}, {"a": "x\ny"}]})
        );
        assert!(list_texts("events", Vec::new(), true).is_empty());
    }

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
