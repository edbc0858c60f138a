//! The parts of the overview in the form that the templates need.

use operator::status::Asked;

use crate::format::Moment;
use crate::overview::spark::Spark;

/// A state that pages show as a colour, a sign and a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::overview) enum State {
    Good,
    Unknown,
    Warning,
    Bad,
}

impl State {
    /// Returns the suffix of the CSS class.
    pub(in crate::overview) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "none",
            Self::Warning => "warn",
            Self::Bad => "bad",
        }
    }

    pub(in crate::overview) fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Unknown => "?",
            Self::Warning => "!",
            Self::Bad => "✕",
        }
    }
}

/// Overall state of the pipeline with a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Headline {
    pub(in crate::overview) state: State,
    pub(in crate::overview) title: &'static str,
    pub(in crate::overview) sentence: String,
    /// The first step to take.
    pub(in crate::overview) first: Option<String>,
    pub(in crate::overview) link: Option<Link>,
}

/// A link from a finding or the headline to a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::overview) struct Link {
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) text: &'static str,
}

/// A station of the pipeline: an external system, a service or a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Station {
    /// `outside`, `service` or `topic`, for the CSS class.
    pub(in crate::overview) kind: &'static str,
    pub(in crate::overview) name: &'static str,
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) state: State,
    /// The state as text.
    pub(in crate::overview) word: String,
    /// The main number; `unit` describes it.
    pub(in crate::overview) number: String,
    pub(in crate::overview) unit: &'static str,
    pub(in crate::overview) notes: Vec<String>,
}

/// A number with its sparkline of the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Chart {
    pub(in crate::overview) id: &'static str,
    pub(in crate::overview) label: &'static str,
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) value: String,
    pub(in crate::overview) note: String,
    pub(in crate::overview) spark: Spark,
}

/// A finding with its next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct FindingRow {
    pub(in crate::overview) state: State,
    pub(in crate::overview) word: &'static str,
    pub(in crate::overview) what: String,
    pub(in crate::overview) next: String,
    pub(in crate::overview) link: Option<Link>,
}

/// The unresolved dead letters with the same stage and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct DeadLetterRow {
    pub(in crate::overview) stage: String,
    pub(in crate::overview) code: String,
    pub(in crate::overview) href: String,
    pub(in crate::overview) count: String,
    pub(in crate::overview) oldest: Moment,
    pub(in crate::overview) newest: Moment,
}

/// A source with its last webhook and the state of its webhook in Customer.io.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct SourceRow {
    pub(in crate::overview) source: String,
    pub(in crate::overview) last: Option<Moment>,
    pub(in crate::overview) ago: String,
    pub(in crate::overview) state: State,
    pub(in crate::overview) webhook: String,
}

/// A run of the flow in Platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct RunRow {
    pub(in crate::overview) began: Option<Moment>,
    pub(in crate::overview) state: State,
    pub(in crate::overview) status: String,
    pub(in crate::overview) received: String,
    pub(in crate::overview) ingested: String,
    pub(in crate::overview) failed: String,
}

/// A list, with a sentence that explains an empty list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct List<T> {
    pub(in crate::overview) rows: Vec<T>,
    /// Sentence that is shown if there are no rows.
    pub(in crate::overview) instead: String,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct ServiceRow {
    pub(in crate::overview) name: String,
    pub(in crate::overview) address: String,
    pub(in crate::overview) version: String,
    pub(in crate::overview) state: State,
    pub(in crate::overview) health: String,
}

/// All data of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct View {
    pub(in crate::overview) at: Option<Moment>,
    pub(in crate::overview) headline: Headline,
    pub(in crate::overview) findings: Vec<FindingRow>,
    pub(in crate::overview) stations: Vec<Station>,
    pub(in crate::overview) charts: Vec<Chart>,
    pub(in crate::overview) dead_letters: List<DeadLetterRow>,
    pub(in crate::overview) sources: List<SourceRow>,
    pub(in crate::overview) runs: List<RunRow>,
    pub(in crate::overview) services: Vec<ServiceRow>,
}

/// Returns the state to show if there is no result.
pub(super) fn asked_state<T>(asked: &Asked<T>) -> (State, String) {
    match asked {
        Asked::Failed(_) => (State::Warning, "no answer".to_owned()),
        Asked::NotConfigured(_) | Asked::Answer(_) => (State::Unknown, "not asked".to_owned()),
    }
}
