//! Reads the number of brokers and the replication of topics, for the checks of the crate `setup`. No service uses this
//! module.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::TopicName;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use service::Reason;

use crate::client::{Callbacks, Context, create_with};
use crate::connection::Connection;
use crate::error_table::{code, is_missing_topic, is_unspecific, reason_and_remedy};

/// Beginning of the id that librdkafka's mock cluster reports.
const MOCK_CLUSTER: &str = "mockCluster";

/// Kinds of [`Obstacle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObstacleKind {
    /// This user lacks a permission.
    Denied,
    /// The configured credential, certificate or host name prevents a connection.
    NoAccess,
    /// The brokers did not answer, or answered with an error that has another cause.
    Unanswered,
}

/// The reason why a request to the brokers failed. Its text is the error of the brokers or of librdkafka.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Obstacle {
    /// The kind of the reason.
    pub kind: ObstacleKind,
    text: String,
    /// The next step.
    pub remedy: &'static str,
}

impl Obstacle {
    /// Builds an obstacle with this text. The error code determines its kind and its remedy.
    pub(crate) fn of(code: Option<RDKafkaErrorCode>, text: impl Into<String>) -> Self {
        let (reason, remedy) = reason_and_remedy(code);
        let kind = match reason {
            Reason::Unauthorized => ObstacleKind::Denied,
            Reason::Unauthenticated | Reason::Tls | Reason::Dns => ObstacleKind::NoAccess,
            _ => ObstacleKind::Unanswered,
        };
        Self { kind, text: text.into(), remedy }
    }

    /// The reason why a call of librdkafka failed.
    pub(crate) fn behind(error: &RdError) -> Self {
        Self::of(code(error), error.to_string())
    }

    /// An obstacle of the kind [`ObstacleKind::Denied`]. `text` is the brokers' error.
    #[must_use]
    pub fn denied(text: impl Into<String>) -> Self {
        Self::of(Some(RDKafkaErrorCode::TopicAuthorizationFailed), text)
    }

    /// An obstacle of the kind [`ObstacleKind::Unanswered`], for brokers that did not answer within `limit`.
    #[must_use]
    pub fn no_answer(limit: Duration) -> Self {
        Self::of(None, format!("no answer within {} s", limit.as_secs()))
    }
}

/// The replication of an existing topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Number of partitions.
    pub partitions: usize,
    /// Lowest number of replicas of any partition.
    pub replicas: usize,
    /// Lowest number of in-sync replicas of any partition.
    pub in_sync: usize,
}

/// The brokers and the wanted topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Number of brokers.
    pub brokers: usize,
    /// True for the demo's embedded broker, which keeps records of aborted transactions.
    pub is_embedded: bool,
    /// The wanted topics in the order of the request; `None` for a topic that does not exist.
    pub topics: Vec<(TopicName, Result<Option<Replication>, Obstacle>)>,
}

/// Reads the number of brokers and the replication of these topics. Blocks for at most `limit`, plus one second for the
/// cluster id and one for each topic that the brokers do not list.
///
/// # Errors
/// [`Obstacle`] if no broker answers. The obstacle of a single topic is in [`Cluster::topics`].
pub fn cluster(connection: &Connection, topics: &[TopicName], limit: Duration) -> Result<Cluster, Obstacle> {
    let deadline = Instant::now() + limit;
    let client = create_with(&connection.config(), Complaint::default());
    let client = client.map_err(|error| Obstacle::of(None, error.to_string()))?;
    let metadata = match client.fetch_metadata(None, limit) {
        Ok(metadata) => metadata,
        Err(error) => {
            take_in_complaints(&client);
            let seconds = limit.as_secs();
            let (code, reason) = match client.context().last() {
                Some((code, reason)) => (Some(code), reason),
                None => (code(&error), error.to_string()),
            };
            let bootstrap = connection.bootstrap();
            return Err(Obstacle::of(code, format!("no broker at {bootstrap} answered within {seconds} s: {reason}")));
        }
    };
    let id = client.client().fetch_cluster_id(Duration::from_secs(1));
    let look = |name: &TopicName| match metadata.topics().iter().find(|found| found.name() == name.as_str()) {
        Some(found) => replication(found),
        // The list lacks topics that do not exist and topics that this user may not describe. Only a request for the
        // single topic shows which of the two is the case.
        None => single(&client, name, deadline.saturating_duration_since(Instant::now())),
    };
    Ok(Cluster {
        brokers: metadata.brokers().len(),
        is_embedded: id.is_some_and(|id| id.starts_with(MOCK_CLUSTER)),
        topics: topics.iter().map(|name| (name.clone(), look(name))).collect(),
    })
}

