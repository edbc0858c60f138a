//! Notes that a reader needs to interpret an audit's numbers.

use std::fmt;

use contract::Partition;
use kafka::TopicName;

use crate::time::rfc3339;

/// Notes that a reader needs to interpret an audit's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The caller handed the services' offsets to the audit.
    OffsetsHanded,
    /// There is no receipts topic.
    NoReceiptsTopic,
    /// The receipts topic does not exist.
    ReceiptsTopicMissing(TopicName),
    /// Older receipts may have expired or were off: milliseconds since 1970.
    ReceiptsSince(i64),
    /// The raw topic has more partitions than the typed topic.
    FewerTypedPartitions {
        /// The raw topic and its partitions.
        raw: (TopicName, usize),
        /// The typed topic and its partitions.
        typed: (TopicName, usize),
    },
    /// Records of a topic have expired.
    Expired {
        /// The topic.
        topic: TopicName,
        /// Offsets.
        offsets: i64,
    },
    /// A group has no committed offset for a partition that was processed before.
    LostOffset {
        /// The group.
        group: String,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: Partition,
    },
    /// Raw records are of sources without options.
    UnknownSources {
        /// Records.
        records: u64,
        /// The names of the sources that have options.
        known: String,
    },
    /// There are unexplained records, and some records of the topics have expired.
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
