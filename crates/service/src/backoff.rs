//! Computes the wait before the next attempt: exponential, capped, with jitter.
//!
//! This module does not sleep: the caller reports each failure and success, gets the wait, and sleeps.

use std::time::Duration;

/// Exponential back-off with jitter: after `n` earlier failures, the wait is uniform in `[base / 2, base * 2^n]`, and
/// never above `cap`.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Creates a back-off without failures. `base` is the longest first wait, `cap` the longest wait of all.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Returns the number of failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Records a failure and returns the wait before the next attempt. `dice` is a random number, uniform in `[0, 1)`.
    pub fn next_wait(&mut self, dice: f64) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(factor).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let floor = (self.base / 2).min(ceiling);
        floor + (ceiling - floor).mul_f64(dice.clamp(0.0, 1.0))
    }

    /// Forgets the failures after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..6).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_wait(0.0), Duration::from_millis(50));
    }

    #[test]
    fn after_many_failures_the_wait_stays_within_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..10_000 {
            assert!(backoff.next_wait(0.999) <= Duration::from_secs(60));
        }
    }
}
