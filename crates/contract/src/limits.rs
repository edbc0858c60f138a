//! Limits that several crates share.

/// Tolerated difference, in milliseconds, between the clocks of the machines that write and read records.
pub const CLOCK_TOLERANCE_MS: i64 = 5 * 60 * 1000;

/// Maximum number of bytes that the gateway reads of a request body.
pub const LARGEST_BODY: usize = 64 * 1024 * 1024;
