//! The variables that set options: first those of the environment, then those of an `.env` file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

use crate::file::{FileError, Shown, read_text};

/// Variables whose empty value means "none". Any other empty variable counts as not set in every program, because
/// deployment tools pass variables without a value as empty ones.
pub const EMPTY_MEANS_NONE: &[&str] = &["RECEIPTS_TOPIC"];

/// Error of reading an `.env` file. A message never contains a value.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An entry is not in the form `NAME=value`.
    #[error(
        "{}: the entry of line {line} is not NAME=value; put a value with spaces, quotes, `$` or line breaks into single quotes, where it is taken as it is",
        Shown(path)
    )]
    Form {
        /// Path of the `.env` file.
        path: PathBuf,
        /// Number of the entry's first line.
        line: usize,
    },
    /// A value refers to a variable that is not set, so a part of the value would be lost.
    #[error(
        "{}: the value of {name} has a `$` that would stand for another variable, which is not set; put the value into single quotes",
        Shown(path)
    )]
    Dollar {
        /// Path of the `.env` file.
        path: PathBuf,
        /// Variable whose value refers to another one.
        name: String,
    },
}

/// Values for the options that no flag sets.
#[derive(Clone, Default)]
pub struct Variables {
    file: BTreeMap<String, String>,
    ignores_environment: bool,
}

/// Shows only names, because a value may be a secret.
impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.file.keys()).finish()
    }
}

/// The location of a variable's value.
#[derive(Debug, PartialEq, Eq)]
enum Found<'v> {
    InEnvironment,
    InFile(&'v str),
    Nowhere,
}

impl Variables {
    /// Takes values only from the environment.
    #[must_use]
    pub fn of_process() -> Self {
        Self::default()
    }

    /// Takes no values, so that only flags set options. For tests, because the test process may have variables of the
    /// services in its environment.
    #[must_use]
    pub fn none() -> Self {
        Self { ignores_environment: true, ..Self::default() }
    }

    /// Takes values from the environment, and from this file for variables that the environment does not set.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn with_file(path: &Path) -> Result<Self, EnvFileError> {
        Ok(Self { file: parse(path, &read_text(path)?)?, ..Self::default() })
    }

    /// Adds the entries of another file, which override those of the previous file.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn and_file(mut self, path: &Path) -> Result<Self, EnvFileError> {
        self.file.extend(parse(path, &read_text(path)?)?);
        Ok(self)
    }

    /// Like [`Self::with_file`], but takes the text of the file instead of its path.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn with_text(text: &str) -> Result<Self, EnvFileError> {
        Ok(Self { file: parse(Path::new(".env"), text)?, ..Self::default() })
    }

    fn find(&self, name: &OsStr, environment: Option<OsString>) -> Found<'_> {
        let says_none = EMPTY_MEANS_NONE.iter().any(|exempt| *exempt == name);
        let is_set = |value: &str| says_none || !value.trim().is_empty();
        // A value that is not UTF-8 counts as set; the code that reads it reports the error.
        if environment.is_some_and(|value| value.to_str().is_none_or(is_set)) {
            return Found::InEnvironment;
        }
        let in_file = name.to_str().and_then(|name| self.file.get(name)).map(String::as_str);
        in_file.filter(|value| is_set(value)).map_or(Found::Nowhere, Found::InFile)
    }

    /// Returns the command with options that get their values from these variables. Its help shows none of these
    /// values.
    #[must_use]
    pub fn apply(&self, command: Command) -> Command {
        self.apply_to(command, &|_| true)
    }

    /// Whether a file sets a variable.
    pub(crate) fn sets_in_file(&self, name: &OsStr) -> bool {
        matches!(self.find(name, None), Found::InFile(_))
    }

    /// Like [`Self::apply`], but only for the options for which `wanted` returns true.
    pub(crate) fn apply_to(&self, command: Command, wanted: &dyn Fn(&Arg) -> bool) -> Command {
        let command = command.mut_args(|arg| {
            if !wanted(&arg) {
                return arg;
            }
            let Some(name) = arg.get_env().map(OsStr::to_owned) else { return arg };
            let arg = arg.hide_env_values(true);
            let environment = std::env::var_os(&name).filter(|_| !self.ignores_environment);
            match self.find(&name, environment) {
                Found::InEnvironment => arg,
                Found::InFile(value) => {
                    let is_option = arg.get_action().takes_values();
                    let arg = arg.env(None::<&str>).default_value(value.to_owned()).required(false);
                    arg.hide_default_value(is_option)
                }
                // clap read the environment when the option was defined. This removes the empty or ignored value again.
                Found::Nowhere if std::env::var_os(&name).is_some() => arg.env(None::<&str>),
                Found::Nowhere => arg,
            }
        });
        command.mut_subcommands(|subcommand| self.apply_to(subcommand, wanted))
    }
}

