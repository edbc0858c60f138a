//! The clients of a run, and the progress reports of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use customerio_api::AppApiClient;
use kafka::topic::Topics;
use platform::control::ControlClient;
use schema_registry::SchemaRegistry;
use sources::SourceName;

use crate::key::{Key, Target};
use crate::plan::Change;

/// Clients of the services that the run reads and changes. A service without a client is neither read nor changed.
#[derive(Debug)]
pub struct Clients {
    /// Client of the Kafka brokers.
    pub kafka: Option<Topics>,
    /// Client of the Schema Registry.
    pub registry: Option<SchemaRegistry>,
    /// Client of Experience Platform's APIs.
    pub platform: Option<ControlClient>,
    /// Clients of Customer.io by source, because each source has its own App API key.
    pub customerio: BTreeMap<SourceName, AppApiClient>,
    /// Time for which a webhook can still appear after a create request without a response: the time-out of that
    /// request.
    pub webhook_appears_within: Duration,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            kafka: None,
            registry: None,
            platform: None,
            customerio: BTreeMap::new(),
            webhook_appears_within: Duration::from_secs(10),
        }
    }
}

/// A progress report of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The run reads the state of a service.
    Looking(Target),
    /// The run begins a step.
    Begins {
        /// The object that the step changes.
        key: Key,
        /// The kind of the change.
        change: Change,
    },
    /// A step succeeded.
    Done {
        /// The object that was changed.
        key: Key,
        /// The kind of the change.
        change: Change,
        /// The object's id in the service.
        id: String,
    },
    /// The run waits because an object is not visible yet, or because a response is missing and the object must be read
    /// again.
    Waits {
        /// The object that the run waits for.
        key: Key,
        /// The reason as text.
        reason: &'static str,
    },
    /// A step for one source or service failed. The run continues with the other sources and services.
    Failed {
        /// The object whose step failed.
        key: Key,
        /// The error as text.
        reason: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looking(target) => write!(f, "looking at {target}"),
            Self::Begins { key, change } => write!(f, "{} {key} …", change.sign()),
            Self::Done { key, change, id } => write!(f, "{} {key}: {id}", change.sign()),
            Self::Waits { key, reason } => write!(f, "  {key}: {reason}"),
            Self::Failed { key, reason } => write!(f, "! {key}: {reason}"),
        }
    }
}

/// Callback for the progress reports of a run. The library prints nothing itself.
pub type Report<'r> = &'r mut (dyn FnMut(Progress) + Send);
