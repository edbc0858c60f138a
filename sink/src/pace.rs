//! Limits how fast this instance sends: requests in flight, and requests and records per second. These are plain
//! values; callers pass in the time.

use std::time::{Duration, Instant};

/// How many requests may be in flight: additive increase, multiplicative decrease, as TCP does it.
///
/// The limit grows only while it is reached, so that a quiet hour does not end in a burst.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency {
    limit: f64,
    /// Below this value the limit doubles with each round; above, it grows by one.
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

    /// How many requests may be in flight now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and `most`, which was a usize"
    )]
    pub(crate) fn allowed(&self) -> usize {
        self.limit as usize
    }

    /// A request succeeded; `bound` says whether the limit was reached when it was sent.
    pub(crate) fn succeeded(&mut self, bound: bool) {
        if bound {
            let step = if self.limit < self.threshold { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + step).min(self.most);
        }
    }

    /// Platform is slow, so the limit is halved.
    pub(crate) fn congested(&mut self) {
        self.limit = (self.limit / 2.0).max(1.0);
        self.threshold = self.limit;
    }

    /// Platform asked for a pause. The limit becomes one and then doubles up to half of its old value, so that the
    /// instances do not all send at full rate at once. A probe that fails during the pause does not lower the threshold
    /// again.
    pub(crate) fn stopped(&mut self) {
        if self.limit > 1.0 {
            self.threshold = (self.limit / 2.0).max(1.0);
            self.limit = 1.0;
        }
    }
}

/// A limit per second. A large batch may bring the level below zero; nothing more is taken until it is positive again,
/// so that the rate holds for batches of any size.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    per_second: f64,
    /// This instance's share of `per_second`, from 0 to 1.
    share: f64,
    level: f64,
    at: Instant,
}

/// How long a burst may be, in seconds at the full rate.
const BURST: f64 = 0.1;

impl Rate {
    /// `per_second` 0 means no limit.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: f64::from(per_second), share: 1.0, level: 1.0, at: now }
    }

    /// Divides the group's limit by partitions.
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

    /// Returns the time from which something may be taken; `now` if that is possible at once.
    pub(crate) fn ready_at(&mut self, now: Instant) -> Instant {
        self.refill(now);
        if self.per_second == 0.0 || self.level > 0.0 {
            return now;
        }
        if self.rate() == 0.0 {
            // No partition is assigned; look again later.
            return now + Duration::from_secs(1);
        }
        // Waits slightly longer than until the level is zero; otherwise rounding would make the caller ask again at
        // once.
        now + Duration::from_secs_f64((-self.level / self.rate()).min(3600.0)) + Duration::from_micros(100)
    }

    /// Takes an amount.
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
    fn concurrency_grows_while_its_limit_is_reached_and_shrinks_when_platform_is_slow() {
        let mut concurrency = Concurrency::new(64);
        assert_eq!(concurrency.allowed(), 4);
        (0..100).for_each(|_| concurrency.succeeded(false));
        assert_eq!(concurrency.allowed(), 4, "the limit was not reached");
        (0..100).for_each(|_| concurrency.succeeded(true));
        assert_eq!(concurrency.allowed(), 64);
        concurrency.congested();
        assert_eq!(concurrency.allowed(), 32);
        (0..32).for_each(|_| concurrency.succeeded(true));
        assert!((32..=33).contains(&concurrency.allowed()), "one a round: {}", concurrency.allowed());
        (0..10).for_each(|_| concurrency.stopped());
        assert_eq!(concurrency.allowed(), 1);
        (0..15).for_each(|_| concurrency.succeeded(true));
        assert_eq!(concurrency.allowed(), 16, "doubles up to half of the old limit");
        (0..10).for_each(|_| concurrency.congested());
        assert_eq!(concurrency.allowed(), 1);
        assert_eq!(Concurrency::new(1).allowed(), 1);
    }

    /// Returns how many records can be sent within ten seconds.
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
    fn a_rate_holds_for_all_batch_sizes_and_is_divided_by_partitions() {
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
