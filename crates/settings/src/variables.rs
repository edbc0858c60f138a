//! The variables that options are read from: the environment, and then an `.env` file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

use crate::file::{FileError, Shown, read_text};

/// Variables whose empty value means "none". Any other empty variable counts as not set in every program, because
/// deployment tools pass variables without a value as empty ones.
pub const EMPTY_MEANS_NONE: &[&str] = &["RECEIPTS_TOPIC"];

/// Why an `.env` file cannot be used. Its text is never shown.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An entry does not have the right form.
    #[error(
        "{}: the entry of line {line} is not NAME=value; put a value with spaces, quotes, `$` or line breaks into single quotes, where it is taken as it is",
        Shown(path)
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// The first line of the entry.
        line: usize,
    },
    /// A part of a value would be lost.
    #[error(
        "{}: the value of {name} has a `$` that would stand for another variable, which is not set; put the value into single quotes",
        Shown(path)
    )]
    Dollar {
        /// The file.
        path: PathBuf,
        /// The variable.
        name: String,
    },
}

/// Where options get the values that no flag sets.
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

/// Where a variable's value is.
#[derive(Debug, PartialEq, Eq)]
enum Found<'v> {
    /// The environment has it.
    InEnvironment,
    /// The file has it.
    InFile(&'v str),
    /// It is not set.
    Nowhere,
}

impl Variables {
    /// Reads only the environment.
    #[must_use]
    pub fn of_process() -> Self {
        Self::default()
    }

    /// Reads no variables: only flags set options. For tests, whose process may have its own variables.
    #[must_use]
    pub fn none() -> Self {
        Self { ignores_environment: true, ..Self::default() }
    }

    /// Reads the environment, and this file for variables that are not set there.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn with_file(path: &Path) -> Result<Self, EnvFileError> {
        Ok(Self { file: parse(path, &read_text(path)?)?, ..Self::default() })
    }

    /// Adds the entries of another file, which count before those of the first.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn and_file(mut self, path: &Path) -> Result<Self, EnvFileError> {
        self.file.extend(parse(path, &read_text(path)?)?);
        Ok(self)
    }

    /// Reads the environment, and then this text of a file.
    ///
    /// # Errors
    /// [`EnvFileError`].
    pub fn with_text(text: &str) -> Result<Self, EnvFileError> {
        Ok(Self { file: parse(Path::new(".env"), text)?, ..Self::default() })
    }

    fn find(&self, name: &OsStr, environment: Option<OsString>) -> Found<'_> {
        let says_none = EMPTY_MEANS_NONE.iter().any(|exempt| *exempt == name);
        let is_set = |value: &str| says_none || !value.trim().is_empty();
        // A value that is not UTF-8 is set; the code that reads it reports the error.
        if environment.is_some_and(|value| value.to_str().is_none_or(is_set)) {
            return Found::InEnvironment;
        }
        let in_file = name.to_str().and_then(|name| self.file.get(name)).map(String::as_str);
        in_file.filter(|value| is_set(value)).map_or(Found::Nowhere, Found::InFile)
    }

    /// Returns a command whose options get their values from these variables, and whose help shows none of them.
    #[must_use]
    pub fn apply(&self, command: Command) -> Command {
        self.apply_to(command, &|_| true)
    }

    /// Whether a file sets a variable.
    pub(crate) fn sets_in_file(&self, name: &OsStr) -> bool {
        matches!(self.find(name, None), Found::InFile(_))
    }

    /// The same, only for some of the options.
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
                // clap has read the environment already, when the option was defined.
                Found::Nowhere if std::env::var_os(&name).is_some() => arg.env(None::<&str>),
                Found::Nowhere => arg,
            }
        });
        command.mut_subcommands(|subcommand| self.apply_to(subcommand, wanted))
    }
}

/// Reads the entries as Docker Compose does: the last entry of a name counts.
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
    let text = format!("{}\n", text.trim_end());
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}

/// Returns a variable whose value refers to one that is not set: most likely, it is a secret that contains a `$` and
/// would lose what follows.
fn lost_reference(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    // A character that replaces `$` in a copy of the text, in which no reference is resolved.
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
    fn entries_are_read_in_all_common_forms() {
        let text = "# comment\n\nA=1\nexport B=\"two words\"\nC = 'x=y'\nD=\nE=1 # comment\nKEYS=\"one\ntwo\"\nA=2\nF='a$b'\nG=\"a\\$b\"  ";
        let variables = parsed(text).unwrap();
        let value = |name: &str| variables[name].as_str();
        assert_eq!((value("A"), value("B"), value("C"), value("D"), value("E")), ("2", "two words", "x=y", "", "1"));
        assert_eq!((value("KEYS"), value("F"), value("G")), ("one\ntwo", "a$b", "a$b"));
    }

    #[test]
    fn invalid_entries_are_reported_by_line_without_their_text() {
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
    fn a_file_with_a_byte_order_mark_keeps_its_first_variable() {
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
    fn a_flag_overrides_the_file_in_every_command_and_help_shows_no_value() {
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

        // The environment has this one.
        let path = env!("CARGO_MANIFEST_DIR");
        let command = Command::new("t").arg(Arg::new("z").long("z").env("CARGO_MANIFEST_DIR"));
        let shown = |command: Command| command.try_get_matches_from(["t", "--help"]).unwrap_err().to_string();
        assert!(shown(command.clone()).contains(path), "clap shows it");
        assert!(!shown(Variables::of_process().apply(command)).contains(path));
    }
}
