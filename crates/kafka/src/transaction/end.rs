//! How a session ends.

use crate::error::KafkaError;
use crate::log_watch::Replaced;

/// Why a session ended.
pub(super) enum End {
    /// The stop was asked for, and nothing is left open.
    Stopped,
    /// The clients are of no more use; new ones may do better.
    Rebuild(String),
    /// The group went on without this member.
    Evicted(String),
    /// A partition's log is not the one that was read.
    Replaced(Replaced),
    /// The producer was fenced: by another process with this name, or because its transaction took too long.
    Fenced(String),
    /// Nothing that new clients would mend.
    Fatal(KafkaError),
}

pub(super) fn rebuild(error: KafkaError) -> End {
    End::Rebuild(error.to_string())
}

/// An operation that failed may do better with new clients; everything else is for a person.
pub(super) fn given_up(error: KafkaError) -> End {
    match error {
        KafkaError::Operation { .. } | KafkaError::Unreachable { .. } | KafkaError::NoTopic(_) => rebuild(error),
        other => End::Fatal(other),
    }
}
