//! Runs whole requests through all code between the socket and Kafka, in memory. This module is for the fuzz target
//! `request` and not a part of the service.

#![allow(clippy::missing_panics_doc, reason = "a fuzz target fails by panicking")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka::producer::ProduceError;
use service::{Context, Ready, ServiceConfig, Waiting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::budget::{InFlight, Share};
use crate::clock::SenderClock;
use crate::config::Config;
use crate::http::admission::Connections;
use crate::http::connection;
use crate::ingest::Gateway;
use crate::metrics::Metrics;
use crate::publish::{Batch, Destination, Outgoing, Publish};
use settings::Variables;
use settings::watched::{Current, Origin};

/// A record that the gateway would have written to Kafka.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields have the names of a record's parts")]
pub struct Stored {
    /// Whether the record is for the raw topic; otherwise it is a dead letter.
    pub raw: bool,
    pub key: Option<Vec<u8>>,
    pub body: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A publisher that keeps the records in memory.
#[derive(Debug, Clone, Default)]
struct Keeper(Arc<Mutex<Vec<Stored>>>);

impl Publish for Keeper {
    fn publish(
        &self,
        record: Outgoing<'_>,
        _: Batch,
        _: Share,
    ) -> Result<impl Future<Output = Result<(), ProduceError>> + Send + 'static, ProduceError> {
        let headers = record.headers.iter();
        let stored = Stored {
            raw: record.to == Destination::Raw,
            key: record.key.map(<[u8]>::to_vec),
            body: record.body.to_vec(),
            headers: headers
                .map(|header| (header.name.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stored);
        Ok(std::future::ready(Ok(())))
    }

    fn report(&self, _: Destination, _: &Result<(), ProduceError>) {}
}

/// A gateway whose connections are in memory.
#[derive(Debug)]
pub struct Harness {
    runtime: Runtime,
    gateway: Gateway<Keeper>,
    connections: Connections,
    stored: Keeper,
}

impl Harness {
    /// Creates a gateway with these signing keys and a small limit on bodies.
    #[must_use]
    pub fn new(signing_keys: &str) -> Self {
        let keys = format!("--signing-keys={signing_keys}");
        let arguments = ["gateway", "--kafka-bootstrap-servers=127.0.0.1:1", "--listen=127.0.0.1:0", "--max-body=1KiB"];
        let config =
            Config::parse_with(&Variables::none(), arguments.into_iter().chain([keys.as_str()])).expect("good options");
        let settings = config.validate().expect("a good configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let budget = InFlight::new(settings.in_flight_bytes);
        let context = Context::new("gateway", CancellationToken::new(), Duration::from_secs(1));
        let metrics = Arc::new(Metrics::register(&context.registry, &budget).expect("a new registry"));
        let sources = Arc::new(Current::new(settings.sources.load().expect("keys").value));
        let connections = Connections::new(10, settings.read_timeout, metrics.connections.clone());
        let stored = Keeper::default();
        let waiting = Waiting::register("gateway", &context.registry, &context.readiness).expect("a new registry");
        let clock = SenderClock(waiting.activity("comparing the clocks", Ready::Stays, ""));
        let gateway = Gateway::new(&settings, sources, stored.clone(), budget, metrics, clock);
        Self { runtime, gateway, connections, stored }
    }

    /// Serves one connection on which the client sends these bytes and then closes it. Returns the responses and the
    /// stored records.
    pub fn serve(&self, bytes: &[u8]) -> (Vec<u8>, Vec<Stored>) {
        let answers = self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1024 * 1024);
            client.write_all(bytes).await.expect("there is room for it");
            let admitted = self.connections.admit().await;
            let (http, finish) = (connection::http(), CancellationToken::new());
            let serve = connection::serve(server, &http, &admitted.state, &finish, |request| async {
                self.gateway.answer(request).await.into_response()
            });
            let read = async {
                let mut answers = Vec::new();
                // A client that closes its connection gets no response, so this client waits until all its bytes are
                // processed.
                loop {
                    tokio::select! {
                        biased;
                        read = client.read_buf(&mut answers) => if read.expect("answers") == 0 { break },
                        () = idle() => break,
                    }
                }
                client.shutdown().await.expect("an end");
                client.read_to_end(&mut answers).await.expect("answers");
                answers
            };
            tokio::join!(serve, read).1
        });
        let stored = std::mem::take(&mut *self.stored.0.lock().unwrap_or_else(PoisonError::into_inner));
        (answers, stored)
    }
}

/// Lets all other tasks run until each of them waits. No task waits for an external system, so a few yields are enough.
async fn idle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use customerio::{SigningKey, sign};

    use super::*;

    #[test]
    fn the_harness_stores_a_signed_request_but_not_one_with_an_invalid_signature() {
        let harness = Harness::new("0123456789abcdef");
        let body = r#"{"event_id":"e1"}"#;
        let signature = sign(&SigningKey::new("0123456789abcdef"), "1700000000", body.as_bytes());
        let request = |signature: &str| {
            format!(
                "POST /webhooks/customerio HTTP/1.1\r\nhost: x\r\nx-cio-timestamp: 1700000000\r\nx-cio-signature: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let (answers, stored) = harness.serve(request(&signature).as_bytes());
        assert!(answers.starts_with(b"HTTP/1.1 202"));
        assert_eq!(
            stored.iter().map(|stored| (stored.raw, stored.body.as_slice())).collect::<Vec<_>>(),
            [(true, body.as_bytes())]
        );
        let (answers, stored) = harness.serve(request(&"0".repeat(64)).as_bytes());
        assert!(answers.starts_with(b"HTTP/1.1 401") && stored.is_empty());
    }
}
