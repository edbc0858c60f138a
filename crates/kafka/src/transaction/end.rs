//! The reasons for the end of a session.

use crate::error::KafkaError;
use crate::error_table::may_pass;
use crate::log_watch::Replaced;

/// The reason for the end of a session.
pub(super) enum End {
    /// A stop was requested, and no transaction is open.
    Stopped,
    /// The clients are broken; new clients may work.
    Rebuild(String),
    /// The group continued without this member.
    Evicted(String),
    /// The log of a partition is not the one that was read before.
    Replaced(Replaced),
    /// The producer was fenced: by another process with the same transactional id, or because its transaction took too
    /// long.
    Fenced(String),
    /// New clients would not fix the failure.
    Fatal(KafkaError),
}

pub(super) fn rebuild(error: KafkaError) -> End {
    End::Rebuild(error.to_string())
}

/// Returns how an error ends the session: new clients may fix a failed operation; every other error needs a person.
pub(super) fn given_up(error: KafkaError) -> End {
    if may_pass(&error) { rebuild(error) } else { End::Fatal(error) }
}
