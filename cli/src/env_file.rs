//! `.env` files: values for variables that neither a flag nor the environment sets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Reads the file named by `--env-file`, or `./.env` if there is one.
pub(crate) fn read(arguments: &[OsString]) -> Result<BTreeMap<String, String>, String> {
    let named = named(arguments);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(".env"));
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|line| format!("{}: line {line} is not NAME=value", path.display())),
        Err(error) if named.is_some() => Err(format!("--env-file: cannot read {}: {error}", path.display())),
        Err(_) => Ok(BTreeMap::new()),
    }
}

/// The value of `--env-file`; clap cannot be asked yet, because the file decides about its defaults.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        if argument == "--env-file" {
            return arguments.next().map(|path| PathBuf::from(path.into_owned()));
        }
        if let Some(path) = argument.strip_prefix("--env-file=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

/// `NAME=value` lines; blank ones, those that begin with `#` and those without a value are passed over, quotes around a
/// value are dropped.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(number + 1)?;
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let name = name.trim().trim_start_matches("export ").trim();
        if !value.is_empty() {
            variables.insert(name.to_owned(), unquoted.unwrap_or(value).to_owned());
        }
    }
    Ok(variables)
}

/// Makes the file's values the defaults of the arguments that read these variables.
pub(crate) fn with_defaults(command: clap::Command, variables: &BTreeMap<String, String>) -> clap::Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(|name| variables.get(name.to_str()?)).cloned();
        match value {
            Some(value) => argument.default_value(value).required(false),
            None => argument,
        }
    });
    command.mut_subcommands(|subcommand| with_defaults(subcommand, variables))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_people_write_them() {
        let variables = parse("# comment\n\nA=1\nexport B=\"two words\"\nC = 'x=y'\n").unwrap();
        assert_eq!(
            (variables["A"].as_str(), variables["B"].as_str(), variables["C"].as_str()),
            ("1", "two words", "x=y")
        );
        assert_eq!(parse("A=1\nnonsense").unwrap_err(), 2);
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let command = || {
            clap::Command::new("t").subcommand(
                clap::Command::new("s").arg(clap::Arg::new("x").long("x").env("SURELY_NOT_SET_4711").required(true)),
            )
        };
        let variables = BTreeMap::from([("SURELY_NOT_SET_4711".to_owned(), "file".to_owned())]);
        let value = |arguments: &[&str]| {
            let matches = with_defaults(command(), &variables).try_get_matches_from(arguments).unwrap();
            matches.subcommand().unwrap().1.get_one::<String>("x").unwrap().clone()
        };
        assert_eq!(value(&["t", "s"]), "file");
        assert_eq!(value(&["t", "s", "--x", "flag"]), "flag");
        assert!(command().try_get_matches_from(["t", "s"]).is_err());
    }
}
