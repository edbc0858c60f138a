//! Reads the wall clock. Code that makes decisions gets times as values instead.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the milliseconds since 1970-01-01T00:00:00Z by this machine's clock; 0 if the clock is before that.
#[must_use]
pub fn unix_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
