//! Reports failures of Kafka, with their reasons and remedies, to the log, the metric `waiting` and readiness.

use std::time::{Duration, Instant};

use contract::TopicName;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use service::{Activity, Ready, Reason, Trouble, Waiting};

use crate::error::KafkaError;
use crate::error_table::{CHECK_BROKERS, code, is_in_consequence, is_of_rebalances, reason_and_remedy};
use crate::producer::ProduceError;

/// The activities of a service that need Kafka. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KafkaHealth {
    /// Continuous queries to the brokers ([`crate::probe`]).
    pub(crate) brokers: Activity,
    /// Reading as a member of a consumer group, and committing offsets.
    pub(crate) group: Activity,
    writing: Activity,
    /// Registration of the `transactional.id`.
    registering: Activity,
    /// Passing records on to the code that processes them.
    handing_on: Activity,
    /// Reading the records after an open transaction of another process: the transaction delays them until it ends.
    pub(crate) open_transactions: Activity,
    /// Restoring the state of newly assigned partitions: an open transaction of another process can delay this.
    restoring: Activity,
}

/// Remedy for a transaction that stays open.
pub(crate) const OPEN_TRANSACTION: &str = "the brokers end it at its timeout if its writer died; if it stays open, the brokers have lost its end: see \"A transaction that stays open\" in docs/operate.md (`kafka-transactions.sh find-hanging` lists it, `kafka-transactions.sh abort` ends it)";

/// Time after which a full buffer is reported if no record is read.
const FULL_FOR_LONG: Duration = Duration::from_secs(5);

impl KafkaHealth {
    /// Creates the activities of a service. `ready` defines whether the service's readiness depends on them.
    #[must_use]
    pub fn new(waiting: &Waiting, ready: Ready) -> Self {
        let activity = |name, ready| waiting.activity(name, ready, CHECK_BROKERS);
        // `brokers` and `group` already report an outage. A failed write affects readiness only if the failure is
        // permanent: this instance may lack a permission that another instance has.
        let writing = if ready == Ready::Depends { Ready::DependsIfPermanent } else { ready };
        Self {
            brokers: activity("asking the Kafka brokers", ready),
            group: activity("reading as a member of the consumer group", ready),
            writing: activity("writing to Kafka", writing),
            registering: activity("registering the transactional id", writing),
            handing_on: activity("handing records on", Ready::Stays),
            open_transactions: activity("reading past a transaction of another process", Ready::Stays),
            restoring: activity("restoring the state of new partitions", Ready::Stays),
        }
    }

    /// Reports the result of a write.
    pub fn wrote<T>(&self, topic: &TopicName, result: &Result<T, ProduceError>) {
        match result {
            Ok(_) => self.writing.succeeded(),
            // `TooLarge` is a property of the record, not a failure of Kafka.
            Err(ProduceError::TooLarge) => {}
            Err(error) => self.writing.failed(write_trouble(topic, error)),
        }
    }

    /// Reports the state of the buffer: `since` is the time at which the buffer became full and reading stopped; `None`
    /// if the buffer has room.
    pub(crate) fn buffer_full(&self, since: Option<Instant>) {
        match since {
            Some(since) if since.elapsed() >= FULL_FOR_LONG => self.handing_on.failed(Trouble {
                reason: Reason::BufferFull,
                cause: format!("the buffer has been full for {} s: records arrive faster than they are processed", since.elapsed().as_secs()),
                remedy: "check the other reasons for waiting; if there are none, raise the rates or add instances. The waiting records stay in Kafka",
            }),
            Some(_) => {}
            None => self.handing_on.succeeded(),
        }
    }

    /// Reports that a transaction of another process delays the restore of new partitions. `what` describes the delay.
    pub(crate) fn restoring_is_delayed(&self, what: String) {
        // An outage of the brokers also delays the restore, and `brokers` already reports the outage.
        if self.brokers.fails() {
            return;
        }
        self.restoring.failed(Trouble { reason: Reason::OpenTransaction, cause: what, remedy: OPEN_TRANSACTION });
    }

