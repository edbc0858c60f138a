//! Collects items into batches, which are limited by bytes, count and age. This is a plain value; callers pass in sizes
//! and times.

use std::time::{Duration, Instant};

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
    /// Maximum wait of the first item in a batch.
    pub(crate) linger: Duration,
}

/// Collects items, in order, until a batch is full or due.
#[derive(Debug)]
pub(crate) struct Batcher<T> {
    limits: BatchLimits,
    items: Vec<T>,
    bytes: usize,
    due: Option<Instant>,
}

impl<T> Batcher<T> {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self { limits, items: Vec::new(), bytes: 0, due: None }
    }

    /// Adds an item with a size of `bytes`. Returns the batch that is now full, or that the item no longer fits into.
    /// An item larger than the limit gets a separate batch.
    pub(crate) fn push(&mut self, item: T, bytes: usize, now: Instant) -> Option<Vec<T>> {
        let full = if !self.items.is_empty() && self.bytes + bytes > self.limits.bytes { self.take() } else { None };
        self.items.push(item);
        self.bytes += bytes;
        self.due.get_or_insert(now + self.limits.linger);
        if full.is_some() {
            return full;
        }
        if self.items.len() >= self.limits.records || self.bytes >= self.limits.bytes { self.take() } else { None }
    }

    /// Returns the batch if it is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Vec<T>> {
        if self.due.is_some_and(|due| now >= due) { self.take() } else { None }
    }

    /// Returns the time at which the batch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns all collected items as a batch.
    pub(crate) fn take(&mut self) -> Option<Vec<T>> {
        self.bytes = 0;
        self.due = None;
        if self.items.is_empty() { None } else { Some(std::mem::take(&mut self.items)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { bytes: 100, records: 4, linger: Duration::from_millis(250) };

    #[test]
    fn a_batch_is_limited_by_count_bytes_and_age() {
        let now = Instant::now();
        let mut batcher = Batcher::new(LIMITS);
        assert!((0..3).all(|item| batcher.push(item, 1, now).is_none()));
        assert_eq!(batcher.push(3, 1, now), Some(vec![0, 1, 2, 3]));
        assert_eq!(batcher.push(4, 60, now), None);
        assert_eq!(batcher.push(5, 60, now), Some(vec![4]));
        assert_eq!(batcher.take_due(now + Duration::from_millis(249)), None);
        assert_eq!(batcher.take_due(now + Duration::from_millis(250)), Some(vec![5]));
        assert_eq!(batcher.due(), None);
        assert_eq!(batcher.push(6, 100, now), Some(vec![6]), "exactly full");
    }

    proptest! {
        #[test]
        fn batches_contain_every_item_once_in_order_within_the_limits(
            sizes in prop::collection::vec(1..150usize, 0..200),
            gaps in prop::collection::vec(0..300u64, 200),
        ) {
            let mut now = Instant::now();
            let mut batcher = Batcher::new(LIMITS);
            let mut batches = Vec::new();
            for (item, &size) in sizes.iter().enumerate() {
                now += Duration::from_millis(gaps[item]);
                batches.extend(batcher.take_due(now));
                batches.extend(batcher.push(item, size, now));
            }
            batches.extend(batcher.take());
            for batch in &batches {
                let bytes: usize = batch.iter().map(|&item| sizes[item]).sum();
                prop_assert!(batch.len() <= 4 && (bytes <= 100 || batch.len() == 1));
            }
            let all: Vec<usize> = batches.into_iter().flatten().collect();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
        }
    }
}
