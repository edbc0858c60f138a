//! The errors that end a run of `setup` early.

use customerio_api::{ApiError, CreateError};
use kafka::KafkaError;
use platform::control::{ControlError, ErrorKind};
use schema_registry::RegistryError;

use crate::journal::JournalError;
use crate::key::Key;
use crate::refusal::Refusal;
use crate::who::Who;

/// The reason why a run ended early. The message contains the cause and the remedy. Another run completes incomplete
/// objects.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A person has to decide something first.
    #[error("{}", numbered(.0))]
    Refused(Vec<Refusal>),
    /// The state has changed since the plan was made. The texts describe the changes.
    #[error("the state has moved since the plan was made: {}. Nothing was changed; make a new plan", .0.join("; "))]
    Moved(Vec<String>),
    /// A request to Experience Platform failed.
    #[error("{0}")]
    Platform(ControlError),
    /// A request to Customer.io failed.
    #[error("{0}")]
    CustomerIo(ApiError),
    /// A webhook was not created.
    #[error("{0}")]
    CreateWebhook(CreateError),
    /// A request to Kafka failed.
    #[error("{0}")]
    Kafka(KafkaError),
    /// A request to the Schema Registry failed.
    #[error("{0}")]
    Registry(RegistryError),
    /// The state file cannot be used.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// An object does not reach its desired state after all attempts.
    #[error(
        "the {key} is still not as planned after {attempts} attempts; the last answer was: {last}. Run this again in a few \
         minutes; if it persists, report it"
    )]
    NoProgress {
        /// The object without progress.
        key: Key,
        /// Number of attempts.
        attempts: u32,
        /// The last error, or method and path of the last request.
        last: String,
    },
    /// The credential lacks permissions that the plan needs.
    #[error(
        "this credential lacks these permissions in the sandbox: {}. An Adobe administrator adds them to a role with this \
         sandbox, and the credential to the role (Permissions > Roles > API credentials); a new role can take 15 minutes",
        .0.join("; ")
    )]
    MissingPermissions(Vec<String>),
    /// The plan contains an object of a service for which the caller provided no client.
    #[error("the {0} is part of the plan, and there is no client for it; this is a defect, please report it")]
    NoClient(Key),
}

impl From<ControlError> for SetupError {
    fn from(error: ControlError) -> Self {
        Self::Platform(error)
    }
}

impl From<ApiError> for SetupError {
    fn from(error: ApiError) -> Self {
        Self::CustomerIo(error)
    }
}

impl From<KafkaError> for SetupError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

impl From<RegistryError> for SetupError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl SetupError {
    /// Returns true if a service did not respond, denied access or made no progress, as opposed to a rejected request or
    /// a decision that a person has to make.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        match self {
            Self::Platform(error) => !matches!(
                &*error.kind,
                ErrorKind::Rejected { .. } | ErrorKind::AlreadyExists { .. } | ErrorKind::ChangedMeanwhile(_)
            ),
            Self::CustomerIo(error) => !matches!(error, ApiError::Rejected { .. }),
            Self::CreateWebhook(_) | Self::Registry(_) | Self::NoProgress { .. } => true,
            Self::Kafka(error) => !matches!(
                error,
                KafkaError::NoTopic(_) | KafkaError::TooFewPartitions { .. } | KafkaError::Configuration(_)
            ),
            Self::Refused(_) | Self::Moved(_) | Self::Journal(_) | Self::NoClient(_) | Self::MissingPermissions(_) => {
                false
            }
        }
    }

    /// An identifier for machine-readable output.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusals) => refusals.first().map_or("refused", Refusal::code),
            Self::Moved(_) => "state_moved",
            Self::Platform(_) => "platform",
            Self::CustomerIo(error) => error.code(),
            Self::CreateWebhook(_) => "create_webhook",
            Self::Kafka(_) => "kafka",
            Self::Registry(_) => "schema_registry",
            Self::Journal(_) => "state_file",
            Self::NoProgress { .. } => "no_progress",
            Self::NoClient(_) => "defect",
            Self::MissingPermissions(_) => "missing_permissions",
        }
    }

    /// The person who can fix the cause.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Self::Refused(refusals) => refusals.first().map_or(Who::You, Refusal::who),
            Self::MissingPermissions(_) => Who::AdobeAdministrator,
            Self::Platform(error) => error.remedy().who.into(),
            Self::CustomerIo(error) => error.remedy().into(),
            Self::CreateWebhook(CreateError::NotCreated(error)) => error.remedy().into(),
            _ => Who::You,
        }
    }
}

fn numbered(refusals: &[Refusal]) -> String {
    match refusals {
        [only] => only.to_string(),
        several => {
            let line = |(number, refusal): (usize, &Refusal)| format!("\n  {}. {refusal}", number + 1);
            let lines: String = several.iter().enumerate().map(line).collect();
            format!("a person has to decide first:{lines}")
        }
    }
}
