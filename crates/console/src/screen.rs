//! The five screens.

/// A screen of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    Overview,
    Events,
    DeadLetters,
    Proof,
    Connect,
}

impl Screen {
    /// All screens, in the order of the navigation.
    pub(crate) const ALL: [Self; 5] = [Self::Overview, Self::Events, Self::DeadLetters, Self::Proof, Self::Connect];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Events => "Events",
            Self::DeadLetters => "Dead letters",
            Self::Proof => "Proof",
            Self::Connect => "Connect",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Events => "/events",
            Self::DeadLetters => "/dead-letters",
            Self::Proof => "/proof",
            Self::Connect => "/connect",
        }
    }
}
