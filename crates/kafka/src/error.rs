//! Errors of Kafka operations, with their remedies.

use contract::remedy::CREATE_IT;
use contract::{Offset, Partition};

/// A failure of a Kafka operation. The messages contain the operation and the topic, never the content of a record.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// librdkafka refused its configuration.
    #[error("librdkafka refuses the configuration: {0}; check KAFKA_OPTIONS and the KAFKA_S* variables")]
    Configuration(String),
    /// No broker responded.
    #[error(
        "no Kafka broker responded at {bootstrap} within {seconds} s: {reason}; check KAFKA_BOOTSTRAP_SERVERS, the network and the KAFKA_S* variables"
    )]
    Unreachable {
        /// The configured bootstrap servers.
        bootstrap: String,
        /// Time limit of the query in seconds.
        seconds: u64,
        /// librdkafka's last error.
        reason: String,
    },
    /// A topic does not exist.
    #[error("the topic `{0}` does not exist; {create}", create = CREATE_IT)]
    NoTopic(String),
    /// A started record has had no outcome for too long, although the work does not wait for an external system.
    #[error(
        "the record at offset {offset} of partition {partition} of `{topic}` has been in progress for {after:?} without an outcome; this is a defect, please report it with the log. No record is lost: a restart continues at that record"
    )]
    Stalled {
        /// Input topic.
        topic: String,
        /// Partition of the record.
        partition: Partition,
        /// Offset of the record.
        offset: Offset,
        /// Time since the record was started.
        after: std::time::Duration,
    },
    /// The output topic has fewer partitions than the input topic.
    #[error(
        "`{output}` has {output_partitions} partitions but `{input}` has {input_partitions}: each record keeps its partition number, so grow `{output}` to at least {input_partitions} first"
    )]
    TooFewPartitions {
        /// Input topic.
        input: String,
        /// Number of partitions of the input topic.
        input_partitions: usize,
        /// Output topic.
        output: String,
        /// Number of partitions of the output topic.
        output_partitions: usize,
    },
    /// The consumer group has no offsets although the topic was processed before.
    #[error(
        "the group `{group}` has no committed offset for {topic}[{partition}], but {output} already contains records that were written from it: starting again would repeat them. Restore the group's offsets, or start once with {option} to accept the repeats"
    )]
    LostGroup {
        /// The consumer group.
        group: String,
        /// Input topic.
        topic: String,
        /// Partition without a committed offset.
        partition: Partition,
        /// Topic or record in which output was found.
        output: String,
        /// The option that accepts the repeats.
        option: &'static str,
    },
    /// The processor cannot continue with a record, for this reason.
    #[error("{0}")]
    GivenUp(String),
    /// A newer process uses the same worker name.
    #[error(
        "another process has taken over as `{instance}`: each instance needs its own {variable}. This older one ends; no record is lost"
    )]
    InstanceTaken {
        /// Name of the worker.
        instance: String,
        /// Variable that makes the name unique.
        variable: &'static str,
    },
    /// The clients of a worker were rebuilt too often.
    #[error(
        "the Kafka clients had to be rebuilt {times} times in {minutes} minutes, last reason: {reason}; if another process uses the same {variable}, stop one of the two"
    )]
    TooManyRebuilds {
        /// Number of rebuilds.
        times: usize,
        /// Length of the period in minutes.
        minutes: u64,
        /// Reason of the last rebuild.
        reason: String,
        /// Variable that makes the worker's name unique.
        variable: &'static str,
    },
    /// A transaction of another producer does not end.
    #[error(
        "a transaction in {topic}[{partition}] has been open since offset {offset} and does not end: the records after it are not final yet. Try again later; the brokers end a transaction whose writer died after its timeout"
    )]
    OpenTransaction {
        /// Topic with the open transaction.
        topic: String,
        /// Partition with the open transaction.
        partition: Partition,
        /// Last stable offset of the partition.
        offset: Offset,
    },
    /// A partition was not read to its end, because no record arrived within the time limit.
    #[error(
        "{topic}[{partition}] was read up to offset {offset} of {end}, then no record arrived for {seconds} s; check the brokers and try again"
    )]
    Silence {
        /// Topic that was read.
        topic: String,
        /// Partition that was read.
        partition: Partition,
        /// Offset up to which the partition was read.
        offset: Offset,
        /// End offset that reading should have reached.
        end: Offset,
        /// Time without a record, in seconds.
        seconds: u64,
    },
    /// A topic refuses a batch that contains a record of this size.
    #[error(
        "`{topic}` refuses a batch with a record of {bytes} bytes: raise the topic's max.message.bytes (and the brokers' message.max.bytes)"
    )]
    RecordTooLarge {
        /// Topic that refuses the batch.
        topic: String,
        /// Size of the record's key and value in bytes.
        bytes: usize,
    },
    /// The transaction of a command failed.
    #[error("writing as `{id}` failed: {reason}; run the command again: it skips what is already done")]
    Write {
        /// Transactional id of the command.
        id: String,
        /// Reason of the failure.
        reason: String,
    },
    /// An operation of librdkafka failed.
    #[error("{operation} failed: {source}")]
    Operation {
        /// Name of the operation, as it appears in the message.
        operation: &'static str,
        /// librdkafka's error.
        source: rdkafka::error::KafkaError,
    },
}

impl KafkaError {
    /// Wraps librdkafka's error with the operation: `.map_err(KafkaError::during("commit"))`.
    pub(crate) fn during(operation: &'static str) -> impl Fn(rdkafka::error::KafkaError) -> Self {
        move |source| Self::Operation { operation, source }
    }
}
