//! The limits of a worker's transactions.

use std::time::Duration;

/// Limits of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Age at which a transaction is committed.
    pub interval: Duration,
    /// Number of records at which a transaction is committed.
    pub records: usize,
    /// Time after which the clients are rebuilt if the open transaction could not be ended.
    pub timeout: Duration,
    /// Maximum time that a revoke, an assignment or a stop waits for a commit. If the offsets could not be sent by
    /// then, the transaction is aborted, for which the same time is allowed. If the commit itself is unresolved by
    /// then, the clients are rebuilt.
    pub revoke: Duration,
}
