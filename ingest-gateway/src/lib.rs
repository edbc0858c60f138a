//! Receives Customer.io's webhooks: verifies the signature, writes the body bytes unchanged to Kafka, and responds.
//!
//! The gateway checks route, method, signature and size, but not the content: it stores every authentic event, even one
//! that no later stage understands. A 2xx means that all in-sync replicas have the bytes, or the dead letter of a body
//! over the limit. This crate does not know XDM.

mod answer;
mod budget;
mod clock;
mod config;
// Tests compile this module too, so that changes do not break it.
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod http;
mod ingest;
mod metrics;
mod publish;
mod source;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka::probe::Probe;
use kafka::producer::{DurableProducer, ProducerSettings};
use kafka::topic::Topics;
use kafka::topic_settings::{Need, RECORD_OVERHEAD, Room, warn_of_differences};
use kafka::{KafkaHealth, TopicName};
use service::{Context, Ready, TaskError, Waiting, allow_open_files};
use settings::watched::{Current, Followed, Origin};
use tokio::net::{TcpListener, TcpSocket};

pub use config::{Config, Settings};

use budget::InFlight;
use clock::SenderClock;
use http::accept::Server;
use ingest::Gateway;
use metrics::Metrics;
use publish::KafkaPublisher;
use tls::Tls;

/// Timeout of each request to the brokers while the gateway starts.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the time limit for the delivery of a record. It is shorter than `GATEWAY_ACK_DEADLINE`, so that few records
/// are stored although their request got a 503. Customer.io sends such a webhook again, and the transformer drops the
/// duplicate.
fn delivery_timeout(ack_deadline: Duration) -> Duration {
    ack_deadline - (ack_deadline / 7).min(Duration::from_millis(500))
}

/// Binds the configured address and runs the gateway until `context.stop` is cancelled.
///
/// # Errors
/// Fails if the address is in use, a topic does not exist, no broker responds at the start, or the keys or the
/// certificate cannot be read.
pub async fn run(settings: Settings, context: Context) -> Result<(), TaskError> {
    let address = settings.listen;
    let listener = listen(address).map_err(|error| format!("cannot listen on {address} (GATEWAY_LISTEN): {error}"))?;
    run_on(listener, settings, context).await
}

/// Length of the listener's accept queue; the kernel limits it to `net.core.somaxconn`. If the queue is full, the
/// kernel ignores a client's connection attempt, and the client repeats it only after a second. tokio's default length
/// is 128, which a burst of connections fills.
const ACCEPT_QUEUE: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted gateway can bind the address while connections of its predecessor are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// Number of open files that the process needs in addition to client connections: for Kafka, the admin server and the
/// log.
const OTHER_FILES: u64 = 256;

/// Runs the gateway on a listener that is already bound.
///
/// # Errors
/// Fails in the same cases as [`run`], except that the address is already bound.
pub async fn run_on(listener: TcpListener, settings: Settings, context: Context) -> Result<(), TaskError> {
    let budget = InFlight::new(settings.in_flight_bytes);
    let metrics = Arc::new(Metrics::register(&context.registry, &budget)?);
    let delivery_timeout = delivery_timeout(settings.ack_deadline);
    let producer = Arc::new(DurableProducer::new(
        &settings.connection,
        &ProducerSettings {
            delivery_timeout,
            linger: Duration::from_millis(5),
            max_record_bytes: settings.max_body.max(http::body::KEPT) + RECORD_OVERHEAD,
            queue_bytes: settings.in_flight_bytes.saturating_mul(2),
        },
    )?);
    let sources = follow(settings.sources.clone(), &metrics, &context, {
        let metrics = Arc::clone(&metrics);
        move |sources| metrics.sources(sources)
    })?;
    let tls = match settings.tls.clone() {
        Some(files) => Some(follow(files, &metrics, &context, |_: &Tls| {})?),
        None => None,
    };
    let waiting = Waiting::register("gateway", &context.registry, &context.readiness)?;
    tokio::spawn(waiting.clone().watch(context.stop.clone()));
    // The gateway stays ready while Kafka fails. Load balancers would refuse Customer.io's connections to a gateway
    // that is not ready, and Customer.io waits an hour after a refused connection, but not after a 503.
    let health = KafkaHealth::new(&waiting, Ready::Stays);
    let broker_probe = Probe::of_writer(&settings.connection, &settings.raw_topic, &health)?;
    let stop = context.stop.clone();
    std::thread::spawn(move || broker_probe.run(&stop));
    probe(&settings, &context).await?;
    tokio::spawn(warn_of_differences(settings.connection.clone(), needs(&settings)));
    let clock = SenderClock(waiting.activity("comparing the clocks", Ready::Stays, ""));
    let publisher = KafkaPublisher {
        health,
        producer: Arc::clone(&producer),
        raw_topic: settings.raw_topic.clone(),
        dead_letter_topic: settings.dead_letter_topic.clone(),
    };
    let gateway = Gateway::new(&settings, sources, publisher, budget, Arc::clone(&metrics), clock);
    let server = Server::new(gateway, &settings, max_connections(&settings), tls, metrics);
    context.readiness.set_ready();
    tracing::info!(
        address = ?listener.local_addr().ok(),
        tls = settings.tls.is_some(),
        topic = %settings.raw_topic,
        "taking webhooks in"
    );

    server.serve(listener, settings.drain_delay, &context).await;
    // Records that are still queued belong to requests that did not get a 202.
    let flushed = tokio::task::spawn_blocking(move || producer.flush(delivery_timeout)).await?;
    if let Err(error) = flushed {
        tracing::warn!(%error, "records of requests that got a 503 were not delivered");
    }
    Ok(())
}

