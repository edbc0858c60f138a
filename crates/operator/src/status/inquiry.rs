//! Runs the queries of a status with the configured connections and clients.

use contract::PipelineTopics;
use customerio_api::{AppApiClient, Webhook};
use kafka::topic::Topics;
use kafka::{Connection, KafkaError};
use platform::control::ControlClient;
use reqwest::Url;
use std::time::Duration;

use super::admin::{AdminAddresses, look};
use super::asked::Asked;
use super::look::Look;
use super::outside::{FlowState, WebhookState, flow_state, webhook_state};
use super::topics::{TopicState, topics};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;
use crate::progress::OnProgress;

/// Maximum time until a broker responds to the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(8);

/// Access to the reporting webhook of a source.
#[derive(Debug)]
pub struct WebhookAccess {
    /// Name of the source.
    pub source: String,
    /// Client for Customer.io and the endpoint of the webhook. `NotConfigured` names the options that are not set,
    /// `Failed` those that are invalid.
    pub access: Asked<(AppApiClient, Url)>,
    /// Function that returns whether a webhook was disabled after it had been enabled.
    pub is_paused: fn(&Webhook) -> bool,
}

/// State of the systems outside of Kafka and the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// State of the flow in Platform.
    pub flow: Asked<FlowState>,
    /// State of the reporting webhooks in Customer.io.
    pub webhooks: Asked<Vec<WebhookState>>,
}

/// All queries of a status.
#[derive(Debug)]
pub struct Inquiry {
    /// The admin addresses of the services.
    pub services: AdminAddresses,
    /// HTTP client for the admin addresses, from [`super::client`].
    pub http: reqwest::Client,
    /// Connection to the brokers, and names of the topics.
    pub kafka: Asked<(Connection, PipelineTopics)>,
    /// Client for Platform, and id of the sink's flow.
    pub flow: Asked<(ControlClient, String)>,
    /// Access to the reporting webhook of each source.
    pub webhooks: Asked<Vec<WebhookAccess>>,
}

impl Inquiry {
    /// Queries the services.
    pub async fn look(&self) -> Look {
        look(&self.services, &self.http).await
    }

    /// Reads the topics. The call blocks.
    pub fn topics(&self, progress: OnProgress<'_>) -> Asked<TopicState> {
        match &self.kafka {
            Asked::Answer((connection, names)) => {
                let pipeline = Pipeline { connection, topics: names, progress };
                let state = reachable(connection).map_err(OperatorError::from).and_then(|()| topics(pipeline));
                answered(state.map_err(|error| error.to_string()))
            }
            Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
            Asked::Failed(error) => Asked::Failed(error.clone()),
        }
    }

    /// Queries Platform and Customer.io.
    pub async fn outside(&self) -> Outside {
        let flow = match &self.flow {
            Asked::Answer((client, id)) => answered(flow_state(client, id).await),
            Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
            Asked::Failed(error) => Asked::Failed(error.clone()),
        };
        let webhooks = match &self.webhooks {
            Asked::Answer(questions) => {
                let mut states = Vec::with_capacity(questions.len());
                for WebhookAccess { source, access, is_paused } in questions {
                    let not_asked = |is_enabled| WebhookState { source: source.clone(), is_enabled, is_paused: false };
                    states.push(match access {
                        Asked::Answer((client, endpoint)) => webhook_state(source, client, endpoint, *is_paused).await,
                        Asked::NotConfigured(missing) => not_asked(Asked::NotConfigured(missing.clone())),
                        Asked::Failed(invalid) => not_asked(Asked::Failed(invalid.clone())),
                    });
                }
                Asked::Answer(states)
            }
            Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
            Asked::Failed(error) => Asked::Failed(error.clone()),
        };
        Outside { flow, webhooks }
    }
}

/// Checks that a broker responds within [`FIRST_ANSWER`]. Without this check, unreachable brokers would be reported
/// later.
fn reachable(connection: &Connection) -> Result<(), KafkaError> {
    Topics::new(connection)?.brokers(FIRST_ANSWER).map(drop)
}

fn answered<T>(result: Result<T, String>) -> Asked<T> {
    match result {
        Ok(answer) => Asked::Answer(answer),
        Err(error) => Asked::Failed(error),
    }
}
