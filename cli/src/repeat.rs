//! The options that a person typed, for messages that propose the next command.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// An option as it was typed. Values from variables and files are left out, because the next command reads them itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TypedOption {
    /// Name without the dashes.
    long: String,
    /// The value; `None` for a flag.
    value: Option<String>,
}

/// The typed options of a command line. The word `SECRET` replaces the value of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Typed(Vec<TypedOption>);

impl Typed {
    /// The options that were typed for this command or one of its subcommands.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut typed = Vec::new();
        let (mut command, mut matches) = (command, matches);
        loop {
            for arg in command.get_arguments() {
                typed.extend(option(arg, matches));
            }
            let Some((name, inner)) = matches.subcommand() else { return Self(typed) };
            let Some(found) = command.find_subcommand(name) else { return Self(typed) };
            (command, matches) = (found, inner);
        }
    }

    /// The value that was typed for an option, if any.
    pub(crate) fn value(&self, long: &str) -> Option<&str> {
        self.0.iter().find(|option| option.long == long)?.value.as_deref()
    }

    /// Returns a command line from these words, the typed options that the command knows, and the options in `more`. An
    /// option in `more` is left out if it was typed.
    pub(crate) fn command(&self, root: &Command, words: &[&str], more: &[(&str, Option<&str>)]) -> String {
        let target = words.iter().try_fold(root, |command, word| command.find_subcommand(word));
        let knows = |long: &str| {
            let has = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some(long));
            has(root) || target.is_some_and(has)
        };
        let mut text = format!("customerio-aep {}", words.join(" "));
        let mut add = |long: &str, value: Option<&str>| {
            text.push_str(&format!(" --{long}"));
            if let Some(value) = value {
                text.push_str(&format!("={}", quoted(value)));
            }
        };
        for option in self.0.iter().filter(|option| knows(&option.long)) {
            add(&option.long, option.value.as_deref());
        }
        for (long, value) in more.iter().filter(|(long, _)| !self.0.iter().any(|option| option.long == *long)) {
            add(long, *value);
        }
        text
    }
}

fn option(arg: &Arg, matches: &ArgMatches) -> Vec<TypedOption> {
    let id = arg.get_id().as_str();
    // The matches of a level do not always contain the id of a global option.
    let is_typed = matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine);
    let (Some(long), true) = (arg.get_long(), is_typed) else { return Vec::new() };
    let of = |value| TypedOption { long: long.to_owned(), value };
    if !arg.get_action().takes_values() {
        return vec![of(None)];
    }
    // An option whose variable's value is hidden in the help has a secret.
    if arg.is_hide_env_values_set() {
        return vec![of(Some("SECRET".to_owned()))];
    }
    let values: Vec<String> =
        matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
    match arg.get_value_delimiter() {
        Some(delimiter) => vec![of(Some(values.join(&delimiter.to_string())))],
        None => values.into_iter().map(|value| of(Some(value))).collect(),
    }
}

/// Returns the value with quotes if a shell needs them.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_./:@,+-=%".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use settings::Variables;
    use settings::command_line::{self, Required};

    use super::*;
    use crate::Cli;

    fn typed(arguments: &[&str]) -> Typed {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        let command = Cli::command();
        let matches = command_line::parse(&command, &Variables::none(), &arguments, Required::Here);
        Typed::of(&command, &matches.map_err(|refused| refused.error).unwrap())
    }

    #[test]
    fn a_proposed_command_has_the_typed_options_that_it_knows_and_no_secret() {
        let line = [
            "customerio-aep",
            "setup",
            "apply",
            "--env-file",
            "dev.env",
            "--credentials=my keys",
            "--yes",
            "--only",
            "platform,customerio",
            "--write-env",
            "dev.env",
            "--sinks-held",
            "--services",
            "a:1,b:2",
            "--app-api-key",
            "topsecret",
        ];
        let typed = typed(&line);
        let root = Cli::command();
        let again = typed.command(&root, &["setup", "apply"], &[("wait", None)]);
        assert!(again.starts_with("customerio-aep setup apply --env-file=dev.env "), "{again}");
        for part in [
            " --credentials='my keys'",
            " --yes",
            " --only=platform,customerio",
            " --write-env=dev.env",
            " --sinks-held",
            " --services=a:1,b:2",
            " --app-api-key=SECRET",
            " --wait",
        ] {
            assert!(again.contains(part), "{part} in {again}");
        }
        assert!(!again.contains("topsecret"));
        let check = typed.command(&root, &["check"], &[("end-to-end", None), ("confirm-sandbox", Some("prod"))]);
        assert!(check.ends_with(" --end-to-end --confirm-sandbox=prod"), "{check}");
        assert!(
            check.contains("--credentials") && !check.contains("--yes") && !check.contains("--write-env"),
            "{check}"
        );
        let release = typed.command(&root, &["setup", "sink", "release"], &[]);
        assert_eq!(release, "customerio-aep setup sink release --env-file=dev.env --services=a:1,b:2");
        assert_eq!(typed.value("env-file"), Some("dev.env"));
    }

    #[test]
    fn an_option_that_was_typed_is_not_added_again() {
        let typed = typed(&["customerio-aep", "setup", "apply", "--wait=5m", "--only=kafka"]);
        let again = typed.command(&Cli::command(), &["setup", "apply"], &[("wait", None)]);
        assert_eq!(again, "customerio-aep setup apply --only=kafka --wait=5m");
    }
}
