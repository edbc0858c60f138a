//! An event that has ended.

use contract::Position;
use contract::dead_letter::Stage;

/// An event that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When: milliseconds since 1970.
    pub time: i64,
    /// How.
    pub outcome: Outcome,
    /// Its id; `None` for a body without one.
    pub event_id: Option<String>,
    /// Its source, if that is known.
    pub source: Option<String>,
    /// Channel and metric, for example `email_opened`, if they are known.
    pub event: Option<String>,
    /// The beginning of the hash of its person's id: the same for all events of a person.
    pub person: Option<String>,
    /// How long after the gateway received it, in milliseconds.
    pub age: Option<i64>,
}

/// How an event ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Platform accepted it.
    Accepted {
        /// Platform's id of the batch.
        batch_id: Option<String>,
    },
    /// It is a dead letter.
    DeadLettered {
        /// The stage that wrote it.
        stage: Stage,
        /// The reason's code.
        code: String,
        /// Its position on the dead-letter topic.
        position: Position,
    },
}

impl Outcome {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::DeadLettered { .. } => "dead_lettered",
        }
    }
}
