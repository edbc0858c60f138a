//! Parses command lines together with the [`Variables`]. Errors contain the option but never its value.

use std::ffi::OsString;

use clap::builder::OsStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use crate::problems::Problems;
use crate::variables::Variables;

/// Placeholder that messages show in place of a value.
const NOT_SHOWN: &str = "(not shown)";

/// Selects who reports required options that are not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// [`parse`] reports them as errors of the command line.
    Here,
    /// The caller reports them with the other problems of the configuration. The matches that [`parse`] returns may
    /// lack them.
    Later,
}

/// Error for a command line that cannot be parsed.
#[derive(Debug)]
pub struct Refused {
    /// clap's error with the text for the user. The text names the option of every invalid value, and contains no
    /// value.
    pub error: clap::Error,
    /// The invalid values; `None` if the error is of another kind, such as an unknown option or a request for help.
    pub invalid: Option<Box<InvalidValues>>,
}

/// Options whose values cannot be parsed.
#[derive(Debug)]
pub struct InvalidValues {
    /// One message for each invalid option, without the value.
    pub problems: Vec<String>,
    /// Flags and variables of the invalid options.
    pub names: Vec<String>,
    /// The parsed values of the other options, so that the caller can check these too.
    pub others: ArgMatches,
}

impl InvalidValues {
    /// Returns the invalid values together with the problems that `problems_of` finds in the other options, so that the
    /// user sees all of them at once.
    #[must_use]
    pub fn with_others<C: FromArgMatches>(self, problems_of: impl FnOnce(&C) -> Problems) -> Problems {
        let mut problems = Problems::default();
        self.problems.into_iter().for_each(|problem| problems.add(problem));
        if let Ok(options) = C::from_arg_matches(&self.others) {
            let mut others = problems_of(&options);
            // An option with an invalid value has no value in `others`, so `problems_of` may report it as missing.
            others.forget(&self.names);
            problems.extend(others);
        }
        problems
    }
}

impl From<Refused> for clap::Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// Parses arguments; an option that no flag sets gets its value from the variables. Every binary parses with this
/// function.
///
/// # Errors
/// [`Refused`] with all invalid values of the selected command's options at once.
pub fn parse(
    command: &Command,
    variables: &Variables,
    arguments: &[OsString],
    required: Required,
) -> Result<ArgMatches, Refused> {
    let applied = variables.apply(command.clone());
    let lenient = match required {
        Required::Here => applied,
        Required::Later => each_argument(applied, &|arg| arg.required(false)),
    };
    lenient.try_get_matches_from(arguments).map_err(|first| refused(command, variables, arguments, required, first))
}

/// Builds the error with all invalid values. clap stops at the first one, so this function parses once for each option
/// and accepts any value for the other options.
fn refused(
    command: &Command,
    variables: &Variables,
    arguments: &[OsString],
    required: Required,
    first: clap::Error,
) -> Refused {
    let applied = variables.apply(command.clone());
    if first.kind() == ErrorKind::DisplayHelp {
        // The help marks the required options, so the arguments are parsed again with these options still required.
        let error = applied.try_get_matches_from(arguments).err().unwrap_or(first);
        return Refused { error, invalid: None };
    }
    if !is_about_a_value(&first) {
        return Refused { error: without_values(command, first), invalid: None };
    }
    let (mut problems, mut wrong) = (Vec::new(), Vec::new());
    for checked in selected(command, &applied, variables, arguments) {
        let alone = each_argument(applied.clone(), &|arg| {
            let arg = arg.required(false);
            if arg.get_id() == checked.get_id() { arg } else { with_any_value(arg) }
        });
        if let Err(error) = alone.try_get_matches_from(arguments)
            && is_about_a_value(&error)
        {
            problems.push(without_usage(&without_values(command, error)));
            wrong.push(checked);
        }
    }
    let is_wrong = |arg: &Arg| wrong.iter().any(|wrong| wrong.get_id() == arg.get_id());
    // The invalid options get no value: `apply_to` sets none from a file, and `each_argument` removes their variables.
    let others = variables.apply_to(command.clone(), &|arg| !is_wrong(arg));
    let others = each_argument(others, &|arg| {
        let arg = if is_wrong(&arg) { arg.env(None::<&str>) } else { arg };
        arg.required(false)
    });
    let Ok(others) = others.try_get_matches_from(without_options(arguments, &wrong)) else {
        return Refused { error: without_values(command, first), invalid: None };
    };
    let mut texts = problems.clone();
    let strict = each_argument(applied, &with_any_value);
    // Missing options are reported together with the invalid values, even with `Required::Later`.
    if let Err(error) = strict.try_get_matches_from(arguments)
        && (required == Required::Here || error.kind() == ErrorKind::MissingRequiredArgument)
    {
        texts.push(without_usage(&without_values(command, error)));
    }
    let error = if texts.len() < 2 {
        without_values(command, first)
    } else {
        let text = format!("{}\n\nFor more information, try '--help'.\n", texts.join("\nerror: "));
        clap::Error::raw(first.kind(), text)
    };
    let names = wrong.iter().flat_map(|arg| {
        let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        variable.into_iter().chain(arg.get_long().map(|long| format!("--{long}")))
    });
    let names = names.collect();
    Refused { error, invalid: Some(Box::new(InvalidValues { problems, names, others })) }
}

