//! Queries the brokers periodically: whether they respond, and the end offsets of the input topic.
//!
//! The probe has its own clients, so that it also notices an outage when no record is read or written, and keeps the
//! lag correct while the readers are paused. Each process runs one probe, on a separate thread.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::raw::received_at_or;
use contract::{Offset, Partition, Position, TopicName};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use service::{Reason, Trouble};
use tokio_util::sync::CancellationToken;

use crate::client::{Callbacks, Context, Isolation, create_with, limit_responses, observing, set_default};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::is_unspecific;
use crate::health::{KafkaHealth, OPEN_TRANSACTION, by_code, kafka_trouble};
use crate::metrics::ConsumerMetrics;
use crate::partition_list;
use crate::record::{Record, header};

/// Interval between two queries.
const INTERVAL: Duration = Duration::from_secs(2);

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(5);

/// Time limit for reading the oldest unprocessed records.
const LOOK: Duration = Duration::from_secs(3);

/// Maximum age of a client's last error. An older error does not count as the cause of a failed query.
const RECENT: Duration = Duration::from_secs(15);

/// Time after which an open transaction is reported. Including the query interval and the delay of a report, this
/// results in a report within ten seconds.
const OPEN_TOO_LONG: Duration = Duration::from_secs(5);

/// Callbacks that keep the client's last error, because it is more specific than the error of a failed query.
#[derive(Debug, Default)]
struct Complaints(Mutex<Option<(RDKafkaErrorCode, String, Instant)>>);

impl Complaints {
    fn recent(&self) -> Option<(RDKafkaErrorCode, String)> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(_, _, at)| at.elapsed() < RECENT).map(|(code, text, _)| (*code, text.clone()))
    }
}

impl Callbacks for Complaints {
    fn error(&self, error: &RdError, reason: &str) -> bool {
        if let Some(code) = error.rdkafka_error_code().filter(|code| !is_unspecific(*code)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned(), Instant::now()));
        }
        true
    }
}

impl ConsumerContext for Context<Complaints> {}

type ProbeConsumer = BaseConsumer<Context<Complaints>>;

/// Whether a connection was closed because only one side uses TLS. Only the text of librdkafka's error shows this.
/// librdkafka adds its hint about `security.protocol` to every early disconnect, so the hint counts only if no broker
/// has ever responded.
fn is_about_tls(reason: &str, has_answered: bool) -> bool {
    let handshake = ["SSL handshake", "SSL_HANDSHAKE"].iter().any(|text| reason.contains(text));
    handshake || (!has_answered && reason.contains("connecting to a SSL listener"))
}

/// The clients of the probe, and the results of the last queries.
pub struct Probe {
    topic: TopicName,
    health: KafkaHealth,
    /// Client that also sees records of open transactions.
    all: ProbeConsumer,
    /// State for the topic that the service reads; `None` for a service that only writes.
    reading: Option<Reading>,
    /// Whether a query has ever succeeded.
    has_answered: bool,
}

