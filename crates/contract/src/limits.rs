//! Limits that several crates share.

/// How far the clocks of the machines that write and read records may differ, in milliseconds.
pub const CLOCK_TOLERANCE_MS: i64 = 5 * 60 * 1000;

/// The maximum number of bytes that the gateway reads of a request's body.
pub const LARGEST_BODY: usize = 64 * 1024 * 1024;
