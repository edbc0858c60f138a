//! Parses command lines together with the variables, with errors that name the option and never its value.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use crate::variables::Variables;

/// The text in a message where clap puts the value.
const NOT_SHOWN: &str = "(not shown)";

/// Parses arguments; options without a flag get their values from the variables.
///
/// # Errors
/// clap's own error, with the text for the user and without any value.
pub fn parse(command: &Command, variables: &Variables, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let applied = variables.apply(command.clone());
    applied.try_get_matches_from(arguments).map_err(|error| without_values(command, error))
}

/// The same, but reports all invalid values at once, and does not require options: missing ones are reported together
/// with the other problems of the configuration.
///
/// # Errors
/// As [`parse`].
pub fn parse_leniently(
    command: &Command,
    variables: &Variables,
    arguments: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    let applied = variables.apply(command.clone());
    let lenient = applied.clone().mut_args(|arg| arg.required(false));
    lenient.try_get_matches_from(arguments).map_err(|first| all_problems(command, &applied, arguments, first))
}

/// clap stops at the first invalid value; this parses each option separately, and accepts any value for the others.
fn all_problems(command: &Command, applied: &Command, arguments: &[OsString], first: clap::Error) -> clap::Error {
    if first.kind() == ErrorKind::DisplayHelp {
        // The help shows which options are required.
        return applied.clone().try_get_matches_from(arguments).err().unwrap_or(first);
    }
    if !matches!(first.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return without_values(command, first);
    }
    let (mut problems, mut missing) = (Vec::new(), Vec::new());
    for checked in applied.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        let alone = applied.clone().mut_args(|arg| {
            if arg.get_id() == checked.get_id() || !arg.get_action().takes_values() {
                return arg;
            }
            arg.required(false).value_parser(clap::builder::OsStringValueParser::new())
        });
        if let Err(error) = alone.try_get_matches_from(arguments) {
            let error = without_values(command, error);
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let end = text.find("\n\nUsage").or_else(|| text.find("\n\nFor more")).unwrap_or(text.len());
            let text = text[..end].trim_end();
            match text.split_once('\n') {
                Some((_, option)) if error.kind() == ErrorKind::MissingRequiredArgument => {
                    missing.push(format!("\n{option}"));
                }
                _ => problems.push(text.to_owned()),
            }
        }
    }
    if problems.len() + usize::from(!missing.is_empty()) < 2 {
        return without_values(command, first);
    }
    if !missing.is_empty() {
        problems.push(format!("the following required arguments were not provided:{}", missing.concat()));
    }
    let text = format!("{}\n\nFor more information, try '--help'.\n", problems.join("\nerror: "));
    clap::Error::raw(first.kind(), text)
}

/// Returns clap's error without the values that it quotes, and with the variables of the options that it names.
fn without_values(command: &Command, mut error: clap::Error) -> clap::Error {
    let mut command = command.clone();
    // Only then is an option printed as clap prints it.
    command.build();
    let command = &command;
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if error.get(kind).is_some() {
            error.insert(kind, ContextValue::String(NOT_SHOWN.to_owned()));
        }
    }
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => Some(ContextValue::String(option(command, error.kind(), name))),
        Some(ContextValue::Strings(names)) => {
            Some(ContextValue::Strings(names.iter().map(|name| option(command, error.kind(), name)).collect()))
        }
        _ => None,
    };
    if let Some(named) = named {
        error.insert(ContextKind::InvalidArg, named);
    }
    // These tips repeat the user's input.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::TrailingArg);
    error
}

/// Returns an option for a message, with its variable. A text that is not an option and does not look like the name of
/// one is not shown, because it is a value in the wrong place.
fn option(command: &Command, kind: ErrorKind, name: &str) -> String {
    let variable = variable(command, name);
    let looks_like_a_name = name.strip_prefix("--").is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-') && name.len() <= 40
    });
    match variable {
        Some(variable) => format!("{variable}, {name}"),
        None if kind == ErrorKind::UnknownArgument && !looks_like_a_name => NOT_SHOWN.to_owned(),
        None => name.to_owned(),
    }
}

fn variable(command: &Command, name: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.to_string() == name).and_then(|arg| arg.get_env());
    own.map(|variable| variable.to_string_lossy().into_owned())
        .or_else(|| command.get_subcommands().find_map(|subcommand| variable(subcommand, name)))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, value_parser};

    use super::*;

    fn command() -> Command {
        Command::new("t").args([
            Arg::new("a").long("size").env("SURELY_NOT_SET_A").value_parser(value_parser!(u8)),
            Arg::new("b").long("format").value_parser(["text", "json"]),
            Arg::new("c").long("needed").env("SURELY_NOT_SET_C").value_name("ID").required(true),
            Arg::new("d").long("number").value_parser(value_parser!(u8)),
        ])
    }

    fn refused(lenient: bool, arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = std::iter::once("t").chain(arguments.iter().copied()).map(Into::into).collect();
        let parse = if lenient { parse_leniently } else { parse };
        parse(&command(), &Variables::of_process(), &arguments).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_option_and_its_variable_and_shows_no_value() {
        for arguments in [
            &["--size=topsecret"][..],
            &["--format=topsecret"],
            &["topsecret"],
            &["--size", "1", "topsecret"],
            &["--topSecret"],
            &["-topsecret"],
            &["--format", "text", "--", "topsecret"],
        ] {
            for lenient in [false, true] {
                let error = refused(lenient, arguments);
                assert!(!error.to_lowercase().contains("topsecret"), "{arguments:?}: {error}");
            }
        }
        let error = refused(false, &["--size=topsecret"]);
        assert!(error.contains("SURELY_NOT_SET_A") && error.contains("--size"), "{error}");
        let error = refused(false, &[]);
        assert!(error.contains("SURELY_NOT_SET_C, --needed <ID>"), "{error}");
        assert!(refused(false, &["--sise=1"]).contains("--sise"), "the typo of a flag is shown");
    }

    #[test]
    fn all_wrong_values_are_reported_at_once() {
        let error = refused(true, &["--size=x", "--format=y", "--number=z"]);
        for option in ["--size", "--format", "--number", "--needed"] {
            assert!(error.contains(option), "{option} in {error}");
        }
        let arguments = ["t", "--size=1"].map(Into::into);
        assert!(parse_leniently(&command(), &Variables::of_process(), &arguments).is_ok(), "the rest is checked later");
    }
}