struct Reading {
    metrics: ConsumerMetrics,
    /// Client that sees only committed records.
    committed: ProbeConsumer,
    /// End offsets at the last check.
    ends: BTreeMap<Partition, Offset>,
    /// Partitions with an open transaction: the first offset of the transaction, and when the probe first found it.
    open: BTreeMap<Partition, (Offset, Instant)>,
    /// Receive time of the first record at or after a frontier, in Unix milliseconds. Kept so that each record is
    /// looked up only once.
    oldest: BTreeMap<Position, i64>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Probe {
    /// Creates a probe for a service that only writes to `topic`.
    ///
    /// # Errors
    /// [`KafkaError::Configuration`].
    pub fn of_writer(connection: &Connection, topic: &TopicName, health: &KafkaHealth) -> Result<Self, KafkaError> {
        let all = client(connection, Isolation::ReadUncommitted)?;
        Ok(Self { topic: topic.clone(), health: health.clone(), all, reading: None, has_answered: false })
    }

    /// Creates a probe for a service that reads `topic`. The probe updates the lag and the age of the oldest record in
    /// `metrics`.
    ///
    /// # Errors
    /// [`KafkaError::Configuration`].
    pub fn of_reader(
        connection: &Connection,
        topic: &TopicName,
        health: &KafkaHealth,
        metrics: &ConsumerMetrics,
    ) -> Result<Self, KafkaError> {
        let mut probe = Self::of_writer(connection, topic, health)?;
        probe.reading = Some(Reading {
            metrics: metrics.clone(),
            committed: client(connection, Isolation::ReadCommitted)?,
            ends: BTreeMap::new(),
            open: BTreeMap::new(),
            oldest: BTreeMap::new(),
        });
        Ok(probe)
    }

    /// Queries the brokers on this thread until `stop` is cancelled.
    ///
    /// # Errors
    /// Never; all threads of a service have this return type.
    pub fn run(mut self, stop: &CancellationToken) -> Result<(), KafkaError> {
        while !stop.is_cancelled() {
            let next = Instant::now() + INTERVAL;
            let request = self.health.brokers.request();
            match self.ask() {
                Ok(()) => {
                    self.has_answered = true;
                    request.succeeded();
                }
                Err(error) => request.failed(self.trouble(&error)),
            }
            while Instant::now() < next && !stop.is_cancelled() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), KafkaError> {
        let partitions = partitions(&self.all, &self.topic)?;
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let ends = ends(&self.all, &self.topic, &partitions)?;
        reading.metrics.show_partitions(partitions.len());
        reading.metrics.show_lag(&ends);
        let frontiers = reading.metrics.frontiers();
        let stable = self::ends(&reading.committed, &self.topic, &partitions)?;
        reading.metrics.readable_to(&stable);
        reading.look_for_open_transactions(&self.topic, &self.health, &frontiers, &ends, &stable);
        // Selects the partitions whose frontier is before the end at the previous check: their oldest record has waited
        // at least since that check.
        let late: Vec<Position> = frontiers
            .iter()
            .filter(|(partition, frontier)| reading.ends.get(*partition).is_some_and(|end| *frontier < end))
            .map(|(partition, frontier)| Position::of(*partition, *frontier))
            .collect();
        reading.ends = ends;
        reading.show_oldest(&self.all, &self.topic, &late)
    }

    /// Returns the reason and remedy of a failed query. If the query's own reason is not permanent, the client's recent
    /// error takes precedence, because it is more specific.
    fn trouble(&self, error: &KafkaError) -> Trouble {
        let trouble = kafka_trouble(error);
        match self.all.context().recent() {
            Some((code, text)) if !trouble.reason.is_permanent() => {
                let code = if is_about_tls(&text, self.has_answered) { RDKafkaErrorCode::SSL } else { code };
                by_code(Some(code), text)
            }
            _ => trouble,
        }
    }
}

impl Reading {
    fn look_for_open_transactions(
        &mut self,
        topic: &TopicName,
        health: &KafkaHealth,
        frontiers: &BTreeMap<Partition, Offset>,
        ends: &BTreeMap<Partition, Offset>,
        stable: &BTreeMap<Partition, Offset>,
    ) {
        let now = Instant::now();
        let open = |partition: &Partition, stable: &Offset| {
            frontiers.contains_key(partition) && ends.get(partition).is_some_and(|end| stable < end)
        };
        let known = std::mem::take(&mut self.open);
        for (&partition, &stable) in stable.iter().filter(|(partition, stable)| open(partition, stable)) {
            let since = known.get(&partition).filter(|(offset, _)| *offset == stable).map_or(now, |(_, since)| *since);
            self.open.insert(partition, (stable, since));
        }
        let lasting = self.open.iter().find(|(_, (_, since))| now.duration_since(*since) >= OPEN_TOO_LONG);
        match lasting {
            None => health.open_transactions.succeeded(),
            Some((partition, (offset, since))) => health.open_transactions.failed(Trouble {
                reason: Reason::OpenTransaction,
                cause: format!(
                    "a transaction in {topic}[{partition}] has been open at offset {offset} for {} s; records after it are not read before it ends",
                    since.elapsed().as_secs()
                ),
                remedy: OPEN_TRANSACTION,
            }),
        }
    }

    /// Updates the age of the oldest unprocessed record, for the partitions that have lagged since the last check.
    fn show_oldest(&mut self, reader: &ProbeConsumer, topic: &TopicName, late: &[Position]) -> Result<(), KafkaError> {
        self.oldest.retain(|frontier, _| late.contains(frontier));
        let unknown: Vec<Position> =
            late.iter().copied().filter(|frontier| !self.oldest.contains_key(frontier)).collect();
        for (partition, received_at) in first_received(reader, topic, &unknown)? {
            if let Some(frontier) = unknown.iter().find(|frontier| frontier.partition == partition) {
                self.oldest.insert(*frontier, received_at);
            }
        }
        let oldest = self.oldest.values().copied().min();
        let age = oldest.map_or(0, |received_at| service::unix_millis().saturating_sub(received_at).max(0));
        self.metrics.set_oldest(age);
        Ok(())
    }
}

fn client(connection: &Connection, isolation: Isolation) -> Result<ProbeConsumer, KafkaError> {
    let mut config = observing(connection, isolation);
    set_default(&mut config, "queued.max.messages.kbytes", "1024");
    set_default(&mut config, "fetch.message.max.bytes", "16384");
    limit_responses(&mut config, 0);
    set_default(&mut config, "reconnect.backoff.max.ms", "1000");
    create_with(&config, Complaints::default())
}

/// Polls the client until no error is queued, so that all errors reach its context: a poll returns after one error. No
/// partition is assigned, so no record is returned.
fn take_in_complaints(client: &ProbeConsumer) {
    for _ in 0..100 {
        if client.poll(Duration::from_millis(10)).is_none() {
            break;
        }
    }
}

/// Returns the partitions of a topic. Also passes the errors of the client to its context.
fn partitions(client: &ProbeConsumer, topic: &TopicName) -> Result<Vec<Partition>, KafkaError> {
    let metadata = client.fetch_metadata(Some(topic.as_str()), CALL);
    take_in_complaints(client);
    let metadata = metadata.map_err(KafkaError::during("asking for a topic's partitions"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic.as_str());
    if let Some(error) = found.and_then(rdkafka::metadata::MetadataTopic::error) {
        let error = RdError::MetadataFetch(RDKafkaErrorCode::from(error));
        return Err(KafkaError::during("asking for a topic's partitions")(error));
    }
    let partitions = found.map(|found| found.partitions().iter().map(|partition| Partition(partition.id())));
    Ok(partitions.into_iter().flatten().collect())
}

/// Returns the end of each partition as this client sees it, with one request.
fn ends(
    client: &ProbeConsumer,
    topic: &TopicName,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Offset>, KafkaError> {
    let list = partition_list::ends(topic, partitions)?;
    let found =
        client.offsets_for_times(list, CALL).map_err(KafkaError::during("asking for the ends of partitions"))?;
    let ends = partition_list::positions_of(&found).into_iter();
    Ok(ends.map(|end| (end.partition, end.offset)).collect())
}

/// Returns the receive time of the first record at or after each of these offsets, in Unix milliseconds. Partitions
/// without a response in time are left out.
fn first_received(
    reader: &ProbeConsumer,
    topic: &TopicName,
    from: &[Position],
) -> Result<BTreeMap<Partition, i64>, KafkaError> {
    let mut found = BTreeMap::new();
    if from.is_empty() {
        return Ok(found);
    }
    reader.assign(&partition_list::positions(topic, from)?).map_err(KafkaError::during("assigning a reader"))?;
    let deadline = Instant::now() + LOOK;
    while found.len() < from.len() && Instant::now() < deadline {
        if let Some(Ok(message)) = reader.poll(Duration::from_millis(50)) {
            let record = Record::new(&message);
            let received_at = || received_at_or(record.header(header::RECEIVED_AT), record.timestamp());
            found.entry(record.partition()).or_insert_with(received_at);
        }
    }
    reader.unassign().map_err(KafkaError::during("unassigning a reader"))?;
    Ok(found)
}

#[cfg(test)]
mod tests;
