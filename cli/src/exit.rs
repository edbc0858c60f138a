//! The result of a command, and the exit code for it.

use std::fmt;
use std::process::ExitCode;

use kafka::KafkaError;
use operator::OperatorError;
use setup::error::SetupError;

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

/// Error for arguments that cannot be used.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for UsageError {}

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

/// Returns the exit code of a command. An error is also printed on standard error.
pub(crate) fn exit_code(result: &Result<Verdict, CommandError>) -> ExitCode {
    if let Err(error) = result {
        crate::output::problem(&format!("customerio-aep: {}", words(error)));
    }
    code(result).into()
}

fn code(result: &Result<Verdict, CommandError>) -> Code {
    match result {
        Ok(Verdict::Good) => Code::Good,
        Ok(Verdict::Problem) => Code::Problem,
        Ok(Verdict::UsageError) => Code::Usage,
        Ok(Verdict::Unanswered) => Code::NoAnswer,
        Ok(Verdict::Waiting) => Code::Waiting,
        Err(error) if error.is::<UsageError>() => Code::Usage,
        Err(error) if error.is::<Interrupted>() => Code::Interrupted,
        Err(error) => {
            if let Some(error) = error.downcast_ref::<OperatorError>() {
                operator_code(error)
            } else if let Some(error) = error.downcast_ref::<SetupError>() {
                setup_code(error)
            } else if let Some(error) = error.downcast_ref::<KafkaError>() {
                kafka_code(error)
            } else {
                Code::Problem
            }
        }
    }
}

fn setup_code(error: &SetupError) -> Code {
    match error {
        SetupError::Kafka(error) => kafka_code(error),
        error if error.is_unanswered() => Code::NoAnswer,
        _ => Code::Problem,
    }
}

fn operator_code(error: &OperatorError) -> Code {
    match error {
        OperatorError::Kafka(error) => kafka_code(error),
        OperatorError::EmptyRange
        | OperatorError::NoPartition { .. }
        | OperatorError::NoDeadLetter(_)
        | OperatorError::HowToReplay(_) => Code::Usage,
        OperatorError::MoreThanConfirmed { .. } => Code::Problem,
        OperatorError::Expired { .. } | OperatorError::ReaderFailed => Code::NoAnswer,
    }
}

fn kafka_code(error: &KafkaError) -> Code {
    match error {
        // The brokers have responded: the requested topic does not exist, or has a problem.
        KafkaError::NoTopic(_) | KafkaError::TooFewPartitions { .. } => Code::Problem,
        KafkaError::Configuration(_) => Code::Usage,
        _ => Code::NoAnswer,
    }
}

/// The text of an error, with options of this tool that help.
fn words(error: &CommandError) -> String {
    let hint = match error.downcast_ref::<OperatorError>() {
        Some(OperatorError::EmptyRange) => " (--since and --until)",
        Some(OperatorError::NoPartition { .. }) => " (--offsets)",
        Some(OperatorError::NoDeadLetter(_)) => "; `dead-letters list --all --resolved` lists them",
        Some(OperatorError::HowToReplay(_)) => {
            ". Add --as-is to send them to Platform as they are, or --remap to map their webhooks again (or choose others, for example with --stage transformer)"
        }
        Some(OperatorError::Expired { .. }) => " (--since)",
        // Only the console lets a person confirm a number of dead letters, so no command returns `MoreThanConfirmed`.
        Some(OperatorError::Kafka(_) | OperatorError::ReaderFailed | OperatorError::MoreThanConfirmed { .. })
        | None => "",
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use contract::{Partition, Position};

    use super::*;

    fn of(error: impl Into<CommandError>) -> u8 {
        code(&Err(error.into())) as u8
    }

    #[test]
    fn each_result_has_its_documented_exit_code() {
        assert_eq!(
            [Verdict::Good, Verdict::Problem, Verdict::UsageError, Verdict::Unanswered, Verdict::Waiting]
                .map(|verdict| code(&Ok(verdict)) as u8),
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
            assert_eq!(operator_code(&OperatorError::Kafka(error)) as u8, expected);
        }
        assert_eq!((of(unreachable()), of(KafkaError::NoTopic("raw".to_owned()))), (3, 1));
    }

    #[test]
    fn an_error_message_contains_the_options_that_help() {
        let shown = |error: OperatorError| words(&error.into());
        assert_eq!(
            shown(OperatorError::NoDeadLetter(Position::new(0, 7))),
            "there is no dead letter at 0:7; `dead-letters list --all --resolved` lists them"
        );
        let text = shown(OperatorError::HowToReplay(4));
        assert!(text.contains("--as-is") && text.contains("--remap") && text.starts_with("4 of"), "{text}");
        assert!(shown(OperatorError::EmptyRange).contains("--since"));
    }
}
