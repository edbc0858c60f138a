//! The clients of a run, and its progress reports.

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

/// The clients for the wanted parts. A part without a client is not looked at.
#[derive(Debug)]
pub struct Clients {
    /// Kafka.
    pub kafka: Option<Topics>,
    /// The Schema Registry.
    pub registry: Option<SchemaRegistry>,
    /// Experience Platform.
    pub platform: Option<ControlClient>,
    /// Customer.io, by source: each has a key of its own.
    pub customerio: BTreeMap<SourceName, AppApiClient>,
    /// How long after a create without an answer a webhook may still appear: the time-out of a request.
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

/// A report during a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The state of a part is being read.
    Looking(Target),
    /// A step begins.
    Begins {
        /// The object.
        key: Key,
        /// The change.
        change: Change,
    },
    /// An object is as it should be.
    Done {
        /// The object.
        key: Key,
        /// The change that was made.
        change: Change,
        /// Its id.
        id: String,
    },
    /// An object was changed and is not visible yet, or a response is missing, so the object is looked up again.
    Waits {
        /// The object.
        key: Key,
        /// The reason.
        reason: &'static str,
    },
    /// A step for one source failed; the other sources continue.
    Failed {
        /// The object.
        key: Key,
        /// The reason.
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

/// Receives the reports of a run. The library prints nothing itself.
pub type Report<'r> = &'r mut (dyn FnMut(Progress) + Send);
