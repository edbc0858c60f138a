//! What is asked, and the status that is computed from it.

use super::asked::Asked;
use super::look::Look;
use super::outside::{FlowState, WebhookState};
use super::services::{Hold, ServiceState, Wait};
use super::severity::{Finding, Severity};
use super::topics::{LastWebhook, TopicState};
use super::traffic::{Backlog, EventAge, Rates};
use crate::dead_letters::Group;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The services.
    pub now: Look,
    /// The services shortly before, for rates.
    pub before: Option<Look>,
    /// The services a while before, for the age of events.
    pub a_while_before: Option<Look>,
    /// Kafka.
    pub topics: Asked<TopicState>,
    /// The flow in Platform.
    pub flow: Asked<FlowState>,
    /// The webhooks in Customer.io.
    pub webhooks: Asked<Vec<WebhookState>>,
}

/// The state of everything.
#[derive(Debug, Clone)]
pub struct Status {
    /// When: milliseconds since 1970.
    pub at: i64,
    /// Each admin address.
    pub services: Vec<ServiceState>,
    /// Events per second.
    pub rates: Rates,
    /// What waits for the transformers.
    pub raw: Backlog,
    /// What waits for the sinks.
    pub typed: Backlog,
    /// How old events are when Platform accepts them.
    pub event_age: Option<EventAge>,
    /// What is held until a person acts.
    pub holds: Vec<Hold>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// Addresses and files whose current content is not used.
    pub reload_broken: Vec<(String, String)>,
    /// Topics with partitions that no service reads, and how many.
    pub unread: Vec<(String, u64)>,
    /// Records that expired before they were read.
    pub expired: f64,
    /// Unresolved dead letters.
    pub dead_letters: Asked<Vec<Group>>,
    /// The last webhook of each source.
    pub last_webhooks: Asked<Vec<LastWebhook>>,
    /// Topics that do not exist.
    pub missing_topics: Vec<String>,
    /// The flow in Platform.
    pub flow: Asked<FlowState>,
    /// The webhooks in Customer.io.
    pub webhooks: Asked<Vec<WebhookState>>,
    /// What a person should know, the worst first.
    pub findings: Vec<Finding>,
}

impl Status {
    /// The worst finding.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}