fn is_about_a_value(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
}

/// Changes each argument of a command and of its subcommands.
fn each_argument(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|subcommand| each_argument(subcommand, change))
}

fn with_any_value(arg: Arg) -> Arg {
    if arg.get_action().takes_values() { arg.value_parser(OsStringValueParser::new()) } else { arg }
}

/// Returns the options of the selected command, and of the commands above it, that have a value.
fn selected(command: &Command, applied: &Command, variables: &Variables, arguments: &[OsString]) -> Vec<Arg> {
    let loose = each_argument(applied.clone(), &|arg| with_any_value(arg.required(false)));
    let matches = loose.try_get_matches_from(arguments).ok();
    // The loop uses the options of `command`: in `applied`, an option that a file sets no longer has a variable.
    let (mut command, mut matches, mut found) = (Some(command), matches.as_ref(), Vec::new());
    while let Some(current) = command {
        let was_given = |arg: &&Arg| match matches.map(|matches| matches.value_source(arg.get_id().as_str())) {
            // Parsing failed, so the source of the value is not known.
            None => true,
            Some(None) => false,
            // A value from a file is set as the default.
            Some(Some(ValueSource::DefaultValue)) => arg.get_env().is_some_and(|name| variables.sets_in_file(name)),
            Some(Some(_)) => true,
        };
        found.extend(current.get_arguments().filter(|arg| arg.get_action().takes_values()).filter(was_given).cloned());
        let next = matches.and_then(ArgMatches::subcommand);
        command = next.and_then(|(name, _)| current.find_subcommand(name));
        matches = next.map(|(_, matches)| matches);
    }
    found
}

/// Returns the arguments without the options in `wrong` and without their values.
fn without_options(arguments: &[OsString], wrong: &[Arg]) -> Vec<OsString> {
    let (mut kept, mut arguments) = (Vec::new(), arguments.iter());
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let (name, has_value) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (&*text, false),
        };
        let option = wrong.iter().find(|arg| arg.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long)));
        match option {
            None => kept.push(argument.clone()),
            Some(option) if !has_value && !option.is_require_equals_set() => drop(arguments.next()),
            Some(_) => {}
        }
    }
    kept
}

/// Returns the text of an error, without the usage and the hint that follow it.
fn without_usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\n\nUsage").or_else(|| text.find("\n\nFor more")).unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// Returns clap's error without the values that it quotes, and with the variables of the options that it mentions.
fn without_values(command: &Command, mut error: clap::Error) -> clap::Error {
    let mut command = command.clone();
    // Only a built command prints an option in the form that clap's errors contain.
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
    // The tips of clap repeat the user's input.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::TrailingArg);
    error
}

