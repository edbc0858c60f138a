//! Delivers typed records to Experience Platform, at least once and with a stable `_id`.
//!
//! A consumer thread (`kafka::consumer`) polls and keeps the offset ledger; one async task ([`delivery`]) cuts batches,
//! sends them, and settles a record only once its fate is durable: accepted by Platform (with a receipt), or in the
//! dead-letter topic. What an answer means is decided by `platform::judge`, what follows from it by [`dispatch`]; both are
//! pure. It knows nothing of Customer.io's bodies.

mod backlog;
mod batch;
mod config;
mod delivery;
mod dispatch;
mod event_json;
mod health;
mod journal;
mod metrics;
mod outcomes_page;
mod pace;
mod schemas;
mod work;

use std::time::Duration;

use kafka::consumer::{Consumer, ConsumerSettings, Output, Patience};
use kafka::probe::Probe;
use kafka::topic::{Topics, check_counterparts};
use kafka::topic_settings::{DEFAULT_MAX_MESSAGE_BYTES, Need, RECORD_OVERHEAD, Room, warn_of_differences};
use kafka::{KafkaError, KafkaHealth, TopicName};
use platform::client::http_client;
use platform::{Envelope, PlatformClient, TokenProvider};
use service::{Context, Ready, TaskError, Tasks, Waiting};

pub use config::{Config, Settings};

use delivery::{Delivery, Tools};
use health::Health;
use journal::Journal;
use metrics::Metrics;

/// How long the brokers have to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How often offsets are committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// The most bytes librdkafka fetches ahead, beside `SINK_BUFFER_BYTES`. It takes about twice as much memory for them.
const FETCH_BYTES: usize = 4 * 1024 * 1024;

/// How long leaving partitions wait for the request that is under way.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A request or a write ends within its own time-out of 30 s, one way or the other; a record that was started and has no
/// outcome after this time has been lost by a defect.
const STALL_AFTER: Duration = Duration::from_secs(300);

/// Runs the sink until `context.stop`.
///
/// # Errors
/// When a topic is missing, the settings do not make a client, or Kafka fails for good.
pub async fn run(settings: Settings, context: Context) -> Result<(), TaskError> {
    let metrics = Metrics::register(&context.registry, &settings.input)?;
    let waiting = Waiting::register("sink", &context.registry, &context.readiness)?;
    tokio::spawn(waiting.clone().watch(context.stop.clone()));
    let kafka_health = KafkaHealth::new(&waiting, Ready::Depends);
    let health = Health::new(&waiting);
    let mut tasks = Tasks::new(context.stop.clone());
    let probe = Probe::of_reader(&settings.connection, &settings.input, &kafka_health, &metrics.consumer)?;
    let stop = context.stop.clone();
    // First of all: it reports what keeps the sink from its brokers, at the start too.
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
    let patience = Patience::default();
    let (consumer, records, settler) = Consumer::new(ConsumerSettings {
        connection: settings.connection.clone(),
        group: settings.group.clone(),
        input: settings.input.clone(),
        output: Some(match &settings.receipts {
            Some(receipts) => Output::Topic(receipts.clone()),
            None => Output::Records { topic: settings.dead_letters.clone(), is_of: journal::is_of_a_sink },
        }),
        from_beginning: settings.from_beginning,
        budget_bytes: settings.buffer_bytes,
        fetch_bytes: FETCH_BYTES,
        commit_interval: COMMIT_INTERVAL,
        drain_timeout: DRAIN_TIMEOUT.min(context.shutdown_timeout / 2),
        stall_after: STALL_AFTER,
        patience: patience.clone(),
        metrics: metrics.consumer.clone(),
        health: kafka_health,
        readiness: context.readiness.clone(),
    });
    let envelope = Envelope::new(&settings.envelope);
    let tools = Tools { client, envelope, journal, metrics, health, settler, patience, partitions };
    let delivery = Delivery::new(&settings, tools)?;
    let stop = context.stop.clone();
    tasks.spawn_thread("sink consumer", move || consumer.run(&stop));
    tasks.spawn("sink delivery", delivery.run(records));
    tasks.join(context.shutdown_timeout).await?;
    Ok(())
}

/// What the sink needs of its topics.
fn needs(settings: &Settings) -> Vec<Need> {
    let need = |topic: &TopicName, room| Need { topic: topic.clone(), room };
    let dead_letters = Room::Beyond { topic: settings.input.clone(), bytes: RECORD_OVERHEAD };
    let mut needs = vec![need(&settings.input, None), need(&settings.dead_letters, Some(dead_letters))];
    needs.extend(settings.receipts.as_ref().map(|topic| need(topic, Some(Room::Bytes(DEFAULT_MAX_MESSAGE_BYTES)))));
    needs
}

/// Every topic exists and goes together with the others; returns the number of input partitions.
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
