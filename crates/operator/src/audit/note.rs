//! Notes that a person needs to interpret an audit's numbers.

use std::fmt;

use contract::Partition;
use kafka::TopicName;

use crate::time::rfc3339;

/// A note that a person needs to interpret an audit's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The audit got the services' committed offsets from its caller and did not read them from the brokers.
    OffsetsHanded,
    /// No receipts topic is configured.
    NoReceiptsTopic,
    /// The configured receipts topic does not exist.
    ReceiptsTopicMissing(TopicName),
    /// Receipts from before this time (milliseconds since 1970) may have expired, or receipts were disabled.
    ReceiptsSince(i64),
    /// The raw topic has more partitions than the typed topic.
    FewerTypedPartitions {
        /// Name and partition count of the raw topic.
        raw: (TopicName, usize),
        /// Name and partition count of the typed topic.
        typed: (TopicName, usize),
    },
    /// Records of a topic have expired, so the audit does not include them.
    Expired {
        /// Topic with expired records.
        topic: TopicName,
        /// Number of expired offsets, summed over the partitions.
        offsets: i64,
    },
    /// A consumer group has no committed offset for a partition whose records were processed before.
    LostOffset {
        /// Id of the consumer group.
        group: String,
        /// Topic that the group reads.
        topic: TopicName,
        /// Partition without a committed offset.
        partition: Partition,
    },
    /// Raw records belong to sources that `SOURCES_FILE` does not configure.
    UnknownSources {
        /// Number of raw records of such sources.
        records: u64,
        /// Names of the configured sources.
        known: String,
    },
    /// Some records are unexplained, and the records that would explain them may have expired.
    RetentionIsTrusted,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OffsetsHanded => f.write_str(
                "the committed offsets are what the services themselves reported, because these brokers keep no offsets of transactions",
            ),
            Self::NoReceiptsTopic => {
                f.write_str("there is no receipts topic: acceptance is inferred from the sink's committed offsets")
            }
            Self::ReceiptsTopicMissing(topic) => write!(
                f,
                "the receipts topic `{topic}` does not exist: acceptance is inferred from the sink's committed offsets"
            ),
            Self::ReceiptsSince(since) => write!(
                f,
                "receipts before {} may have expired or were off: acceptance of older records is inferred from the sink's committed offsets",
                rfc3339(*since)
            ),
            Self::FewerTypedPartitions { raw: (raw, raw_count), typed: (typed, typed_count) } => write!(
                f,
                "{raw} has {raw_count} partitions but {typed} has {typed_count}: the transformer will not start; grow {typed} first"
            ),
            Self::Expired { topic, offsets } => {
                write!(f, "{topic}: {offsets} offsets have expired; what they held is not part of this audit")
            }
            Self::LostOffset { group, topic, partition } => write!(
                f,
                "the group `{group}` has no committed offset for {topic}[{partition}] although it was processed before: its records count as ahead; see docs/operate.md, lost group"
            ),
            Self::UnknownSources { records, known } => write!(
                f,
                "{records} raw records are of sources that SOURCES_FILE does not name ({known}): their ids are not known here"
            ),
            Self::RetentionIsTrusted => f.write_str(
                "the audit trusts the topics' retention: if records were deleted manually, or expired before a retention was raised, related records are reported as unexplained",
            ),
        }
    }
}