/// Returns the settings that the gateway requires of its topics. The dead-letter topic needs room only for the
/// beginning of a body.
fn needs(settings: &Settings) -> Vec<Need> {
    let need =
        |topic: &TopicName, bytes| Need { topic: topic.clone(), room: Some(Room::Bytes(bytes + RECORD_OVERHEAD)) };
    vec![need(&settings.raw_topic, settings.max_body), need(&settings.dead_letter_topic, http::body::KEPT)]
}

/// Loads a value and reloads it when its files change. Calls `changed` with the first value and with each new one.
fn follow<O: Origin>(
    origin: O,
    metrics: &Arc<Metrics>,
    context: &Context,
    changed: impl Fn(&O::Value) + Send + Sync + 'static,
) -> Result<Arc<Current<O::Value>>, TaskError> {
    let followed = Followed::new(origin).map_err(|problems| problems.to_string())?;
    let current = followed.current();
    changed(&current.get());
    tokio::spawn(followed.follow(Arc::clone(&metrics.reloads), context.reload.clone(), context.stop.clone(), changed));
    Ok(current)
}

/// Returns `GATEWAY_MAX_CONNECTIONS`, or less if the limit on open files is lower.
fn max_connections(settings: &Settings) -> usize {
    let wanted = settings.max_connections as u64;
    let allowed = allow_open_files(wanted.saturating_add(OTHER_FILES)).saturating_sub(OTHER_FILES).max(1);
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the limit on open files allows fewer connections than GATEWAY_MAX_CONNECTIONS; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    usize::try_from(allowed.min(wanted)).unwrap_or(usize::MAX)
}

/// Waits until the brokers confirm that the topics exist. Only this first check delays readiness: metrics report a
/// later outage, and the gateway stays ready.
async fn probe(settings: &Settings, context: &Context) -> Result<(), TaskError> {
    let connection = settings.connection.clone();
    let topics = [settings.raw_topic.clone(), settings.dead_letter_topic.clone()];
    let probe = tokio::task::spawn_blocking(move || {
        let client = Topics::new(&connection)?;
        topics
            .map(|topic| client.partitions(&topic, START_TIMEOUT).map(|partitions| (topic, partitions)))
            .into_iter()
            .collect::<Result<Vec<(TopicName, usize)>, _>>()
    });
    tokio::select! {
        found = probe => {
            for (topic, partitions) in found?? {
                tracing::info!(%topic, partitions, "a topic exists");
            }
        }
        () = context.stop.cancelled() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_400_connections_fits_in_the_accept_queue() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        // The test accepts no connection. Without room in the queue, the kernel would not complete the handshakes.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let clients: Result<Vec<TcpStream>, std::io::Error> = (0..400).map(connect).collect();
        assert_eq!(clients.unwrap().len(), 400);
    }

    #[test]
    fn the_delivery_timeout_ends_before_the_response_is_due() {
        let timeout = |millis| delivery_timeout(Duration::from_millis(millis));
        assert_eq!(timeout(3500), Duration::from_millis(3000));
        for millis in [100, 101, 500, 1000, 3500, 3999] {
            // librdkafka refuses a value that is not longer than the producer's linger.
            assert!(timeout(millis) < Duration::from_millis(millis) && timeout(millis) > Duration::from_millis(50));
        }
    }
}
