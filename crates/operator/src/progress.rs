//! The progress of an operation.

use kafka::TopicName;

/// The progress of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The committed offsets and the ends of the topics are being read.
    ReadingOffsets,
    /// This number of records has been read from all topics.
    Read {
        /// Records.
        records: u64,
    },
    /// This number of records of one topic has been read.
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
    /// This number of dead letters has been resolved.
    Resolved {
        /// Dead letters.
        dead_letters: u64,
        /// How many there are to resolve.
        of: u64,
    },
}

/// Gets the progress of an operation; several threads may call it. A function that takes a [`Progress`] is one.
pub trait Observer: Sync {
    /// The operation got so far.
    fn report(&self, progress: Progress);

    /// So many further records were read. It may wait, which limits the rate, and returns whether the operation goes on.
    /// An operation that does not ends with [`kafka::KafkaError::GivenUp`].
    fn has_read(&self, _records: u64) -> bool {
        true
    }
}

impl<F: Fn(Progress) + Sync> Observer for F {
    fn report(&self, progress: Progress) {
        self(progress);
    }
}

/// Who gets the progress.
pub type OnProgress<'p> = &'p dyn Observer;
