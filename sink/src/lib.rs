//! Delivers typed records to Experience Platform, at least once and with a stable `_id`.
//!
//! A consumer thread (`kafka::consumer`) polls and keeps the offset ledger. One async task ([`delivery`]) builds
//! batches and sends them. This task reports a record to the ledger only once its outcome is durable: accepted by
//! Platform (with a receipt), or written to the dead-letter topic. `platform::classify` classifies a response, and
//! [`dispatch`] decides what happens to its records; both are pure. This crate does not know Customer.io's bodies.

mod backlog;
mod batch;
mod config;
mod delivery;
mod dispatch;
mod event_json;
mod external_hold;
mod health;
mod journal;
mod metrics;
mod outcomes_page;
mod pace;
mod rejected_batches;
mod schema_drift;
mod schemas;
mod work;

use std::time::Duration;

use kafka::consumer::{Consumer, ConsumerSettings, ExternalWait, Output};
use kafka::probe::Probe;
use kafka::start::FromBeginning;
use kafka::topic::{Topics, check_counterparts};
use kafka::topic_settings::{DEFAULT_MAX_MESSAGE_BYTES, Need, RECORD_OVERHEAD, Room, warn_of_differences};
use kafka::{KafkaError, KafkaHealth, TopicName};
use platform::client::http_client;
use platform::control::ControlClient;
use platform::{Envelope, PlatformClient, TokenProvider};
use service::{Context, Ready, TaskError, Tasks, Waiting};

pub use config::{Config, Settings};

use delivery::{Delivery, DeliveryDeps};
use external_hold::ExternalHolds;
use health::Health;
use journal::Journal;
use metrics::Metrics;
use rejected_batches::Watcher;
use rejected_batches::topics::KafkaTopics;

/// Timeout of each request to the brokers while the sink starts.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval between two commits of offsets.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum number of bytes that librdkafka fetches ahead, in addition to `SINK_BUFFER_BYTES`. librdkafka needs about
/// twice as much memory for them.
const FETCH_BYTES: usize = 4 * 1024 * 1024;

/// Maximum time for which the revocation of partitions waits for their requests in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a started record without an outcome counts as lost by a defect. A request or a write ends within
/// its timeout of 30 s.
const STALL_AFTER: Duration = Duration::from_secs(300);

/// Runs the sink until `context.stop` is cancelled.
///
/// # Errors
/// Fails if a topic is missing, if no client can be built from the settings, or if Kafka fails permanently.
pub async fn run(settings: Settings, context: Context) -> Result<(), TaskError> {
    let metrics = Metrics::register(&context.registry, &settings.input)?;
    let waiting = Waiting::register("sink", &context.registry, &context.readiness)?;
    tokio::spawn(waiting.clone().watch(context.stop.clone()));
    let kafka_health = KafkaHealth::new(&waiting, Ready::Depends);
    let health = Health::new(&waiting);
    if let Some(not_before) = settings.not_before {
        tokio::spawn(health.clone().wait_until(not_before));
    }
    let mut tasks = Tasks::new(context.stop.clone());
    let probe = Probe::of_reader(&settings.connection, &settings.input, &kafka_health, &metrics.consumer)?;
    let stop = context.stop.clone();
    // The probe starts first, so that it also reports why the brokers cannot be reached during the start.
    tasks.spawn_thread("Kafka probe", move || probe.run(&stop));
    let partitions = check_topics(&settings, &context).await?;
    tokio::spawn(warn_of_differences(settings.connection.clone(), needs(&settings)));
    let http = http_client(&settings.client)?;
    let tokens = match &settings.tokens {
        None => None,
        Some(tokens) => {
            let refreshes = metrics.clone();
            let on_refresh = Box::new(move |outcome| refreshes.token_refreshed(outcome));
            Some(TokenProvider::new(tokens.clone(), http.clone(), on_refresh)?)
        }
    };
    let dates = health.clone();
    let client = PlatformClient::new(&settings.client, http, tokens, Box::new(move |date| dates.dated(date)))?;
    let journal = Journal::new(&settings, kafka_health.clone())?;
    let external_wait = ExternalWait::default();
    let (consumer, records, settler) = Consumer::new(ConsumerSettings {
        connection: settings.connection.clone(),
        group: settings.group.clone(),
        input: settings.input.clone(),
        output: Some(match &settings.receipts {
            Some(receipts) => Output::Topic(receipts.clone()),
            None => Output::Records { topic: settings.dead_letters.clone(), is_of: journal::is_of_a_sink },
        }),
        from_beginning: FromBeginning { accepted: settings.from_beginning, option: "--from-beginning" },
        budget_bytes: settings.buffer_bytes,
        fetch_bytes: FETCH_BYTES,
        commit_interval: COMMIT_INTERVAL,
        drain_timeout: DRAIN_TIMEOUT.min(context.shutdown_timeout / 2),
        stall_after: STALL_AFTER,
        external_wait: external_wait.clone(),
        metrics: metrics.consumer.clone(),
        health: kafka_health,
        readiness: context.readiness.clone(),
    });
    let envelope = Envelope::new(&settings.envelope);
    context.hold.offer();
    let holds = ExternalHolds::new(context.hold.clone());
    watch_platform(&settings, &context, &holds, &metrics)?;
    let deps = DeliveryDeps { client, envelope, journal, metrics, health, settler, external_wait, holds, partitions };
    let delivery = Delivery::new(&settings, deps)?;
    let stop = context.stop.clone();
    tasks.spawn_thread("sink consumer", move || consumer.run(&stop));
    tasks.spawn("sink delivery", delivery.run(records));
    tasks.join(context.shutdown_timeout).await?;
    Ok(())
}