/// Returns an option together with its variable, for a message. An unknown text that does not look like an option name
/// is replaced by [`NOT_SHOWN`], because it may be a value in the wrong position.
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
    use clap::value_parser;

    use super::*;

    fn command() -> Command {
        Command::new("t").args([
            Arg::new("a").long("size").env("SURELY_NOT_SET_A").value_parser(value_parser!(u8)),
            Arg::new("b").long("format").value_parser(["text", "json"]),
            Arg::new("c").long("needed").env("SURELY_NOT_SET_C").value_name("ID").required(true),
            Arg::new("d").long("number").value_parser(value_parser!(u8)),
        ])
    }

    fn arguments(arguments: &[&str]) -> Vec<OsString> {
        std::iter::once("t").chain(arguments.iter().copied()).map(Into::into).collect()
    }

    fn refused_by(command: &Command, required: Required, given: &[&str]) -> Refused {
        parse(command, &Variables::of_process(), &arguments(given), required).unwrap_err()
    }

    fn refused(required: Required, given: &[&str]) -> String {
        refused_by(&command(), required, given).error.to_string()
    }

    #[test]
    fn an_error_contains_the_option_and_the_variable_but_no_value() {
        for arguments in [
            &["--size=topsecret"][..],
            &["--format=topsecret"],
            &["topsecret"],
            &["--size", "1", "topsecret"],
            &["--topSecret"],
            &["-topsecret"],
            &["--format", "text", "--", "topsecret"],
        ] {
            for required in [Required::Here, Required::Later] {
                let error = refused(required, arguments);
                assert!(!error.to_lowercase().contains("topsecret"), "{arguments:?}: {error}");
            }
        }
        let error = refused(Required::Here, &["--size=topsecret"]);
        assert!(error.contains("SURELY_NOT_SET_A") && error.contains("--size"), "{error}");
        let error = refused(Required::Here, &[]);
        assert!(error.contains("SURELY_NOT_SET_C, --needed <ID>"), "{error}");
        assert!(refused(Required::Here, &["--sise=1"]).contains("--sise"), "the typo of a flag is shown");
    }

    #[test]
    fn all_invalid_values_are_reported_at_once() {
        for required in [Required::Here, Required::Later] {
            let error = refused(required, &["--size=x", "--format=y", "--number=z"]);
            for option in ["--size", "--format", "--number", "--needed"] {
                assert!(error.contains(option), "{option} in {error}");
            }
        }
        let good = parse(&command(), &Variables::of_process(), &arguments(&["--size=1"]), Required::Later);
        assert!(good.is_ok(), "the caller reports the missing option");
    }

    #[test]
    fn valid_options_can_be_read_although_other_options_are_invalid() {
        let given = ["--size=x", "--number", "z", "--format", "json"];
        let invalid = refused_by(&command(), Required::Later, &given).invalid.unwrap();
        assert_eq!(invalid.problems.len(), 2, "{:?}", invalid.problems);
        assert!(invalid.problems[0].starts_with("invalid value '(not shown)' for 'SURELY_NOT_SET_A, --size"));
        assert_eq!(invalid.names, ["SURELY_NOT_SET_A", "--size", "--number"]);
        assert_eq!(invalid.others.get_one::<String>("b").map(String::as_str), Some("json"));
        assert!(invalid.others.get_one::<u8>("a").is_none() && invalid.others.get_one::<u8>("d").is_none());
        assert!(refused_by(&command(), Required::Later, &["--sise=1", "--size=x"]).invalid.is_none());
    }

    #[test]
    fn all_invalid_values_of_a_file_are_reported_and_the_other_options_can_be_read() {
        let variables = Variables::with_text("SURELY_NOT_SET_A=x\nSURELY_NOT_SET_C=id\n").unwrap();
        let given = arguments(&["--number=z"]);
        let invalid = parse(&command(), &variables, &given, Required::Later).unwrap_err().invalid.unwrap();
        assert_eq!(invalid.problems.len(), 2, "{:?}", invalid.problems);
        assert_eq!(invalid.names, ["SURELY_NOT_SET_A", "--size", "--number"]);
        assert_eq!(invalid.others.get_one::<String>("c").map(String::as_str), Some("id"));
    }

    #[test]
    fn all_invalid_options_of_a_subcommand_are_reported_at_once() {
        let command = Command::new("t").subcommand(command().name("s")).subcommand(Command::new("other"));
        let error = refused_by(&command, Required::Here, &["s", "--size=x", "--number=z"]).error.to_string();
        for option in ["--size", "--number", "--needed"] {
            assert!(error.contains(option), "{option} in {error}");
        }
        assert!(!error.contains("--format"), "{error}");
    }
}
