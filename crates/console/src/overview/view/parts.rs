//! The parts of the page, as its templates show them.

use operator::status::Asked;

use crate::format::Moment;
use crate::overview::spark::Spark;

/// How something is. A sign and a word say it as well as the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::overview) enum State {
    Good,
    Unknown,
    Warning,
    Bad,
}

impl State {
    /// The ending of a class.
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

/// The sentence on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Headline {
    pub(in crate::overview) state: State,
    pub(in crate::overview) title: &'static str,
    pub(in crate::overview) sentence: String,
    /// What to do first.
    pub(in crate::overview) first: Option<String>,
    pub(in crate::overview) link: Option<Link>,
}

/// Where a number or a finding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::overview) struct Link {
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) text: &'static str,
}

/// A station of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Station {
    /// `outside`, `service` or `topic`, for its class.
    pub(in crate::overview) kind: &'static str,
    pub(in crate::overview) name: &'static str,
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) state: State,
    /// The state in words.
    pub(in crate::overview) word: String,
    /// The main number, and what it counts.
    pub(in crate::overview) number: String,
    pub(in crate::overview) unit: &'static str,
    pub(in crate::overview) notes: Vec<String>,
}

/// A number with its line of the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct Chart {
    pub(in crate::overview) id: &'static str,
    pub(in crate::overview) label: &'static str,
    pub(in crate::overview) href: &'static str,
    pub(in crate::overview) value: String,
    pub(in crate::overview) note: String,
    pub(in crate::overview) spark: Spark,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct FindingRow {
    pub(in crate::overview) state: State,
    pub(in crate::overview) word: &'static str,
    pub(in crate::overview) what: String,
    pub(in crate::overview) next: String,
    pub(in crate::overview) link: Option<Link>,
}

/// The unresolved dead letters of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct DeadLetterRow {
    pub(in crate::overview) stage: String,
    pub(in crate::overview) code: String,
    pub(in crate::overview) href: String,
    pub(in crate::overview) count: String,
    pub(in crate::overview) oldest: Moment,
    pub(in crate::overview) newest: Moment,
}

/// A source, and its webhook in Customer.io.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct SourceRow {
    pub(in crate::overview) source: String,
    pub(in crate::overview) last: Option<Moment>,
    pub(in crate::overview) ago: String,
    pub(in crate::overview) state: State,
    pub(in crate::overview) webhook: String,
}

/// An hour of the flow in Platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct RunRow {
    pub(in crate::overview) began: Option<Moment>,
    pub(in crate::overview) state: State,
    pub(in crate::overview) status: String,
    pub(in crate::overview) received: String,
    pub(in crate::overview) ingested: String,
    pub(in crate::overview) failed: String,
}

/// A list, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::overview) struct List<T> {
    pub(in crate::overview) rows: Vec<T>,
    /// A sentence in place of rows.
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

/// Everything on the page.
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

/// The state of something that gave no answer.
pub(super) fn asked_state<T>(asked: &Asked<T>) -> (State, String) {
    match asked {
        Asked::Failed(_) => (State::Warning, "no answer".to_owned()),
        Asked::NotConfigured(_) | Asked::Answer(_) => (State::Unknown, "not asked".to_owned()),
    }
}
