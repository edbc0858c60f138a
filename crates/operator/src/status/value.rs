//! Input and result of the status computation.

use super::asked::Asked;
use super::look::Look;
use super::outside::{FlowState, WebhookState};
use super::services::{Hold, ServiceState, Wait};
use super::severity::{Finding, Severity};
use super::topics::{LastWebhook, TopicState};
use super::traffic::{Backlog, EventAge, Rates};
use crate::dead_letters::Group;

/// Results of all queries.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Current responses of the services.
    pub now: Look,
    /// Previous responses of the services, to compute rates.
    pub before: Option<Look>,
    /// Responses of the services about a minute ago, to compute the age of events.
    pub a_while_before: Option<Look>,
    /// State of the topics.
    pub topics: Asked<TopicState>,
    /// State of the flow in Platform.
    pub flow: Asked<FlowState>,
    /// State of the reporting webhooks in Customer.io.
    pub webhooks: Asked<Vec<WebhookState>>,
}

/// Status of the whole system.
#[derive(Debug, Clone)]
pub struct Status {
    /// Time of the status: milliseconds since 1970.
    pub at: i64,
    /// State of the service at each admin address.
    pub services: Vec<ServiceState>,
    /// Events per second at each service.
    pub rates: Rates,
    /// Records that wait for the transformers.
    pub raw: Backlog,
    /// Records that wait for the sinks.
    pub typed: Backlog,
    /// Age of events at the time when Platform accepts them.
    pub event_age: Option<EventAge>,
    /// Holds that last until a person acts.
    pub holds: Vec<Hold>,
    /// External dependencies that services wait for.
    pub waits: Vec<Wait>,
    /// Addresses of services that cannot use the current content of a file, with the names of the files.
    pub reload_broken: Vec<(String, String)>,
    /// Topics with partitions that no service reads, and the number of these partitions.
    pub unread: Vec<(String, u64)>,
    /// Number of records that expired before they were read.
    pub expired: f64,
    /// Unresolved dead letters, by stage and code.
    pub dead_letters: Asked<Vec<Group>>,
    /// The last webhook of each source.
    pub last_webhooks: Asked<Vec<LastWebhook>>,
    /// Names of the topics that do not exist.
    pub missing_topics: Vec<String>,
    /// State of the flow in Platform.
    pub flow: Asked<FlowState>,
    /// State of the reporting webhooks in Customer.io.
    pub webhooks: Asked<Vec<WebhookState>>,
    /// Findings, the most severe ones first.
    pub findings: Vec<Finding>,
}

impl Status {
    /// Returns the highest severity of the findings.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}
