//! The meaning of librdkafka's error codes. Every decision of this crate that depends on a code is made here, so that
//! the decisions can be compared. A test lists the decisions for all codes.
//!
//! Other modules also decide by the variant or the flags of rdkafka's errors, which are not codes: the end of a
//! partition, a fatal error of a poll, a failed seek or flush, and whether an error of a transaction is fatal,
//! retriable or needs an abort. Other modules also create errors with a code, for example for a timeout of this crate.

use contract::remedy::CREATE_TOPIC;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode as Code};
use service::Reason;

use crate::error::KafkaError;

/// Remedy while the brokers do not respond.
pub(crate) const CHECK_BROKERS: &str = "check that the brokers run, and that KAFKA_BOOTSTRAP_SERVERS and the addresses the brokers advertise can be reached from here";

/// Returns the code of an error, including errors of transactions.
pub(crate) fn code(error: &RdError) -> Option<Code> {
    match error {
        RdError::Transaction(error) => Some(error.code()),
        error => error.rdkafka_error_code(),
    }
}

/// Returns the reason for the failure of an operation, and its remedy.
pub(crate) fn reason_and_remedy(code: Option<Code>) -> (Reason, &'static str) {
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed) => (
            Reason::Unauthenticated,
            "check KAFKA_SASL_USERNAME, its password, KAFKA_SASL_MECHANISM and KAFKA_SECURITY_PROTOCOL",
        ),
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => (Reason::Unauthorized, "give this user the ACL; docs/operate.md lists what each service needs"),
        Some(Code::SSL) => (Reason::Tls, "check KAFKA_SSL_CA, the client's certificate and KAFKA_SECURITY_PROTOCOL"),
        Some(Code::Resolve) => (Reason::Dns, "check the host names in KAFKA_BOOTSTRAP_SERVERS and the name server"),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            (Reason::Missing, CREATE_TOPIC)
        }
        Some(Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut | Code::MessageTimedOut) => {
            (Reason::Timeout, CHECK_BROKERS)
        }
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => (
            Reason::Unavailable,
            "bring the brokers back that hold the topic's replicas: fewer than min.insync.replicas are in sync",
        ),
        Some(Code::ThrottlingQuotaExceeded) => (Reason::Throttled, "raise the brokers' quota for this client"),
        _ => (Reason::Unavailable, CHECK_BROKERS),
    }
}

/// Whether this error is expected in a rebalance: the next owners of the partitions continue after the last committed
/// transaction.
pub(crate) fn is_of_rebalances(code: Code) -> bool {
    matches!(code, Code::IllegalGeneration | Code::RebalanceInProgress | Code::UnknownMemberId) || is_purged(code)
}

/// Whether librdkafka dropped a record because its transaction was aborted.
pub(crate) fn is_purged(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight)
}

/// Whether the error only follows from an earlier one: the brokers do not know the transaction, because they refused an
/// earlier request of this transaction.
pub(crate) fn is_in_consequence(code: Code) -> bool {
    code == Code::InvalidTransactionalState
}

/// The reason why the group refuses a request of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The group is between two generations. It accepts requests again from the members of the next generation.
    Rebalancing,
    /// The group no longer knows this member.
    Evicted,
}

/// Returns why the group refuses a request of this member; `None` if this code is not a refusal by the group.
pub(crate) fn refusal(code: Code) -> Option<Refusal> {
    match code {
        Code::IllegalGeneration | Code::RebalanceInProgress => Some(Refusal::Rebalancing),
        Code::UnknownMemberId | Code::FencedInstanceId => Some(Refusal::Evicted),
        _ => None,
    }
}

/// Whether another producer has registered the transactional id, or the brokers have fenced this producer after a
/// timeout.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Whether a topic exists already.
pub(crate) fn is_existing_topic(code: Code) -> bool {
    code == Code::TopicAlreadyExists
}

/// Whether this client lacks the permission to query a topic, so that repeating the query does not help.
pub(crate) fn forbids_topic(code: Code) -> bool {
    code == Code::TopicAuthorizationFailed
}

/// Whether this error only summarises more specific errors, which librdkafka has reported for the individual brokers.
pub(crate) fn is_unspecific(code: Code) -> bool {
    code == Code::AllBrokersDown
}

/// Whether a reader is at the end of a partition, which librdkafka reports as an error.
pub(crate) fn is_partition_end(code: Code) -> bool {
    code == Code::PartitionEOF
}

