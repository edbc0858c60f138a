//! Checks a whole connection. Each line contains the question, the result, the next step, and the person for it. Every
//! check runs, regardless of the results of the others.

mod customerio;
mod end_to_end;
mod gateway;
mod kafka;
mod objects;
mod option;
mod platform;
mod profile;

use std::collections::BTreeMap;
use std::time::Duration;

use ::platform::TokenProvider;
use jiff::Timestamp;
use reqwest::Url;
use secrecy::SecretString;
use sources::SourceName;

use crate::clients::Clients;
use crate::desired::{Desired, WebhookWish};
use crate::journal::Journal;
use crate::round_trip::RoundTrips;
use crate::settling::Settling;
use crate::who::Who;

pub use end_to_end::{
    NotSent, RECEIPT, RunSearch, Trace, no_source, not_sent, received, run_not_searched, run_of_flow,
};
pub use option::{invalid_option, missing_option};
pub use profile::{IN_PROFILE, ProfileSearch, event_in_profile, profile_not_searched};

/// The maximum time of one request.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is as it should be.
    Good,
    /// Information for a person; nothing is wrong.
    Note,
    /// It could not be checked, because of another finding.
    Skipped,
    /// The service did not answer.
    Unanswered,
    /// It is wrong.
    Bad,
}

impl Level {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Skipped => "skipped",
            Self::Unanswered => "unanswered",
            Self::Bad => "bad",
        }
    }
}

/// The next step, and the person who can take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// The person.
    pub who: Who,
    /// The instruction; for another person, a sentence to send to them.
    pub step: String,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// A stable name.
    pub id: &'static str,
    /// The question.
    pub asked: String,
    /// The result, in words.
    pub found: String,
    /// The result.
    pub level: Level,
    /// What to do, if something is to be done.
    pub next: Option<NextStep>,
}

impl Line {
    pub(crate) fn good(id: &'static str, asked: impl Into<String>, found: impl Into<String>) -> Self {
        Self { id, asked: asked.into(), found: found.into(), level: Level::Good, next: None }
    }

    pub(crate) fn note(id: &'static str, asked: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::good(id, asked, found) }
    }

    pub(crate) fn skipped(id: &'static str, asked: impl Into<String>, why: impl Into<String>) -> Self {
        Self { level: Level::Skipped, ..Self::good(id, asked, why) }
    }

    pub(crate) fn bad(
        id: &'static str,
        asked: impl Into<String>,
        found: impl Into<String>,
        who: Who,
        step: impl Into<String>,
    ) -> Self {
        let next = Some(NextStep { who, step: step.into() });
        Self { level: Level::Bad, next, ..Self::good(id, asked, found) }
    }

    /// Whether a later look can find something else: a new role becomes active, a service starts. Options are read once.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.level >= Level::Unanswered && !matches!(self.id, option::ID | "configuration" | "https")
    }

    pub(crate) fn unanswered(
        id: &'static str,
        asked: impl Into<String>,
        found: impl Into<String>,
        step: impl Into<String>,
    ) -> Self {
        Self { level: Level::Unanswered, ..Self::bad(id, asked, found, Who::You, step) }
    }
}

/// The values of the sink's configuration that are compared with the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// `PLATFORM_INLET_URL`.
    pub inlet_url: Option<String>,
    /// `PLATFORM_SCHEMA_ID`.
    pub schema_id: Option<String>,
    /// `PLATFORM_DATASET_ID`.
    pub dataset_id: Option<String>,
    /// `PLATFORM_FLOW_ID`.
    pub flow_id: Option<String>,
}

/// What a check needs. A part without a client is left out.
#[derive(Debug)]
pub struct Checks<'c> {
    /// The desired state. Parts of it can be absent because an option is missing.
    pub desired: &'c Desired,
    /// The sources whose webhooks are checked, also those for which an option is missing.
    pub sources: Vec<SourceName>,
    /// The address of Platform's APIs, if Platform is checked.
    pub platform_api: Option<Url>,
    /// The clients.
    pub clients: &'c Clients,
    /// The state file.
    pub journal: &'c Journal,
    /// The configuration of the sink.
    pub configured: Configured,
    /// A separate provider, because IMS's response is a line of the report.
    pub tokens: Option<TokenProvider>,
    /// How to reach Platform.
    pub http: Option<reqwest::Client>,
    /// The signing keys.
    pub keys: BTreeMap<SourceName, SecretString>,
    /// How to reach the public URLs.
    pub round_trips: RoundTrips,
    /// How long Platform loses events after a change.
    pub settling: Settling,
    /// How to reach Kafka, for a transaction.
    pub kafka: Option<::kafka::Connection>,
}

/// What the checks found out.
#[derive(Debug)]
pub struct Report {
    /// The findings.
    pub lines: Vec<Line>,
    /// What an event that is sent through the whole pipeline depends on.
    pub platform: Destination,
}

/// What is known of the destination of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// Whether events reach a production sandbox; `None` if that is not known, for example because the sink's options
    /// name other objects than those of the sandbox.
    pub is_production: Option<bool>,
    /// The time from which on Platform loses no event.
    pub not_before: Option<Timestamp>,
    /// The flow.
    pub flow_id: Option<String>,
    /// Whether the dataset is enabled for Profile; `None` if that is not known.
    pub has_profile: Option<bool>,
}

impl Checks<'_> {
    /// Runs all checks; the groups run at the same time.
    pub async fn run(&self) -> Report {
        let kafka = kafka::check(self);
        let ((platform, destination), customerio, gateway) =
            tokio::join!(platform::check(self), customerio::check(self), gateway::check(self));
        Report { lines: [kafka.await, platform, customerio, gateway].concat(), platform: destination }
    }

    /// The wish for a source's webhook; absent if an option is missing.
    fn wish(&self, source: &SourceName) -> Option<&WebhookWish> {
        self.desired.webhooks.iter().find(|wish| wish.source == *source)
    }
}

/// Waits for an answer, and no longer than [`TIMEOUT`].
pub(crate) async fn in_time<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(TIMEOUT, answer).await.ok()
}
