//! Errors of the operator's functions.

use contract::{Partition, Position};
use kafka::KafkaError;

/// Reason why an operation has no result, or was not executed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Kafka did not respond, or refused a request.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The start of the time range is not before its end.
    #[error("the start of the range must be before its end")]
    EmptyRange,
    /// The raw topic does not have the requested partition.
    #[error("there is no partition {partition}, the raw topic has {count}")]
    NoPartition {
        /// Requested partition.
        partition: Partition,
        /// Number of partitions of the raw topic.
        count: usize,
    },
    /// The topic has no dead letter at this position.
    #[error("there is no dead letter at {0}")]
    NoDeadLetter(Position),
    /// The request includes dead letters of the sink or of Platform, and does not specify how to replay them. The value
    /// is their number.
    #[error("{0} of the chosen dead letters are the sink's: say whether to send them as they are or to map them again")]
    HowToReplay(u64),
    /// The operation would resolve more dead letters than a person confirmed. Nothing was written.
    #[error(
        "it would now resolve {resolves} dead letters, and {confirmed} were confirmed: nothing was written, make another dry run"
    )]
    MoreThanConfirmed {
        /// Number of dead letters that the person confirmed.
        confirmed: usize,
        /// Number of dead letters that the operation would resolve now.
        resolves: usize,
    },
    /// Records expired during every attempt to read the topics, so the audit has no reliable result.
    #[error(
        "records expired while they were read, {attempts} times in a row; audit only records that are younger than the topics' retention"
    )]
    Expired {
        /// Number of attempts.
        attempts: u32,
    },
    /// A thread that reads a topic panicked.
    #[error("a thread that read a topic failed; this is a defect, please report it with the log")]
    ReaderFailed,
}
