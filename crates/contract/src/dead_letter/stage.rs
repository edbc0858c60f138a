//! The stages that write dead letters.

use std::fmt;

/// The stage that wrote a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The gateway could not store the body as a raw record.
    Gateway,
    /// The transformer could not map the raw record.
    Transformer,
    /// Platform refused the typed record, or the sink could not send it.
    Sink,
    /// Platform rejected the record after having accepted it.
    Platform,
}

impl Stage {
    /// All stages, in the order of the pipeline.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Transformer, Self::Sink, Self::Platform];

    /// Value of the header [`STAGE`](super::header::STAGE).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Transformer => "transformer",
            Self::Sink => "sink",
            Self::Platform => "platform",
        }
    }

    /// Returns the stage with this name; `None` if no stage has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
