//! Progress reports of an operation.

use kafka::TopicName;

/// Progress report of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The committed offsets and the ends of the topics are being read.
    ReadingOffsets,
    /// This number of records has been read from all topics.
    Read {
        /// Number of records.
        records: u64,
    },
    /// This number of records of one topic has been read.
    ReadTopic {
        /// Topic that is being read.
        topic: TopicName,
        /// Number of records read so far.
        records: u64,
        /// Approximate total number of records, if it is known.
        of: Option<u64>,
    },
    /// Records expired while they were read, so reading starts again.
    StartingAgain,
    /// This number of dead letters has been resolved.
    Resolved {
        /// Number of resolved dead letters.
        dead_letters: u64,
        /// Number of dead letters to resolve in total.
        of: u64,
    },
}

/// Receives the progress of an operation; several threads may call it. Every function that takes a [`Progress`]
/// implements this trait.
pub trait Observer: Sync {
    /// Receives a progress report.
    fn report(&self, progress: Progress);

    /// Called after every `records` further records that were read. The observer may wait to limit the rate, and
    /// returns whether the operation continues. If not, a read ends with [`kafka::KafkaError::GivenUp`], and a replay
    /// or discard that has begun to write returns what it has done.
    fn has_read(&self, _records: u64) -> bool {
        true
    }
}

impl<F: Fn(Progress) + Sync> Observer for F {
    fn report(&self, progress: Progress) {
        self(progress);
    }
}

/// Reference to the observer of an operation.
pub type OnProgress<'p> = &'p dyn Observer;
