//! An event that has ended.

use contract::Position;
use contract::dead_letter::Stage;

/// An event that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Time of the outcome: milliseconds since 1970.
    pub time: i64,
    /// Outcome of the event.
    pub outcome: Outcome,
    /// Id of the event; `None` for a body without one.
    pub event_id: Option<String>,
    /// Source of the event, if it is known.
    pub source: Option<String>,
    /// Channel and metric, for example `email_opened`, if they are known.
    pub event: Option<String>,
    /// Beginning of the person key, which is the same for all events of a person.
    pub person: Option<String>,
    /// Time from the gateway's receive time to the outcome, in milliseconds.
    pub age: Option<i64>,
}

/// Outcome of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Platform accepted the event.
    Accepted {
        /// Platform's id of the batch.
        batch_id: Option<String>,
    },
    /// The event became a dead letter.
    DeadLettered {
        /// Stage that wrote the dead letter.
        stage: Stage,
        /// Code of the reason.
        code: String,
        /// Position on the dead-letter topic.
        position: Position,
    },
}

impl Outcome {
    /// Returns the name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::DeadLettered { .. } => "dead_lettered",
        }
    }
}
