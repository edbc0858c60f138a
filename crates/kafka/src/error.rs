//! Errors of Kafka operations, with what to do about them.

use contract::{Offset, Partition};

/// A failure of a Kafka operation. The texts name the operation and the topic, never a record's content.
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
        /// How long was waited.
        seconds: u64,
        /// librdkafka's last error.
        reason: String,
    },
    /// A topic does not exist.
    #[error("the topic `{0}` does not exist; create it, for example with `customerio-aep setup apply --only kafka`")]
    NoTopic(String),
    /// A record was started, nothing outside is waited for, and it has no outcome.
    #[error(
        "the record at offset {offset} of partition {partition} of `{topic}` has been in progress for {after:?} without an outcome; this is a defect, please report it with the log. No record is lost: a restart continues at that record"
    )]
    Stalled {
        /// The topic read.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The offset after the last settled record.
        offset: Offset,
        /// For how long.
        after: std::time::Duration,
    },
    /// The output topic has fewer partitions than the input topic.
    #[error(
        "`{output}` has {output_partitions} partitions but `{input}` has {input_partitions}: each record keeps its partition number, so grow `{output}` to at least {input_partitions} first"
    )]
    TooFewPartitions {
        /// The topic read.
        input: String,
        /// Its partitions.
        input_partitions: usize,
        /// The topic written.
        output: String,
        /// Its partitions.
        output_partitions: usize,
    },
    /// The consumer group has no offsets although the topic was processed before.
    #[error(
        "the group `{group}` has no committed offset for {topic}[{partition}], but {output} already contains records that were written from it: starting again would repeat them. Restore the group's offsets, or start once with {option} to accept the repeats"
    )]
    LostGroup {
        /// The consumer group.
        group: String,
        /// The topic read.
        topic: String,
        /// The partition.
        partition: Partition,
        /// Where output was found.
        output: String,
        /// The option that accepts the repeats.
        option: &'static str,
    },
    /// The processor cannot continue with a record.
    #[error("{0}")]
    GivenUp(String),
    /// Another process has the same name.
    #[error(
        "another process has taken over as `{instance}`: each instance needs its own {variable}. This older one ends; no record is lost"
    )]
    InstanceTaken {
        /// The worker's name.
        instance: String,
        /// The variable that makes the name unique.
        variable: &'static str,
    },
    /// The clients of a worker were rebuilt too often.
    #[error(
        "the Kafka clients had to be rebuilt {times} times in {minutes} minutes, last reason: {reason}; if another process uses the same {variable}, stop one of the two"
    )]
    TooManyRebuilds {
        /// How often.
        times: usize,
        /// Within how many minutes.
        minutes: u64,
        /// The last reason.
        reason: String,
        /// The variable that makes the worker's name unique.
        variable: &'static str,
    },
    /// A transaction of another producer does not end.
    #[error(
        "a transaction in {topic}[{partition}] has been open since offset {offset} and does not end: the records after it are not final yet. Try again later; the brokers end a transaction whose writer died after its timeout"
    )]
    OpenTransaction {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// Its last stable offset.
        offset: Offset,
    },
    /// A partition was not read to its end, because no record arrived for a while.
    #[error(
        "{topic}[{partition}] was read up to offset {offset} of {end}, then no record arrived for {seconds} s; check the brokers and try again"
    )]
    Silence {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
        /// The offset reached.
        offset: Offset,
        /// The end that was to be reached.
        end: Offset,
        /// How long was waited.
        seconds: u64,
    },
    /// A topic refuses a record of this size, or a batch with it.
    #[error(
        "`{topic}` refuses a batch with a record of {bytes} bytes: raise the topic's max.message.bytes (and the brokers' message.max.bytes)"
    )]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// Key and value of the record in bytes.
        bytes: usize,
    },
    /// The transaction of a command failed.
    #[error("writing as `{id}` failed: {reason}; run the command again: it skips what is already done")]
    Write {
        /// The transactional id.
        id: String,
        /// What happened.
        reason: String,
    },
    /// An operation failed.
    #[error("{operation} failed: {source}")]
    Operation {
        /// The operation that failed.
        operation: &'static str,
        /// What librdkafka said.
        source: rdkafka::error::KafkaError,
    },
}

impl KafkaError {
    /// Wraps librdkafka's error with the operation: `.map_err(KafkaError::during("commit"))`.
    pub(crate) fn during(operation: &'static str) -> impl Fn(rdkafka::error::KafkaError) -> Self {
        move |source| Self::Operation { operation, source }
    }
}