/// Starts the tasks that query Platform's control plane: the comparison of the schema, and the search for rejected
/// events.
fn watch_platform(
    settings: &Settings,
    context: &Context,
    holds: &ExternalHolds,
    metrics: &Metrics,
) -> Result<(), TaskError> {
    let (Some(control), Some(tokens)) = (&settings.control, &settings.tokens) else { return Ok(()) };
    let http = http_client(&settings.client)?;
    let client = || -> Result<ControlClient, TaskError> {
        let tokens = TokenProvider::new(tokens.clone(), http.clone(), Box::new(|_| {}))?;
        Ok(ControlClient::new(control.settings.clone(), http.clone(), tokens)?)
    };
    let (schema_id, tenant) = (settings.envelope.schema_id.clone(), settings.tenant.clone());
    holds.set_comparing(true);
    tokio::spawn(schema_drift::watch(client()?, schema_id, tenant, holds.clone(), context.stop.clone()));
    if let Some(every) = control.failed_batches_every {
        let (topics, dataset_id) = (KafkaTopics::new(settings)?, settings.envelope.dataset_id.clone());
        let watcher = Watcher { client: client()?, dataset_id, topics, metrics: metrics.clone(), every };
        tokio::spawn(watcher.run(context.registry.clone(), context.stop.clone()));
    }
    Ok(())
}

/// Returns the settings that the sink requires of its topics.
fn needs(settings: &Settings) -> Vec<Need> {
    let need = |topic: &TopicName, room| Need { topic: topic.clone(), room };
    let dead_letters = Room::Beyond { topic: settings.input.clone(), bytes: RECORD_OVERHEAD };
    let mut needs = vec![need(&settings.input, None), need(&settings.dead_letters, Some(dead_letters))];
    needs.extend(settings.receipts.as_ref().map(|topic| need(topic, Some(Room::Bytes(DEFAULT_MAX_MESSAGE_BYTES)))));
    needs
}

/// Checks that every topic exists and that the dead-letter topic has a partition for each input partition. Returns the
/// number of input partitions.
async fn check_topics(settings: &Settings, context: &Context) -> Result<usize, TaskError> {
    let (connection, input) = (settings.connection.clone(), settings.input.clone());
    let (dead_letters, receipts) = (settings.dead_letters.clone(), settings.receipts.clone());
    let check = tokio::task::spawn_blocking(move || -> Result<usize, KafkaError> {
        let topics = Topics::new(&connection)?;
        let input_partitions = topics.partitions(&input, START_TIMEOUT)?;
        let output = (&dead_letters, topics.partitions(&dead_letters, START_TIMEOUT)?);
        check_counterparts((&input, input_partitions), output)?;
        if let Some(receipts) = &receipts {
            topics.partitions(receipts, START_TIMEOUT)?;
        }
        Ok(input_partitions)
    });
    tokio::select! {
        checked = check => Ok(checked??),
        () = context.stop.cancelled() => Ok(1),
    }
}
