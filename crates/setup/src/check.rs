//! Checks a whole connection from Customer.io to Platform. Each line of the report contains the question, the result,
//! the next step, and the person who can take this step. Every check runs, whatever the other checks find.

mod customerio;
mod end_to_end;
mod gateway;
mod inlet;
mod kafka;
mod limits;
mod objects;
mod option;
mod platform;
mod profile;

use std::collections::{BTreeMap, BTreeSet};
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
pub use limits::SinkRates;
pub use option::{invalid_option, missing_option};
pub use profile::{IN_PROFILE, ProfileSearch, event_in_profile, profile_not_searched};

/// Time limit of one request.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The subject of the check is as it should be.
    Good,
    /// Information for a person; nothing is wrong.
    Note,
    /// The check did not run; the line contains the reason.
    Skipped,
    /// The service did not respond.
    Unanswered,
    /// The subject of the check is wrong.
    Bad,
}

impl Level {
    /// The level's name in JSON.
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

/// An instruction, and the person who can follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// The person who can take the step.
    pub who: Who,
    /// The instruction; for another person, a sentence to send to them.
    pub step: String,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Stable identifier of the check, for machine-readable output.
    pub id: &'static str,
    /// The subject or question of the check, such as "the Kafka brokers".
    pub asked: String,
    /// The result as text.
    pub found: String,
    /// The result as a level.
    pub level: Level,
    /// The next step; `None` if nothing needs to be done.
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

    /// Returns true if the same check can pass later, for example because a role becomes active or a service starts.
    /// A finding about the options alone cannot pass, because a command reads its options only once.
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

/// Values of the sink's configuration. The ids and the inlet are compared with the objects in Platform, the rates with
/// the documented limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// Value of `PLATFORM_INLET_URL`.
    pub inlet_url: Option<String>,
    /// Value of `PLATFORM_SCHEMA_ID`.
    pub schema_id: Option<String>,
    /// Value of `PLATFORM_DATASET_ID`.
    pub dataset_id: Option<String>,
    /// Value of `PLATFORM_FLOW_ID`.
    pub flow_id: Option<String>,
    /// The rate limits of the sink; `None` if the sink's configuration cannot be read.
    pub rates: Option<SinkRates>,
}

/// Input of the checks. A service without a client is not checked.
#[derive(Debug)]
pub struct Checks<'c> {
    /// The desired state. It lacks the parts for which an option is missing.
    pub desired: &'c Desired,
    /// The sources whose webhooks are checked, including those for which an option is missing.
    pub sources: Vec<SourceName>,
    /// The sources whose file with the signing key exists but cannot be used. The caller reports the file.
    pub unreadable_keys: BTreeSet<SourceName>,
    /// Base address of Platform's APIs; `None` if Platform is not checked.
    pub platform_api: Option<Url>,
    /// Clients of the services that are checked.
    pub clients: &'c Clients,
    /// The journal in the state file.
    pub journal: &'c Journal,
    /// Values of the sink's configuration.
    pub configured: Configured,
    /// Provider of access tokens for the report's line about IMS. The Platform client has its own provider.
    pub tokens: Option<TokenProvider>,
    /// HTTP client for requests to Platform without a token.
    pub http: Option<reqwest::Client>,
    /// The signing key of each source.
    pub keys: BTreeMap<SourceName, SecretString>,
    /// Sender of signed test requests to the public URLs.
    pub round_trips: RoundTrips,
    /// How long Platform loses events after a change of a flow or schema.
    pub settling: Settling,
    /// Connection to Kafka. Without one, the brokers are not checked.
    pub kafka: Option<::kafka::Connection>,
}

/// The result of all checks.
#[derive(Debug)]
pub struct Report {
    /// The lines of all checks, in the order of the report.
    pub lines: Vec<Line>,
    /// Facts about Platform on which a test event through the whole pipeline depends.
    pub platform: Destination,
}

/// Facts about the destination of events, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// True if events reach a production sandbox; `None` if it is not known which sandbox they reach, for example
    /// because the ids in the sink's options are not those of the objects in the checked sandbox.
    pub is_production: Option<bool>,
    /// End of the time in which Platform loses events after a change of the flow or schema.
    pub not_before: Option<Timestamp>,
    /// Id of the flow.
    pub flow_id: Option<String>,
    /// True if the dataset is enabled for Profile; `None` if that is not known.
    pub has_profile: Option<bool>,
}

impl Checks<'_> {
    /// Runs all checks. The checks of different services run concurrently.
    pub async fn run(&self) -> Report {
        let (kafka, (platform, destination), customerio, gateway) = tokio::join!(
            Box::pin(kafka::check(self)),
            Box::pin(platform::check(self)),
            Box::pin(customerio::check(self)),
            Box::pin(gateway::check(self))
        );
        let limits = limits::lines(self, &destination);
        Report { lines: [kafka, platform, customerio, gateway, limits].concat(), platform: destination }
    }

    /// The desired webhook of a source; `None` if an option is missing.
    fn wish(&self, source: &SourceName) -> Option<&WebhookWish> {
        self.desired.webhooks.iter().find(|wish| wish.source == *source)
    }
}

/// Waits for a response, but not longer than [`TIMEOUT`].
pub(crate) async fn in_time<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(TIMEOUT, answer).await.ok()
}
