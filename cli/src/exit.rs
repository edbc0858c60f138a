//! The result of a command, and the exit code for it.

use std::fmt;
use std::process::ExitCode;

use clap::error::ErrorKind;
use kafka::KafkaError;
use operator::OperatorError;
use serde_json::{Value, json};
use settings::Problems;
use setup::error::SetupError;

use crate::output;

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Problem,
    /// `setup apply` waits for an external condition, which it has printed.
    Waiting,
    /// A service did not respond. The command has already reported it.
    Unanswered,
    /// The arguments or the configuration are not valid. The command has already reported it.
    UsageError,
}

/// An error that ends a command early. Its text is shown to the user unchanged.
pub(crate) type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Error for arguments or options that cannot be used.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for UsageError {}

/// The error for options of which at least one is invalid.
impl From<Problems> for UsageError {
    fn from(problems: Problems) -> Self {
        Self(format!("these options are invalid:\n{problems}"))
    }
}

/// Ctrl-C ended the command before it had finished. If a command does not handle Ctrl-C itself, the signal kills the
/// process, and a shell reports the same exit code.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// The exit codes of `customerio-aep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Good = 0,
    Problem = 1,
    Usage = 2,
    /// No result, because a service did not respond.
    NoAnswer = 3,
    Waiting = 4,
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Returns the exit code of a command. An error is also printed on standard error, and with `--json` as an object on
/// standard output.
pub(crate) fn exit_code(result: &Result<Verdict, CommandError>, json: bool) -> ExitCode {
    match result {
        Ok(verdict) => of_verdict(*verdict),
        Err(error) => {
            let failure = Failure::of(error);
            failure.print(json);
            failure.exit
        }
    }
    .into()
}

fn of_verdict(verdict: Verdict) -> Code {
    match verdict {
        Verdict::Good => Code::Good,
        Verdict::Problem => Code::Problem,
        Verdict::UsageError => Code::Usage,
        Verdict::Unanswered => Code::NoAnswer,
        Verdict::Waiting => Code::Waiting,
    }
}

/// An error that ends a command, with its text for a person and its codes for a program.
#[derive(Debug)]
struct Failure<'e> {
    exit: Code,
    /// Identifier for programs.
    code: &'static str,
    message: String,
    /// Options or commands of this tool that solve the problem.
    hint: Option<&'static str>,
    /// clap's error, if the command line cannot be parsed, or requests help or the version.
    command_line: Option<&'e clap::Error>,
}

impl<'e> Failure<'e> {
    fn of(error: &'e CommandError) -> Self {
        let command_line = error.downcast_ref::<clap::Error>();
        let (exit, code, hint) = if let Some(error) = command_line {
            of_command_line(error)
        } else if error.is::<UsageError>() {
            (Code::Usage, "usage", None)
        } else if error.is::<Interrupted>() {
            (Code::Interrupted, "interrupted", None)
        } else if let Some(error) = error.downcast_ref::<OperatorError>() {
            of_operator(error)
        } else if let Some(error) = error.downcast_ref::<SetupError>() {
            of_setup(error)
        } else if let Some(error) = error.downcast_ref::<KafkaError>() {
            of_kafka(error)
        } else {
            (Code::Problem, "failed", None)
        };
        let message = command_line.map_or_else(|| error.to_string(), without_usage);
        Self { exit, code, message, hint, command_line }
    }

    fn print(&self, json: bool) {
        // Help is not a failure. After Ctrl-C, no program waits for an answer.
        let is_answer = self.exit != Code::Good && self.exit != Code::Interrupted;
        if json && is_answer {
            output::json_failure(&self.as_json());
        }
        match self.command_line {
            // clap prints the help and the version: on standard output if they were requested, else on standard error.
            Some(error) if is_help(error) => drop(error.print()),
            Some(error) => output::styled_problem(&format!("customerio-aep: {}", error.render().ansi())),
            None => output::problem(&format!("customerio-aep: {}", self.text())),
        }
    }

    /// The message and the hint.
    fn text(&self) -> String {
        let hint = self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}{hint}", self.message)
    }

    fn as_json(&self) -> Value {
        json!({
            "version": 1,
            "error": {"code": self.code, "message": self.message, "hint": self.hint},
        })
    }
}

