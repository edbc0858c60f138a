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
    /// Maximum time of a commit in a revoke or a stop. After that, the transaction is aborted, for which the same time
    /// is allowed.
    pub revoke: Duration,
}
