//! Why an operation has no result, or was not carried out.

use contract::{Partition, Position};
use kafka::KafkaError;

/// Why an operation has no result, or was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Kafka did not answer, or refused the request.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The range of time contains nothing.
    #[error("the start of the range must be before its end")]
    EmptyRange,
    /// The raw topic has no such partition.
    #[error("there is no partition {partition}, the raw topic has {count}")]
    NoPartition {
        /// The partition that was requested.
        partition: Partition,
        /// Partitions of the raw topic.
        count: usize,
    },
    /// There is no dead letter at this position.
    #[error("there is no dead letter at {0}")]
    NoDeadLetter(Position),
    /// Some of the chosen dead letters are the sink's, and the request does not say how to replay those.
    #[error("{0} of the chosen dead letters are the sink's: say whether to send them as they are or to map them again")]
    HowToReplay(u64),
    /// The operation would resolve more dead letters than a person confirmed. Nothing was written.
    #[error(
        "it would now resolve {resolves} dead letters, and {confirmed} were confirmed: nothing was written, make another dry run"
    )]
    MoreThanConfirmed {
        /// What the person confirmed.
        confirmed: usize,
        /// How many there are now.
        resolves: usize,
    },
    /// Records expired while they were read, so that related records may be missing.
    #[error(
        "records expired while they were read, {attempts} times in a row; audit only records that are younger than the topics' retention"
    )]
    Expired {
        /// How often the audit started again.
        attempts: u32,
    },
    /// A thread ended without a result.
    #[error("a thread that read a topic failed; this is a defect, please report it with the log")]
    ReaderFailed,
}