/// Exit code, identifier and hint of an error.
type Row = (Code, &'static str, Option<&'static str>);

fn of_command_line(error: &clap::Error) -> Row {
    if error.use_stderr() {
        (Code::Usage, "usage", Some("--help lists the commands and options"))
    } else {
        (Code::Good, "help", None)
    }
}

fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// The text of a clap error, without the usage and the hint that follow it.
fn without_usage(error: &clap::Error) -> String {
    if is_help(error) {
        return "there is no command in the arguments".to_owned();
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\n\nUsage").or_else(|| text.find("\n\nFor more")).unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

fn of_setup(error: &SetupError) -> Row {
    match error {
        SetupError::Kafka(error) => of_kafka(error),
        error if error.is_unanswered() => (Code::NoAnswer, error.code(), None),
        error => (Code::Problem, error.code(), None),
    }
}

fn of_operator(error: &OperatorError) -> Row {
    match error {
        OperatorError::Kafka(error) => of_kafka(error),
        OperatorError::EmptyRange => (Code::Usage, "empty_range", Some("change --since or --until")),
        OperatorError::NoPartition { .. } => (Code::Usage, "no_partition", Some("change --offsets")),
        OperatorError::NoDeadLetter(_) => {
            (Code::Usage, "no_dead_letter", Some("`dead-letters list --all --resolved` lists them"))
        }
        OperatorError::HowToReplay(_) => (
            Code::Usage,
            "how_to_replay",
            Some(
                "add --as-is to send them to Platform as they are, or --remap to map their webhooks again (or choose others, for example with --stage transformer)",
            ),
        ),
        // Only the console lets a person confirm a number of dead letters, so no command returns this error.
        OperatorError::MoreThanConfirmed { .. } => (Code::Problem, "more_than_confirmed", None),
        OperatorError::Expired { .. } => (Code::NoAnswer, "expired", Some("--since leaves out older records")),
        OperatorError::ReaderFailed => (Code::NoAnswer, "reader_failed", None),
    }
}

fn of_kafka(error: &KafkaError) -> Row {
    match error {
        // In these two cases the brokers have responded, so the exit code is not that of an unreachable Kafka.
        KafkaError::NoTopic(_) => (Code::Problem, "no_topic", None),
        KafkaError::TooFewPartitions { .. } => (Code::Problem, "too_few_partitions", None),
        KafkaError::Configuration(_) => (Code::Usage, "kafka_configuration", None),
        KafkaError::Unreachable { .. } => (Code::NoAnswer, "kafka_unreachable", None),
        _ => (Code::NoAnswer, "kafka", None),
    }
}

#[cfg(test)]
mod tests {
    use contract::{Partition, Position};

    use super::*;

    fn of(error: impl Into<CommandError>) -> u8 {
        Failure::of(&error.into()).exit as u8
    }

    #[test]
    fn each_result_has_its_documented_exit_code() {
        assert_eq!(
            [Verdict::Good, Verdict::Problem, Verdict::UsageError, Verdict::Unanswered, Verdict::Waiting]
                .map(|verdict| of_verdict(verdict) as u8),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(of(UsageError("wrong".to_owned())), 2);
        assert_eq!(of(OperatorError::EmptyRange), 2);
        assert_eq!(of(OperatorError::NoPartition { partition: Partition(9), count: 3 }), 2);
        assert_eq!(of(OperatorError::NoDeadLetter(Position::new(0, 1))), 2);
        assert_eq!(of(OperatorError::HowToReplay(1)), 2);
        assert_eq!(of(OperatorError::Expired { attempts: 3 }), 3);
        assert_eq!(of(OperatorError::ReaderFailed), 3);
        assert_eq!(of(Interrupted), 130);
        assert_eq!(of(SetupError::Moved(Vec::new())), 1);
        assert_eq!(of(SetupError::MissingPermissions(Vec::new())), 1);
        assert_eq!(of(SetupError::Kafka(KafkaError::Configuration("x".to_owned()))), 2);
        assert_eq!(of(SetupError::Kafka(KafkaError::GivenUp("denied".to_owned()))), 3);
        assert_eq!(of("the gateway answered 500"), 1);
        let unreachable =
            || KafkaError::Unreachable { bootstrap: "a:1".to_owned(), seconds: 8, reason: "none".to_owned() };
        let kafka = [
            (KafkaError::NoTopic("raw".to_owned()), 1),
            (KafkaError::Configuration("x".to_owned()), 2),
            (unreachable(), 3),
            (KafkaError::GivenUp("denied".to_owned()), 3),
        ];
        for (error, expected) in kafka {
            assert_eq!(of(OperatorError::Kafka(error)), expected);
        }
        assert_eq!((of(unreachable()), of(KafkaError::NoTopic("raw".to_owned()))), (3, 1));
    }

    /// The error of a command line that cannot be parsed, or requests help or the version.
    fn command_line(arguments: &[&str]) -> clap::Error {
        let command = clap::Command::new("customerio-aep").version("1").subcommand_required(true);
        let command = command.arg_required_else_help(true).subcommand(
            clap::Command::new("audit")
                .arg(clap::Arg::new("limit").long("limit").value_parser(clap::value_parser!(u8))),
        );
        command.try_get_matches_from([&["customerio-aep"], arguments].concat()).unwrap_err()
    }

    #[test]
    fn an_invalid_command_line_is_a_usage_error_and_requested_help_is_a_success() {
        for (arguments, expected) in
            [(&["audit", "--limit=x"][..], 2), (&["nonsense"], 2), (&[], 2), (&["--help"], 0), (&["--version"], 0)]
        {
            assert_eq!(of(command_line(arguments)), expected, "{arguments:?}");
        }
        assert_eq!(of(UsageError::from(Problems::from("x".to_owned()))), 2);
    }

    #[test]
    fn a_failure_has_a_code_a_message_and_a_hint_as_json() {
        let shown = |error: CommandError| Failure::of(&error).as_json();
        assert_eq!(
            shown(OperatorError::NoDeadLetter(Position::new(0, 7)).into()),
            json!({"version": 1, "error": {
                "code": "no_dead_letter",
                "message": "there is no dead letter at 0:7",
                "hint": "`dead-letters list --all --resolved` lists them",
            }})
        );
        assert_eq!(
            shown(command_line(&["audit", "--limit=x"]).into()),
            json!({"version": 1, "error": {
                "code": "usage",
                "message": "invalid value 'x' for '--limit <limit>': invalid digit found in string",
                "hint": "--help lists the commands and options",
            }})
        );
        let mut problems = Problems::default();
        problems.add("A is wrong");
        problems.add("B is wrong");
        assert_eq!(
            shown(UsageError::from(problems).into()),
            json!({"version": 1, "error": {
                "code": "usage",
                "message": "these options are invalid:\n  - A is wrong\n  - B is wrong",
                "hint": null,
            }})
        );
        let code = |error: CommandError| Failure::of(&error).code;
        assert_eq!(code(SetupError::Moved(Vec::new()).into()), "state_moved");
        assert_eq!(code(SetupError::Kafka(KafkaError::NoTopic("raw".to_owned())).into()), "no_topic");
        assert_eq!(code("the gateway answered 500".into()), "failed");
        assert_eq!(Failure::of(&command_line(&[]).into()).message, "there is no command in the arguments");
    }

    #[test]
    fn an_error_message_names_the_options_that_solve_the_problem() {
        let shown = |error: OperatorError| Failure::of(&error.into()).text();
        assert_eq!(
            shown(OperatorError::NoDeadLetter(Position::new(0, 7))),
            "there is no dead letter at 0:7; `dead-letters list --all --resolved` lists them"
        );
        let text = shown(OperatorError::HowToReplay(4));
        assert!(text.contains("--as-is") && text.contains("--remap") && text.starts_with("4 of"), "{text}");
        assert!(shown(OperatorError::EmptyRange).contains("--since"));
        assert!(shown(OperatorError::Expired { attempts: 3 }).contains("--since"));
    }
}
