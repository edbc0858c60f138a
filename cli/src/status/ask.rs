//! Who is asked, according to the options.

use customerio_api::AppApiClient;
use kafka::Connection;
use operator::status::{AdminAddresses, Asked, FlowState, Look, TopicState, WebhookState};
use operator::status::{flow_state, look, topics, webhook_state};
use operator::{Pipeline, PipelineTopics};
use platform::control::ControlClient;
use tokio::task::block_in_place;

use crate::setup::connect::Connect;
use crate::setup::options::{ConnectArgs, Part};
use crate::topics::reachable;
use crate::{CommandError, UsageError, output};

/// What is outside of Kafka and the services.
pub(super) struct Outside {
    pub(super) flow: Asked<FlowState>,
    pub(super) webhooks: Asked<Vec<WebhookState>>,
}

/// Everything that is asked.
pub(super) struct Asking {
    services: AdminAddresses,
    http: reqwest::Client,
    kafka: Asked<(Connection, PipelineTopics)>,
    flow: Asked<(ControlClient, String)>,
    webhooks: Asked<Vec<WebhookQuestion>>,
}

/// The webhook of one source.
struct WebhookQuestion {
    client: AppApiClient,
    source: String,
    endpoint: reqwest::Url,
}

impl Asking {
    /// `flow_id` is the id of the sink's flow.
    pub(super) fn of(
        services: AdminAddresses,
        flow_id: Option<String>,
        mut connect: ConnectArgs,
    ) -> Result<Self, CommandError> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let kafka = kafka(&connect)?;
        let flow = flow(&mut connect, flow_id);
        let webhooks = webhooks(&mut connect);
        Ok(Self { services, http, kafka, flow, webhooks })
    }

    pub(super) async fn look(&self) -> Look {
        look(&self.services, &self.http).await
    }

    pub(super) fn topics(&self) -> Asked<TopicState> {
        ask(&self.kafka, |(connection, names)| {
            let pipeline = Pipeline { connection, topics: names, progress: &output::show_progress };
            let state = block_in_place(|| {
                reachable(connection)?;
                topics(pipeline)
            });
            output::progress_done();
            state.map_err(|error| error.to_string())
        })
    }

    pub(super) async fn outside(&self) -> Outside {
        let flow = match &self.flow {
            Asked::Answer((client, id)) => answered(flow_state(client, id).await),
            Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
            Asked::Failed(error) => Asked::Failed(error.clone()),
        };
        let webhooks = match &self.webhooks {
            Asked::Answer(questions) => {
                let mut states = Vec::with_capacity(questions.len());
                for WebhookQuestion { client, source, endpoint } in questions {
                    states.push(webhook_state(client, source, endpoint).await);
                }
                answered(states.into_iter().collect())
            }
            Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
            Asked::Failed(error) => Asked::Failed(error.clone()),
        };
        Outside { flow, webhooks }
    }
}

fn answered<T>(result: Result<T, String>) -> Asked<T> {
    match result {
        Ok(answer) => Asked::Answer(answer),
        Err(error) => Asked::Failed(error),
    }
}

fn ask<Q, T>(question: &Asked<Q>, of: impl FnOnce(&Q) -> Result<T, String>) -> Asked<T> {
    match question {
        Asked::Answer(question) => answered(of(question)),
        Asked::NotConfigured(what) => Asked::NotConfigured(what.clone()),
        Asked::Failed(error) => Asked::Failed(error.clone()),
    }
}

fn not_set(variable: &str) -> String {
    format!("{variable} is not set")
}

fn kafka(args: &ConnectArgs) -> Result<Asked<(Connection, PipelineTopics)>, UsageError> {
    if args.kafka.bootstrap_servers.is_none() {
        return Ok(Asked::NotConfigured(not_set("KAFKA_BOOTSTRAP_SERVERS")));
    }
    let connection = args.kafka.connection("customerio-aep");
    let connection = connection.map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
    let topics = PipelineTopics {
        raw: args.topics.raw_topic.clone(),
        typed: args.topics.typed_topic.clone(),
        dead_letters: args.topics.dead_letter_topic.clone(),
        receipts: args.topics.receipts_topic.0.clone(),
    };
    Ok(Asked::Answer((connection, topics)))
}

fn flow(args: &mut ConnectArgs, id: Option<String>) -> Asked<(ControlClient, String)> {
    let platform = &args.platform;
    let Some(id) = id else { return Asked::NotConfigured(not_set("PLATFORM_FLOW_ID")) };
    if platform.ims.ims_client_id.is_none() && platform.setup_ims_client_id.is_none() {
        return Asked::NotConfigured(not_set("IMS_CLIENT_ID"));
    }
    if platform.platform_sandbox.is_none() {
        return Asked::NotConfigured(not_set("PLATFORM_SANDBOX"));
    }
    args.only = vec![Part::Platform];
    match Connect::of(args) {
        Ok(Connect { clients, .. }) => match clients.platform {
            Some(client) => Asked::Answer((client, id)),
            None => Asked::Failed("the options name no credential".to_owned()),
        },
        Err(error) => Asked::Failed(error.to_string()),
    }
}

fn webhooks(args: &mut ConnectArgs) -> Asked<Vec<WebhookQuestion>> {
    let customerio = &args.customerio;
    let has_key = customerio.app_api_key.is_some() || customerio.app_api_key_file.is_some();
    if !has_key && customerio.sources_file.is_none() {
        return Asked::NotConfigured(not_set("CUSTOMERIO_APP_API_KEY"));
    }
    if customerio.customerio_public_url.is_none() && customerio.sources_file.is_none() {
        return Asked::NotConfigured(not_set("CUSTOMERIO_PUBLIC_URL"));
    }
    args.only = vec![Part::Customerio];
    let connect = match Connect::of(args) {
        Ok(connect) => connect,
        Err(error) => return Asked::Failed(error.to_string()),
    };
    let Connect { desired, mut clients, .. } = connect;
    let question = |wish: setup::desired::WebhookWish| {
        let client = clients.customerio.remove(&wish.source)?;
        Some(WebhookQuestion { client, source: wish.source.to_string(), endpoint: wish.endpoint })
    };
    Asked::Answer(desired.webhooks.into_iter().filter_map(question).collect())
}
