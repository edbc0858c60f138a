//! Turns raw webhooks into typed XDM records, exactly once.
//!
//! Each worker is a thread with its own consumer and transactional producer (`kafka::transaction`); the pure `mapping`
//! crate decides what a record becomes. This crate connects workers and mapping: it decodes headers, encodes Avro,
//! writes dead letters, and counts outcomes once they are committed. It knows neither HTTP nor Platform's API.

mod clock;
mod config;
mod dedup;
mod framing;
mod metrics;
mod processor;

use std::sync::Arc;
use std::time::Duration;

use kafka::probe::Probe;
use kafka::start::FromBeginning;
use kafka::topic::{Topics, check_counterparts};
use kafka::topic_settings::{DEFAULT_MAX_MESSAGE_BYTES, Need, RECORD_OVERHEAD, Room, warn_of_differences};
use kafka::transaction::{self, Lookback, WorkerSettings};
use kafka::{KafkaError, KafkaHealth, TopicName};
use mapping::Sources;
use service::{Context, Ready, ReloadMetrics, ServiceConfig, TaskError, Tasks, Waiting};
use settings::watched::{Current, Followed};

pub use config::{Config, Settings};
use metrics::Metrics;
use processor::EventProcessor;

/// Maximum number of records in one transaction. After an abort, at most this many are read again.
const MAX_RECORDS: usize = 2_000;

/// Timeout of each request to the brokers while the transformer starts.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the transformer until `context.stop` is cancelled.
///
/// # Errors
/// Fails if the topics are missing or do not fit together, or if a worker fails permanently.
pub async fn run(settings: Settings, context: Context) -> Result<(), TaskError> {
    let metrics = Metrics::register(&context.registry, &settings.input)?;
    metrics.show_window_limit(settings.dedup.seconds);
    let waiting = Waiting::register("transformer", &context.registry, &context.readiness)?;
    tokio::spawn(waiting.clone().watch(context.stop.clone()));
    let health = KafkaHealth::new(&waiting, Ready::Depends);
    let mut tasks = Tasks::new(context.stop.clone());
    let probe = Probe::of_reader(&settings.connection, &settings.input, &health, &metrics.consumer)?;
    let stop = context.stop.clone();
    // The probe starts first, so that it also reports why the brokers cannot be reached during the start.
    tasks.spawn_thread("Kafka probe", move || probe.run(&stop));
    let partitions = check_topics(&settings, &context).await?;
    tokio::spawn(warn_of_differences(settings.connection.clone(), needs(&settings)));
    let Some(framing) = framing::framing(settings.registry.as_ref(), &settings.typed, &waiting, &context).await? else {
        return Ok(());
    };
    let sources = follow_sources(&settings, &context)?;
    let workers = settings.workers.min(partitions).max(1);
    tracing::info!(workers, partitions, group = settings.group, "transforming");
    let clock = waiting.activity("comparing the clocks", Ready::Stays, "");
    for number in 0..workers {
        let worker = worker_settings(&settings, &context, &metrics, &health, number);
        let mut processor = EventProcessor::new(&settings, &sources, framing, metrics.clone(), clock.clone())?;
        let stop = context.stop.clone();
        tasks.spawn_thread("transformer worker", move || transaction::run(&worker, &mut processor, &stop));
    }
    tasks.join(context.shutdown_timeout).await?;
    Ok(())
}

/// Loads the sources, and reloads them when `SOURCES_FILE` changes.
fn follow_sources(settings: &Settings, context: &Context) -> Result<Arc<Current<Sources>>, TaskError> {
    let reloads = Arc::new(ReloadMetrics::register(&context.registry, Config::SERVICE)?);
    let followed = Followed::new(settings.mapping.clone()).map_err(|problems| problems.to_string())?;
    let current = followed.current();
    tokio::spawn(followed.follow(reloads, context.reload.clone(), context.stop.clone(), |_| {}));
    Ok(current)
}

/// Checks that every topic exists and that both output topics have a partition for each input partition. Returns the
/// number of input partitions.
async fn check_topics(settings: &Settings, context: &Context) -> Result<usize, TaskError> {
    let connection = settings.connection.clone();
    let (input, typed, dead_letters) = (settings.input.clone(), settings.typed.clone(), settings.dead_letters.clone());
    let check = tokio::task::spawn_blocking(move || -> Result<usize, KafkaError> {
        let topics = Topics::new(&connection)?;
        let input_partitions = topics.partitions(&input, START_TIMEOUT)?;
        for output in [&typed, &dead_letters] {
            check_counterparts((&input, input_partitions), (output, topics.partitions(output, START_TIMEOUT)?))?;
        }
        Ok(input_partitions)
    });
    tokio::select! {
        checked = check => Ok(checked??),
        () = context.stop.cancelled() => Ok(1),
    }
}

/// Returns the settings that the transformer requires of its topics.
fn needs(settings: &Settings) -> Vec<Need> {
    let need = |topic: &TopicName, room| Need { topic: topic.clone(), room };
    vec![
        need(&settings.input, None),
        need(&settings.typed, Some(Room::Bytes(DEFAULT_MAX_MESSAGE_BYTES))),
        need(&settings.dead_letters, Some(Room::Beyond { topic: settings.input.clone(), bytes: RECORD_OVERHEAD })),
    ]
}

fn worker_settings(
    settings: &Settings,
    context: &Context,
    metrics: &Metrics,
    health: &KafkaHealth,
    number: usize,
) -> WorkerSettings {
    let name = settings.instance.as_ref().map(|instance| format!("{}-{instance}-{number}", settings.group));
    let transactional_id = name.clone().unwrap_or_else(|| {
        // Without an instance name, the id is random, so a restarted process does not use it again. The brokers abort a
        // killed process's open transaction only at the transaction timeout.
        format!("{}-{:016x}-{number}", settings.group, fastrand::u64(..))
    });
    WorkerSettings {
        connection: settings.connection.clone(),
        group: settings.group.clone(),
        name,
        name_variable: "TRANSFORMER_INSTANCE",
        transactional_id,
        input: settings.input.clone(),
        output: settings.typed.clone(),
        dead_letters: settings.dead_letters.clone(),
        lookback: Lookback {
            // About every other offset of a topic with little traffic is a transaction marker, so a restore reads twice
            // as many offsets as the window has ids.
            offsets: i64::try_from(settings.dedup.ids.saturating_mul(2)).unwrap_or(i64::MAX),
            age: Duration::from_secs(settings.dedup.seconds.into())
                + Duration::from_millis(dedup::CLOCK_DIFFERENCE.unsigned_abs()),
        },
        from_beginning: FromBeginning { accepted: settings.from_beginning, option: "--from-beginning" },
        commit_interval: settings.commit_interval,
        max_records: MAX_RECORDS,
        transaction_timeout: settings.transaction_timeout,
        fetch_bytes: settings.fetch_bytes,
        metrics: metrics.consumer.clone(),
        health: health.clone(),
        readiness: context.readiness.clone(),
    }
}