type Client = BaseConsumer<Context<Complaint>>;

/// Requests the metadata of one topic. Waits for the response for `left`, but for at least one second.
fn single(client: &Client, name: &TopicName, left: Duration) -> Result<Option<Replication>, Obstacle> {
    let metadata = client.fetch_metadata(Some(name.as_str()), left.max(Duration::from_secs(1)));
    let metadata = metadata.map_err(|error| Obstacle::behind(&error))?;
    match metadata.topics().iter().find(|found| found.name() == name.as_str()) {
        Some(found) => replication(found),
        None => Ok(None),
    }
}

fn replication(found: &MetadataTopic) -> Result<Option<Replication>, Obstacle> {
    match found.error().map(RDKafkaErrorCode::from) {
        Some(code) if is_missing_topic(code) => Ok(None),
        Some(code) => Err(Obstacle::of(Some(code), code.to_string())),
        None => {
            let partitions = found.partitions();
            Ok(Some(Replication {
                partitions: partitions.len(),
                replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
                in_sync: partitions.iter().map(|partition| partition.isr().len()).min().unwrap_or(0),
            }))
        }
    }
}

/// The last error with a cause, such as a refused password, that librdkafka has reported to a client.
#[derive(Debug, Default)]
struct Complaint(Mutex<Option<(RDKafkaErrorCode, String)>>);

impl Complaint {
    fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Callbacks for Complaint {
    fn error(&self, error: &RdError, reason: &str) -> bool {
        if let Some(code) = error.rdkafka_error_code().filter(|code| !is_unspecific(*code)) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason.to_owned()));
        }
        true
    }
}

impl ConsumerContext for Context<Complaint> {}

/// Polls the client until no error is queued, so that [`Complaint`] receives all errors. No partition is assigned, so
/// the polls return no record.
fn take_in_complaints(client: &Client) {
    for _ in 0..100 {
        if client.poll(Duration::from_millis(10)).is_none() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedBroker;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_topic_is_reported_with_its_replication() {
        let broker = EmbeddedBroker::start().unwrap();
        let raw: TopicName = "raw".parse().unwrap();
        broker.create_topic(&raw, 3).unwrap();
        let found = cluster(&broker.connection("test"), std::slice::from_ref(&raw), LIMIT).unwrap();
        assert_eq!((found.brokers, found.is_embedded), (1, true));
        let replication = Replication { partitions: 3, replicas: 1, in_sync: 1 };
        assert_eq!(found.topics, [(raw, Ok(Some(replication)))]);
    }

    #[test]
    fn brokers_that_never_answer_are_reported_within_the_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let begun = Instant::now();
        let error = cluster(&Connection::plaintext(&address, "test"), &[], Duration::from_secs(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(error.kind, ObstacleKind::Unanswered);
        assert!(error.to_string().contains(&address), "{error}");
    }

    #[test]
    fn a_missing_permission_a_refused_password_and_an_outage_are_different_obstacles() {
        for (code, kind) in [
            (RDKafkaErrorCode::TopicAuthorizationFailed, ObstacleKind::Denied),
            (RDKafkaErrorCode::TransactionalIdAuthorizationFailed, ObstacleKind::Denied),
            (RDKafkaErrorCode::Authentication, ObstacleKind::NoAccess),
            (RDKafkaErrorCode::SSL, ObstacleKind::NoAccess),
            (RDKafkaErrorCode::RequestTimedOut, ObstacleKind::Unanswered),
        ] {
            assert_eq!(Obstacle::of(Some(code), "text").kind, kind, "{code}");
        }
    }
}