/// Parses the entries as Docker Compose does: if a name occurs several times, its last entry counts.
fn parse(path: &Path, text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let Some(variables) = entries(text) else {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let good = (0..lines.len()).rev().find(|&count| entries(&lines[..count].concat()).is_some());
        return Err(EnvFileError::Form { path: path.to_owned(), line: good.unwrap_or(0) + 1 });
    };
    match lost_reference(text, &variables) {
        Some(name) => Err(EnvFileError::Dollar { path: path.to_owned(), name }),
        None => Ok(variables),
    }
}

fn entries(text: &str) -> Option<BTreeMap<String, String>> {
    // The parser would treat white space at the end of a file as an unfinished entry.
    let text = format!("{}\n", without_comments(text).trim_end());
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}

/// Removes comments. dotenvy finds a comment after a value only if an odd number of spaces precedes it, and takes a quote
/// in any other comment for the beginning of a value of several lines.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut quote, mut escaped, mut in_comment) = (None, false, false);
    for c in text.chars() {
        if c == '\n' {
            in_comment = false;
        } else if quote.is_none() && !escaped && c == '#' && kept.chars().last().is_none_or(char::is_whitespace) {
            in_comment = true;
        }
        if in_comment {
            continue;
        }
        kept.push(c);
        match (escaped, quote, c) {
            (true, _, _) => escaped = false,
            // A backslash has no meaning in single quotes.
            (false, Some('"') | None, '\\') => escaped = true,
            (false, None, '\'' | '"') => quote = Some(c),
            (false, Some(open), _) if open == c => quote = None,
            (false, _, _) => {}
        }
    }
    kept
}

