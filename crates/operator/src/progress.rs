//! How far an operation is.

use kafka::TopicName;

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The committed offsets and the ends of the topics are being read.
    ReadingOffsets,
    /// So many records have been read, over all topics.
    Read {
        /// Records.
        records: u64,
    },
    /// So many records of one topic have been read.
    ReadTopic {
        /// The topic.
        topic: TopicName,
        /// Records.
        records: u64,
        /// About how many there are, if that is known.
        of: Option<u64>,
    },
    /// Records expired while they were read, so reading starts again.
    StartingAgain,
    /// So many dead letters have been resolved.
    Resolved {
        /// Dead letters.
        dead_letters: u64,
        /// How many there are to resolve.
        of: u64,
    },
}

/// Gets every [`Progress`]; it may be called by several threads.
pub type OnProgress<'p> = &'p (dyn Fn(Progress) + Sync);