/// Whether a topic does not exist.
pub(crate) fn is_missing_topic(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition)
}

/// The reason why a group member can no longer be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollFailure {
    /// The client is broken.
    Fatal,
    /// The position is outside the retained range.
    OutOfRange,
    /// The topic no longer exists.
    NoTopic,
}

/// Returns why new clients are needed after this error of a poll. `None` means that the error is temporary: librdkafka
/// continues by itself.
pub(crate) fn poll_failure(error: &RdError) -> Option<PollFailure> {
    match error {
        RdError::MessageConsumptionFatal(_) => Some(PollFailure::Fatal),
        RdError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(PollFailure::OutOfRange),
        RdError::MessageConsumption(code) if is_missing_topic(*code) => Some(PollFailure::NoTopic),
        _ => None,
    }
}

/// Whether reading fails until a person changes something.
pub(crate) fn stops_reading(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::OffsetOutOfRange
            | Code::AutoOffsetReset
            | Code::Fatal
    ) || is_missing_topic(code)
}

/// The reason why the brokers have not acknowledged a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryFailure {
    QueueFull,
    TooLarge,
    NoTopic,
    Unauthorized,
    Unacknowledged,
    Other,
}

/// Returns why the brokers have not acknowledged a record of a producer without transactions.
pub(crate) fn delivery_failure(code: Option<Code>) -> DeliveryFailure {
    match code {
        Some(Code::QueueFull) => DeliveryFailure::QueueFull,
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => DeliveryFailure::TooLarge,
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => DeliveryFailure::NoTopic,
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => DeliveryFailure::Unauthorized,
        Some(Code::MessageTimedOut | Code::PurgeInflight | Code::PurgeQueue) => DeliveryFailure::Unacknowledged,
        _ => DeliveryFailure::Other,
    }
}

/// Whether a topic refuses a batch of a transaction because of its size.
pub(crate) fn is_refused_for_size(code: Code) -> bool {
    code == Code::MessageSizeTooLarge
}

/// Whether an administrative request got no response, or the brokers do not support it.
pub(crate) fn is_unanswered(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure | Code::UnsupportedFeature
    )
}

/// Whether new clients may fix the failure. Every other failure needs a person.
pub(crate) fn may_pass(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Operation { .. } | KafkaError::Unreachable { .. } | KafkaError::NoTopic(_))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    /// Returns all decisions that depend on a code, except for [`reason_and_remedy`].
    fn decisions(code: Code) -> Vec<String> {
        let named: [(&str, bool); 12] = [
            ("of every rebalance", is_of_rebalances(code)),
            ("purged", is_purged(code)),
            ("in consequence", is_in_consequence(code)),
            ("fenced", is_fenced(code)),
            ("existing topic", is_existing_topic(code)),
            ("topic forbidden", forbids_topic(code)),
            ("unspecific", is_unspecific(code)),
            ("end of a partition", is_partition_end(code)),
            ("missing topic", is_missing_topic(code)),
            ("stops reading", stops_reading(code)),
            ("refused for size", is_refused_for_size(code)),
            ("unanswered", is_unanswered(code)),
        ];
        let mut decisions: Vec<String> =
            named.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name.to_owned()).collect();
        decisions.extend(refusal(code).map(|refusal| format!("refusal: {refusal:?}")));
        let polled = poll_failure(&RdError::MessageConsumption(code));
        decisions.extend(polled.map(|failure| format!("poll: {failure:?}")));
        let delivery = delivery_failure(Some(code));
        decisions.extend((delivery != DeliveryFailure::Other).then(|| format!("delivery: {delivery:?}")));
        decisions
    }

    #[test]
    fn the_decisions_for_all_codes_are_pinned() {
        let mut table = String::new();
        for number in -200..200 {
            let Ok(known) = RDKafkaRespErr::try_from(number) else { continue };
            let code = Code::from(known);
            let (reason, _) = reason_and_remedy(Some(code));
            let decisions = decisions(code);
            if reason != Reason::Unavailable || !decisions.is_empty() {
                let row = [vec![format!("{reason:?}")], decisions].concat();
                writeln!(table, "{code:?}: {}", row.join(", ")).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_fatal_poll_error_needs_new_clients_for_every_code() {
        for code in [Code::Fatal, Code::BrokerTransportFailure] {
            assert_eq!(poll_failure(&RdError::MessageConsumptionFatal(code)), Some(PollFailure::Fatal));
        }
    }
}
