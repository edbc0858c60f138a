//! Limits how fast this instance sends: requests in flight, and requests and records per second. These are plain
//! values; callers pass in the time.

use std::time::{Duration, Instant};

/// The maximum number of requests in flight, with additive increase and multiplicative decrease as in TCP.
///
/// The limit grows only while it is reached, so that a burst after a quiet hour starts with a low limit.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency {
    limit: f64,
    /// Below this value, the limit doubles in each round of requests; above it, the limit grows by one per round.
    threshold: f64,
    most: f64,
}

/// The limit at the start; Platform's responses then raise or lower it.
const FIRST: f64 = 4.0;

impl Concurrency {
    pub(crate) fn new(most: usize) -> Self {
        let most = f64::from(u32::try_from(most).unwrap_or(u32::MAX)).max(1.0);
        Self { limit: FIRST.min(most), threshold: most, most }
    }

    /// Returns the maximum number of requests in flight.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and `most`, which was a usize"
    )]
    pub(crate) fn allowed(&self) -> usize {
        self.limit as usize
    }

    /// Notes that a request succeeded; `bound` is true if the limit was reached when the request was sent.
    pub(crate) fn succeeded(&mut self, bound: bool) {
        if bound {
            let step = if self.limit < self.threshold { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + step).min(self.most);
        }
    }

    /// Halves the limit, because Platform is slow.
    pub(crate) fn congested(&mut self) {
        self.limit = (self.limit / 2.0).max(1.0);
        self.threshold = self.limit;
    }

    /// Lowers the limit after Platform has requested a pause. The limit becomes one and then doubles up to half of its
    /// old value, so that the instances do not all send at full rate at once. A probe that fails during the pause does
    /// not lower the threshold again.
    pub(crate) fn stopped(&mut self) {
        if self.limit > 1.0 {
            self.threshold = (self.limit / 2.0).max(1.0);
            self.limit = 1.0;
        }
    }
}

/// A limit per second, as a token bucket with `level` tokens. A large batch may bring the level below zero; nothing
/// more is taken until the level is positive again, so that the rate holds for batches of any size.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    per_second: f64,
    /// This instance's share of `per_second`, from 0 to 1.
    share: f64,
    level: f64,
    at: Instant,
}

/// Maximum length of a burst, in seconds at the full rate.
const BURST: f64 = 0.1;

impl Rate {
    /// Creates a limit of `per_second`; 0 means no limit.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second), share: 1.0, level: 1.0, at: now }
    }

    /// Sets this instance's share of the group's limit: `assigned` of `all` partitions.
    pub(crate) fn set_share(&mut self, assigned: usize, all: usize) {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.share = if all == 0 { 1.0 } else { (count(assigned) / count(all)).min(1.0) };
    }

    fn rate(&self) -> f64 {
        self.per_second * self.share
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let most = (self.rate() * BURST).max(1.0);
        self.level = (self.level + passed * self.rate()).min(most);
    }

    /// Returns the time at which tokens may be taken; `now` if that is possible at once.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Instant {
        self.refill(now);
        if self.per_second == 0.0 || self.level > 0.0 {
            return now;
        }
        if self.rate() == 0.0 {
            // No partition is assigned; the caller checks again later.
            return now + Duration::from_secs(1);
        }
        // Waits slightly longer than until the level is zero; otherwise rounding would make the caller ask again at
        // once.
        now + Duration::from_secs_f64((-self.level / self.rate()).min(3600.0)) + Duration::from_micros(100)
    }

    /// Takes `amount` tokens.
    pub(crate) fn take(&mut self, amount: usize, now: Instant) {
        self.refill(now);
        if self.per_second > 0.0 {
            self.level -= f64::from(u32::try_from(amount).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_concurrency_limit_grows_only_while_reached_and_halves_on_congestion() {
        let mut concurrency = Concurrency::new(64);
        assert_eq!(concurrency.allowed(), 4);
        (0..100).for_each(|_| concurrency.succeeded(false));
        assert_eq!(concurrency.allowed(), 4, "the limit was not reached");
        (0..100).for_each(|_| concurrency.succeeded(true));
        assert_eq!(concurrency.allowed(), 64);
        concurrency.congested();
        assert_eq!(concurrency.allowed(), 32);
        (0..32).for_each(|_| concurrency.succeeded(true));
        assert!(
            (32..=33).contains(&concurrency.allowed()),
            "the limit grows by one per round: {}",
            concurrency.allowed()
        );
        (0..10).for_each(|_| concurrency.stopped());
        assert_eq!(concurrency.allowed(), 1);
        (0..15).for_each(|_| concurrency.succeeded(true));
        assert_eq!(concurrency.allowed(), 16, "doubles up to half of the old limit");
        (0..10).for_each(|_| concurrency.congested());
        assert_eq!(concurrency.allowed(), 1);
        assert_eq!(Concurrency::new(1).allowed(), 1);
    }

    /// Returns the number of records that can be sent within ten seconds.
    fn within_ten_seconds(rate: &mut Rate, batch: usize, start: Instant) -> usize {
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(10) {
            let ready = rate.ready_at(now);
            if ready <= now {
                rate.take(batch, now);
                sent += batch;
            }
            now = now.max(ready) + Duration::from_micros(50);
        }
        sent
    }

    #[test]
    fn the_rate_limit_holds_for_every_batch_size_and_is_divided_by_partitions() {
        let start = Instant::now();
        for batch in [1, 7, 200, 1500] {
            let sent = within_ten_seconds(&mut Rate::new(1000, start), batch, start);
            assert!((9_500..=10_000 + 100 + batch).contains(&sent), "{sent} records in batches of {batch}");
        }
        let mut third = Rate::new(1000, start);
        third.set_share(4, 12);
        let sent = within_ten_seconds(&mut third, 10, start);
        assert!((3_100..=3_450).contains(&sent), "{sent}");
        assert!(within_ten_seconds(&mut Rate::new(0, start), 1, start) > 100_000, "no limit");
        let mut none = Rate::new(10, start);
        none.take(2, start);
        none.set_share(0, 12);
        assert!(none.ready_at(start) > start);
    }
}