    /// Reports that the restore of new partitions is no longer delayed.
    pub(crate) fn restoring_continues(&self) {
        self.restoring.succeeded();
    }

    /// Whether one of the activities fails in a way that only a person can fix.
    pub(crate) fn fails_permanently(&self) -> bool {
        [&self.brokers, &self.group, &self.writing, &self.registering].into_iter().any(Activity::fails_permanently)
    }

    /// Reports that a transaction, or a record in a transaction, succeeded.
    pub(crate) fn transacted(&self) {
        self.writing.succeeded();
    }

    /// Reports whether the transactional id was registered. Success alone does not mean that records can be written.
    pub(crate) fn registered(&self, result: &Result<(), RdError>) {
        match result {
            Ok(()) => self.registering.succeeded(),
            Err(error) => self.registering.failed(trouble(error)),
        }
    }

    /// Reports that a transaction, or a record in a transaction, failed.
    pub(crate) fn transaction_failed(&self, error: &RdError) {
        let code = code(error);
        if code.is_some_and(is_of_rebalances) {
            return;
        }
        if code.is_some_and(is_in_consequence) {
            self.writing.failed_in_consequence(trouble(error));
        } else {
            self.writing.failed(trouble(error));
        }
    }
}

/// Returns reason and remedy of an error of librdkafka.
pub(crate) fn trouble(error: &RdError) -> Trouble {
    by_code(code(error), error.to_string())
}

/// Returns reason and remedy of an error code; `cause` describes the failure in the message.
pub(crate) fn by_code(code: Option<RDKafkaErrorCode>, cause: String) -> Trouble {
    let (reason, remedy) = reason_and_remedy(code);
    Trouble { reason, cause, remedy }
}

/// Returns the [`Trouble`] to report if the consumer group has removed this member.
pub(crate) fn assignment_lost() -> Trouble {
    Trouble {
        reason: Reason::Unavailable,
        cause: "the consumer group removed this member; it joins again".to_owned(),
        remedy: CHECK_BROKERS,
    }
}

/// Returns reason and remedy of an error of this crate.
pub(crate) fn kafka_trouble(error: &KafkaError) -> Trouble {
    match error {
        KafkaError::Operation { source, .. } => Trouble { cause: error.to_string(), ..trouble(source) },
        KafkaError::NoTopic(_) => by_code(Some(RDKafkaErrorCode::UnknownTopic), error.to_string()),
        other => by_code(None, other.to_string()),
    }
}

fn write_trouble(topic: &TopicName, error: &ProduceError) -> Trouble {
    let code = match error {
        ProduceError::NoTopic => Some(RDKafkaErrorCode::UnknownTopic),
        ProduceError::Unacknowledged => Some(RDKafkaErrorCode::MessageTimedOut),
        ProduceError::Unauthorized => Some(RDKafkaErrorCode::TopicAuthorizationFailed),
        ProduceError::QueueFull | ProduceError::TooLarge | ProduceError::Other(_) => None,
    };
    by_code(code, format!("writing to {topic}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_map_to_permanent_or_temporary_reasons() {
        use RDKafkaErrorCode as Code;
        for (code, reason, permanent) in [
            (Code::BrokerTransportFailure, Reason::Unavailable, false),
            (Code::AllBrokersDown, Reason::Unavailable, false),
            (Code::OperationTimedOut, Reason::Timeout, false),
            (Code::Resolve, Reason::Dns, false),
            (Code::SSL, Reason::Tls, false),
            (Code::Authentication, Reason::Unauthenticated, true),
            (Code::GroupAuthorizationFailed, Reason::Unauthorized, true),
            (Code::TransactionalIdAuthorizationFailed, Reason::Unauthorized, true),
            (Code::UnknownTopicOrPartition, Reason::Missing, true),
        ] {
            let found = by_code(Some(code), String::new()).reason;
            assert_eq!((found, found.is_permanent()), (reason, permanent), "{code:?}");
        }
    }
}
