//! The context that all librdkafka clients share, and consumers that are not members of a group.

use std::ops::Deref;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError as RdError;

use crate::connection::Connection;
use crate::error::KafkaError;

/// Callbacks of one kind of client. [`Context`] implements the callbacks that are the same for all clients.
pub(crate) trait Callbacks: Send + Sync + 'static {
    /// Handles an error of the client that librdkafka reports. Returns whether [`Context`] logs the error.
    fn error(&self, _error: &RdError, _reason: &str) -> bool {
        true
    }
}

/// Callbacks of a client that only logs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogOnly;

impl Callbacks for LogOnly {}

/// The context of every client. It writes librdkafka's log lines to our log, and those errors that [`Callbacks::error`]
/// does not suppress.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context<C>(pub(crate) C);

impl<C> Deref for Context<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

impl<C: Callbacks> ClientContext for Context<C> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: RdError, reason: &str) {
        if self.0.error(&error, reason) {
            tracing::debug!(target: "librdkafka", %error, reason, "client error");
        }
    }
}

impl ConsumerContext for Context<LogOnly> {}

/// A consumer that does not handle rebalances: it is not a member of a group.
pub(crate) type PlainConsumer = BaseConsumer<Context<LogOnly>>;

/// The `isolation.level` of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Records of committed transactions, and records outside transactions.
    ReadCommitted,
    /// All records, including those of open and aborted transactions.
    ReadUncommitted,
}

/// Creates a consumer that belongs to no group and commits nothing.
pub(crate) fn observer(connection: &Connection, isolation: Isolation) -> Result<PlainConsumer, KafkaError> {
    let mut config = observing(connection, isolation);
    // Several readers may run at the same time, and each of them fetches this much ahead.
    set_default(&mut config, "queued.max.messages.kbytes", "8192");
    create(&config)
}

/// Like [`observer`], for a service that reads while it does other work and has little memory for the records. A fetch
/// response counts towards the limit of librdkafka's queue only once it has arrived and is unpacked, for each partition
/// separately, so responses must be small compared with the queue.
pub(crate) fn frugal_observer(connection: &Connection, isolation: Isolation) -> Result<PlainConsumer, KafkaError> {
    let mut config = observing(connection, isolation);
    set_default(&mut config, "queued.max.messages.kbytes", "2048");
    limit_responses(&mut config, 0);
    create(&config)
}

pub(crate) fn observing(connection: &Connection, isolation: Isolation) -> ClientConfig {
    let mut config = connection.config();
    config
        // librdkafka needs a group id even for a reader that joins no group.
        .set("group.id", "customerio-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set(
            "isolation.level",
            match isolation {
                Isolation::ReadCommitted => "read_committed",
                Isolation::ReadUncommitted => "read_uncommitted",
            },
        );
    // With librdkafka's default, a full queue is filled again only after a second.
    set_default(&mut config, "fetch.queue.backoff.ms", "5");
    config
}

/// Creates a client that reads a group's stable committed offsets without being a member.
pub(crate) fn outsider(connection: &Connection, group: &str) -> Result<PlainConsumer, KafkaError> {
    let mut config: ClientConfig = connection.config();
    config.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    create(&config)
}

/// Creates a consumer whose callbacks only log. Does not wait for a connection.
pub(crate) fn create(config: &ClientConfig) -> Result<PlainConsumer, KafkaError> {
    create_with(config, LogOnly)
}

/// Like [`create`], with callbacks.
pub(crate) fn create_with<C>(config: &ClientConfig, callbacks: C) -> Result<BaseConsumer<Context<C>>, KafkaError>
where
    C: Callbacks,
    Context<C>: ConsumerContext,
{
    config.create_with_context(Context(callbacks)).map_err(|error| KafkaError::Configuration(error.to_string()))
}

/// Limits a fetch response to `bytes`, but at least 64 KiB and at most 1 MiB. One partition gets at most half of a
/// response. The limit matters because a response counts towards the limit of librdkafka's queue only once it is
/// unpacked: similar records of one batch then take 10 to 25 times their compressed size, and librdkafka's buffers up
/// to 1.75 times the unpacked size. A record that is larger than the limit is fetched by itself (KIP-74).
pub(crate) fn limit_responses(config: &mut ClientConfig, bytes: usize) {
    let response = bytes.clamp(64 * 1024, 1024 * 1024);
    set_default(config, "fetch.message.max.bytes", &(response / 2).to_string());
    if config.get("fetch.max.bytes").is_none() {
        config.set("fetch.max.bytes", response.to_string());
        // librdkafka refuses a `fetch.max.bytes` that is smaller than `message.max.bytes`. A consumer uses
        // `message.max.bytes` only for the size of its first buffer.
        config.set("message.max.bytes", response.to_string());
    }
}

/// Sets a property unless `KAFKA_OPTIONS` has set it.
pub(crate) fn set_default(config: &mut ClientConfig, key: &str, value: &str) {
    if config.get(key).is_none() {
        config.set(key, value);
    }
}

/// Writes one line of librdkafka's log to our log. A line can contain names of brokers, topics and client ids, but
/// never the content of a record.
fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // The failed call also returns this error, and the caller reports the error with a remedy. (A producer that is
        // fenced while it is idle reports the error with its next record.)
        _ if matches!(facility, "FATAL" | "TXNERR") => tracing::debug!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info
        | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_response_is_limited_to_1_mib_unless_kafka_options_set_its_size() {
        for (bytes, response, partition) in
            [(0, "65536", "32768"), (100_000, "100000", "50000"), (usize::MAX, "1048576", "524288")]
        {
            let mut config = ClientConfig::new();
            limit_responses(&mut config, bytes);
            let found = (config.get("fetch.max.bytes"), config.get("fetch.message.max.bytes"));
            assert_eq!(found, (Some(response), Some(partition)), "{bytes}");
            assert!(config.create_native_config().is_ok(), "librdkafka accepts the values");
        }
        let mut config = ClientConfig::new();
        config.set("fetch.max.bytes", "5000000").set("fetch.message.max.bytes", "3000000");
        limit_responses(&mut config, 0);
        let found = (config.get("fetch.max.bytes"), config.get("fetch.message.max.bytes"));
        assert_eq!(found, (Some("5000000"), Some("3000000")), "KAFKA_OPTIONS has set them");
    }
}
