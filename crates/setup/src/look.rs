//! Reads the state of the services, and changes nothing.

mod objects;
mod platform;

use std::collections::BTreeMap;
use std::time::Duration;

use customerio_api::{ApiError, AppApiClient};
use kafka::topic::Topics;
use kafka::{KafkaError, TopicName};
use schema_registry::SchemaRegistry;
use sources::SourceName;

use crate::clients::{Clients, Progress, Report};
use crate::desired::{Desired, WebhookWish};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::{Key, Target};
use crate::observed::{Observed, ObservedKafka, ObservedSubject, ObservedTopic, ObservedWorkspace};
use crate::topics::TopicWish;

pub(crate) use objects::look_again;
pub(crate) use platform::{look_at_platform, sandbox_of};

/// Time-out of a request to the brokers.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(8);

/// Reads the current state of every object in the desired state.
///
/// # Errors
/// [`SetupError`] if a service does not respond. The problem of a single source is in its [`ObservedWorkspace`].
pub async fn look(
    desired: &Desired,
    clients: &Clients,
    journal: &Journal,
    report: Report<'_>,
) -> Result<Observed, SetupError> {
    let mut observed = Observed::default();
    if let (Some(wish), Some(topics)) = (&desired.topics, &clients.kafka) {
        report(Progress::Looking(Target::Kafka));
        observed.kafka = Some(kafka(wish, topics).await?);
    }
    if let (Some(subject), Some(registry)) = (&desired.subject, &clients.registry) {
        report(Progress::Looking(Target::Registry));
        observed.registry = Some(subject_of(subject, registry).await?);
    }
    if let (Some(wish), Some(stage), Some(client)) = (&desired.platform, &desired.stage, &clients.platform) {
        report(Progress::Looking(Target::Platform));
        let found = look_at_platform(client, stage, wish, journal).await?;
        // A missing role does not end the run here: the plan lists the missing permissions, and `apply --wait` can wait
        // for the role.
        if let Some(error) = found.failure.as_ref().filter(|_| found.forbidden().is_none()) {
            return Err(error.clone().into());
        }
        observed.platform = Some(found);
    }
    if let (None, Some(stage), Some(client)) = (&desired.platform, &desired.stage, &clients.platform) {
        observed.sandbox = sandbox_of(stage, client).await;
    }
    if !desired.webhooks.is_empty() && !clients.customerio.is_empty() {
        report(Progress::Looking(Target::CustomerIo));
        observed.customerio = workspaces(&desired.webhooks, clients, journal).await;
        observed.senders = senders(clients).await;
    }
    Ok(observed)
}

async fn kafka(wish: &TopicWish, topics: &Topics) -> Result<ObservedKafka, KafkaError> {
    let brokers = tokio::task::block_in_place(|| topics.brokers(KAFKA_TIMEOUT))?;
    let mut found = BTreeMap::new();
    for (name, topic) in look_at_topics(wish, topics).await {
        if let Some(topic) = topic? {
            found.insert(name.to_string(), topic);
        }
    }
    Ok(ObservedKafka { brokers, topics: found })
}

/// Result of reading a topic; `None` if the topic does not exist.
type Look = Result<Option<ObservedTopic>, KafkaError>;

/// Reads all topics concurrently, because the request for a topic's settings is slow.
pub(crate) async fn look_at_topics<'w>(wish: &'w TopicWish, topics: &Topics) -> Vec<(&'w TopicName, Look)> {
    let receipts = async {
        match &wish.topics.receipts {
            Some(name) => Some(look_at_topic(name, topics).await),
            None => None,
        }
    };
    let [raw, typed, dead_letters] =
        [&wish.topics.raw, &wish.topics.typed, &wish.topics.dead_letters].map(|name| look_at_topic(name, topics));
    let (raw, typed, dead_letters, receipts) = tokio::join!(raw, typed, dead_letters, receipts);
    wish.names().zip([raw, typed, dead_letters].into_iter().chain(receipts)).collect()
}

pub(crate) async fn look_at_topic(name: &TopicName, topics: &Topics) -> Result<Option<ObservedTopic>, KafkaError> {
    let partitions = match tokio::task::block_in_place(|| topics.partitions(name, KAFKA_TIMEOUT)) {
        Ok(partitions) => partitions,
        Err(KafkaError::NoTopic(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let settings = topics.settings(name).await.map_err(|error| error.to_string());
    Ok(Some(ObservedTopic { partitions, settings }))
}

pub(crate) async fn subject_of(subject: &str, registry: &SchemaRegistry) -> Result<ObservedSubject, SetupError> {
    let exists = registry.has_subject(subject).await?;
    let compatibility = registry.compatibility(subject).await?;
    Ok(ObservedSubject { exists, compatibility })
}

/// Reads the addresses from which Customer.io sends webhooks, once for each region.
pub(crate) async fn senders(clients: &Clients) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for client in clients.customerio.values() {
        let region = client.address().region().to_string();
        if found.contains_key(&region) {
            continue;
        }
        if let Ok(addresses) = client.sender_addresses().await {
            found.insert(region, addresses.iter().map(|address| address.as_str().to_owned()).collect());
        }
    }
    found
}

async fn workspaces(
    wishes: &[WebhookWish],
    clients: &Clients,
    journal: &Journal,
) -> BTreeMap<SourceName, ObservedWorkspace> {
    let mut found = BTreeMap::new();
    for wish in wishes {
        let Some(client) = clients.customerio.get(&wish.source) else { continue };
        let workspace = workspace(client, &wish.source, journal, clients.webhook_appears_within).await;
        let failed = |error: ApiError| ObservedWorkspace {
            key_fingerprint: client.key_fingerprint(),
            failure: Some(error.to_string()),
            ..ObservedWorkspace::default()
        };
        found.insert(wish.source.clone(), workspace.unwrap_or_else(failed));
    }
    found
}

/// Reads the workspace of a source's App API key. After a create without a response, the webhooks are read only when
/// the time-out of that create has passed.
pub(crate) async fn workspace(
    client: &AppApiClient,
    source: &SourceName,
    journal: &Journal,
    appears_within: Duration,
) -> Result<ObservedWorkspace, ApiError> {
    let workspaces = client.workspaces().await?;
    let key = Key::Webhook(source.clone());
    let is_open = journal.id(&key).is_none();
    let end = journal.created_at(&key).filter(|_| is_open).map(|created_at| created_at + appears_within);
    if let Some(end) = end {
        tokio::time::sleep_until(end).await;
    }
    Ok(ObservedWorkspace {
        key_fingerprint: client.key_fingerprint(),
        workspaces,
        webhooks: client.webhooks().await?,
        failure: None,
    })
}