/// Returns the name of a variable whose value refers to a variable that is not set. Most likely, the value is a secret
/// that contains a `$`, and would lose the text after it.
fn lost_reference(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    // Replaces `$` in a copy of the text, so that no reference is resolved there.
    const STAND_IN: char = '\u{e000}';
    let untouched = entries(&text.replace("\\$", "\\\\").replace('$', &STAND_IN.to_string()))?;
    untouched.into_iter().find_map(|(name, value)| {
        if variables.get(&name) == Some(&value.replace(STAND_IN, "$")) {
            return None;
        }
        let mut references = value.split(STAND_IN).skip(1).map(|rest| match rest.strip_prefix('{') {
            Some(braced) => braced.split('}').next().unwrap_or_default(),
            None => rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default(),
        });
        let is_lost = |name: &str| !variables.contains_key(name) && std::env::var_os(name).is_none();
        references.any(is_lost).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;
    use crate::testing::Folder;

    fn parsed(text: &str) -> Result<BTreeMap<String, String>, String> {
        parse(Path::new("/nowhere/.env"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn env_file_entries_are_parsed_in_all_common_forms() {
        let text = "# comment\n\nA=1\nexport B=\"two words\"\nC = 'x=y'\nD=\nE=1 # comment\nKEYS=\"one\ntwo\"\nA=2\nF='a$b'\nG=\"a\\$b\"  ";
        let variables = parsed(text).unwrap();
        let value = |name: &str| variables[name].as_str();
        assert_eq!((value("A"), value("B"), value("C"), value("D"), value("E")), ("2", "two words", "x=y", "", "1"));
        assert_eq!((value("KEYS"), value("F"), value("G")), ("one\ntwo", "a$b", "a$b"));
    }

    #[test]
    fn a_comment_may_contain_quotes_and_follow_any_white_space() {
        for space in [" ", "  ", "   ", "\t", " \t "] {
            let text =
                format!("# the sink's\nA=1{space}# the \"sink's\nB='x # y'{space}# it's\nC=a#b{space}#\nD=a\\'\n");
            let variables = parsed(&text).unwrap();
            let values: Vec<(&str, &str)> =
                variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(values, [("A", "1"), ("B", "x # y"), ("C", "a#b"), ("D", "a'")], "{space:?}");
        }
    }

    #[test]
    fn an_invalid_entry_is_reported_with_its_line_number_but_without_its_text() {
        for (text, line) in [
            ("A=1\ntopsecret", 2),
            ("A=1\nB=\"x\ny\"\nC=top secret\nD=1", 4),
            ("A=1\nB=\"topsecret\nC=1\n", 2),
            ("1A=topsecret", 1),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(&format!("line {line} ")) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_that_would_lose_text_after_a_dollar_is_refused() {
        for text in
            ["KEY=top$ecret", "KEY=\"top$ecret\"", "KEY=\"top$ecret!\"", "KEY=top${NO_SUCH}", "A='x$y'\nKEY=a$$b"]
        {
            let error = parsed(text).unwrap_err();
            assert!(error.contains("single quotes") && !error.contains("top"), "{error}");
        }
        assert_eq!(parsed("A=1\nB=x${A}y\nC=$A").unwrap()["B"], "x1y");
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_variable_name() {
        let folder = Folder::new("env");
        let path = folder.write(".env", b"\xef\xbb\xbfA=1\r\nB=2\r\n");
        assert_eq!(Variables::with_file(&path).unwrap().file["A"], "1");
        let utf16 = folder.write("utf16", b"\xff\xfeA\x00=\x001\x00");
        assert!(Variables::with_file(&utf16).unwrap_err().to_string().contains("save it as UTF-8"));
    }

    #[test]
    fn an_empty_variable_counts_as_unset_unless_empty_means_none() {
        let file = [("A", "file"), ("B", " "), ("RECEIPTS_TOPIC", "")];
        let file = file.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables { file: BTreeMap::from(file), ..Variables::default() };
        let find =
            |name: &str, environment: Option<&str>| variables.find(OsStr::new(name), environment.map(Into::into));
        assert_eq!(find("A", Some("set")), Found::InEnvironment);
        for empty in [None, Some(""), Some("  ")] {
            assert_eq!(find("A", empty), Found::InFile("file"), "{empty:?}");
            assert_eq!(find("B", empty), Found::Nowhere, "{empty:?}");
        }
        assert_eq!(find("RECEIPTS_TOPIC", None), Found::InFile(""));
        assert_eq!(find("RECEIPTS_TOPIC", Some("")), Found::InEnvironment);
        assert_eq!(Variables::default().find(OsStr::new("RECEIPTS_TOPIC"), None), Found::Nowhere);
    }

    #[test]
    fn a_flag_of_a_subcommand_overrides_variables_and_help_hides_their_values() {
        let options = [
            Arg::new("x").long("x").env("SURELY_NOT_SET_4711").required(true),
            Arg::new("y").long("y").env("SURELY_NOT_SET_4712").action(ArgAction::SetTrue),
        ];
        let command = Command::new("t").subcommand(Command::new("s").args(options));
        let file = [("SURELY_NOT_SET_4711", "topsecret"), ("SURELY_NOT_SET_4712", "true")];
        let file = file.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables { file: BTreeMap::from(file), ..Variables::default() };
        let parse = |arguments: &[&str]| variables.apply(command.clone()).try_get_matches_from(arguments);
        let value = |arguments: &[&str]| {
            let matches = parse(arguments).unwrap();
            let matches = matches.subcommand().unwrap().1;
            (matches.get_one::<String>("x").unwrap().clone(), matches.get_flag("y"))
        };
        assert_eq!(value(&["t", "s"]), ("topsecret".to_owned(), true));
        assert_eq!(value(&["t", "s", "--x", "flag"]), ("flag".to_owned(), true));
        assert!(command.clone().try_get_matches_from(["t", "s"]).is_err());
        let help = parse(&["t", "s", "--help"]).unwrap_err().to_string();
        assert!(help.contains("--x") && !help.contains("topsecret"), "{help}");

        // Cargo sets this variable in the environment of tests.
        let path = env!("CARGO_MANIFEST_DIR");
        let command = Command::new("t").arg(Arg::new("z").long("z").env("CARGO_MANIFEST_DIR"));
        let shown = |command: Command| command.try_get_matches_from(["t", "--help"]).unwrap_err().to_string();
        assert!(shown(command.clone()).contains(path), "clap itself shows the value");
        assert!(!shown(Variables::of_process().apply(command)).contains(path));
    }
}
