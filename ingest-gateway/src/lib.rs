//! Takes Customer.io's webhooks in: verifies the signature, writes the bytes as they came to Kafka, answers.
//!
//! It checks route, signature and size and nothing else: an authentic event is never refused because it is not
//! understood. A 2xx means that all in-sync replicas have the bytes. It knows nothing of XDM.

mod answer;
mod budget;
mod config;
mod ingest;
mod metrics;
mod publish;
mod server;
mod source;

use std::sync::Arc;
use std::time::Duration;

use kafka::producer::{DurableProducer, ProducerSettings};
use kafka::topic::Topics;
use service::{Context, TaskError};
use tokio::net::TcpListener;

pub use config::{Config, Settings};

use budget::InFlight;
use ingest::Gateway;
use metrics::Metrics;
use publish::KafkaPublisher;

/// How long the brokers have to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A record given up on must be given up on before the answer is due: little may be stored after a 503, and what is, is
/// a repeat that the transformer collapses.
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(3000);

/// Key and headers of a record, at the most.
const RECORD_OVERHEAD: usize = 64 * 1024;

/// Binds the configured address and runs the gateway until `context.stop`.
///
/// # Errors
/// When the address is taken, the raw topic does not exist, or no broker answers at the start.
pub async fn run(settings: Settings, context: Context) -> Result<(), TaskError> {
    let address = settings.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address} (GATEWAY_LISTEN): {error}"))?;
    run_on(listener, settings, context).await
}

/// Runs the gateway on a listener that is bound already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(listener: TcpListener, settings: Settings, context: Context) -> Result<(), TaskError> {
    let budget = InFlight::new(settings.in_flight_bytes);
    let metrics = Metrics::register(&context.registry, &settings.sources, &budget)?;
    let producer = DurableProducer::new(
        &settings.connection,
        &ProducerSettings {
            delivery_timeout: DELIVERY_TIMEOUT,
            linger: Duration::from_millis(5),
            max_record_bytes: settings.max_body + RECORD_OVERHEAD,
            queue_bytes: settings.in_flight_bytes.saturating_mul(2),
        },
    )?;
    probe(&settings, &context).await?;
    let producer = Arc::new(producer);
    let publisher = KafkaPublisher::new(Arc::clone(&producer), settings.raw_topic.clone());
    let gateway = Gateway::new(&settings, publisher, budget, metrics);
    context.readiness.set_ready();
    tracing::info!(address = ?listener.local_addr().ok(), topic = %settings.raw_topic, "taking webhooks in");

    server::serve(listener, Arc::new(gateway), &settings, &context).await;
    // Requests have been answered; what is still queued belongs to requests that were answered 503.
    let flushed = tokio::task::spawn_blocking(move || producer.flush(DELIVERY_TIMEOUT)).await?;
    if let Err(error) = flushed {
        tracing::warn!(%error, "records of requests that were not acknowledged were left behind");
    }
    Ok(())
}

/// Waits until the brokers know the raw topic. Afterwards an outage is a matter of metrics, not of readiness: a gateway
/// out of rotation refuses connections, which costs the sender an hour; its own 503 does not.
async fn probe(settings: &Settings, context: &Context) -> Result<(), TaskError> {
    let (connection, topic) = (settings.connection.clone(), settings.raw_topic.clone());
    let probe = tokio::task::spawn_blocking(move || Topics::new(&connection)?.partitions(&topic, START_TIMEOUT));
    tokio::select! {
        partitions = probe => {
            tracing::info!(topic = %settings.raw_topic, partitions = partitions??, "the raw topic is there");
        }
        () = context.stop.cancelled() => {}
    }
    Ok(())
}
