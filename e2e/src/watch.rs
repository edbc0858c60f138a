//! A reader that stands beside a run and notes when records come: what a consumer of the topic would have seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka::reader::{Isolation, TopicReader};
use kafka::{Connection, TopicName};

/// A read-committed reader under way.
#[derive(Debug)]
pub struct Watch {
    started: Instant,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Arrivals>>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts reading, from the oldest record on.
    ///
    /// # Panics
    /// When the topic cannot be read.
    #[must_use]
    pub fn start(connection: &Connection, topic: &TopicName) -> Self {
        let reader = TopicReader::new(connection, topic, Isolation::ReadCommitted).expect("a reader");
        let stop = Arc::new(AtomicBool::new(false));
        let (started, stopped) = (Instant::now(), Arc::clone(&stop));
        let seen: Arc<Mutex<Arrivals>> = Arc::default();
        let arrivals = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let read = reader.read_until(Duration::from_millis(200), |record| {
                    arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(record.partition(), started.elapsed());
                    true
                });
                read.expect("the reader goes on whatever happens to the brokers");
            }
        });
        Self { started, stop, seen, thread }
    }

    /// How long it has been reading: the clock of [`Arrivals`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it has seen so far.
    ///
    /// # Panics
    /// When the reader failed.
    pub fn seen(&self) -> MutexGuard<'_, Arrivals> {
        assert!(!self.thread.is_finished(), "the reader failed");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it.
    ///
    /// # Panics
    /// When the reader failed.
    #[must_use]
    pub fn finish(self) -> Arrivals {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader's thread");
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When records came, by partition, in milliseconds since the reader's start; records of one millisecond are one entry.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arrivals(BTreeMap<i32, Vec<u64>>);

impl Arrivals {
    fn note(&mut self, partition: i32, at: Duration) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let known = self.0.entry(partition).or_default();
        if known.last() != Some(&at) {
            known.push(at);
        }
    }

    /// The longest time without a record of one and the same partition that begins in `[from, to)`, and when it began.
    #[must_use]
    pub fn longest_stall(&self, from: Duration, to: Duration) -> (Duration, Duration) {
        let (from, to) = (from.as_millis(), to.as_millis());
        let pairs = self.0.values().flat_map(|times| times.windows(2));
        let within = pairs.filter(|pair| (from..to).contains(&u128::from(pair[0])));
        let longest = within.max_by_key(|pair| pair[1] - pair[0]);
        longest.map_or((Duration::ZERO, Duration::ZERO), |pair| {
            (Duration::from_millis(pair[1] - pair[0]), Duration::from_millis(pair[0]))
        })
    }

    /// From `at` until every partition that ever had a record has another one; `None` when one has none any more.
    #[must_use]
    pub fn all_again(&self, at: Duration) -> Option<Duration> {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let next = |times: &Vec<u64>| times.get(times.partition_point(|&time| time <= millis)).copied();
        let last = self.0.values().map(next).collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        Some(Duration::from_millis(last - millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(times: &[(i32, u64)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for &(partition, at) in times {
            arrivals.note(partition, Duration::from_millis(at));
        }
        arrivals
    }

    #[test]
    fn a_stall_is_one_partitions_even_while_the_others_go_on() {
        let seen = arrivals(&[(0, 10), (1, 20), (0, 100), (0, 200), (0, 300), (1, 400), (0, 900)]);
        let millis = Duration::from_millis;
        assert_eq!(seen.longest_stall(millis(0), millis(1000)), (millis(600), millis(300)));
        assert_eq!(seen.longest_stall(millis(0), millis(300)), (millis(380), millis(20)), "begins before 300");
        assert_eq!(seen.longest_stall(millis(950), millis(1000)), (millis(0), millis(0)));
        assert_eq!(seen.all_again(millis(250)), Some(millis(150)), "partition 1 comes at 400");
        assert_eq!(seen.all_again(millis(500)), None, "partition 1 never comes again");
    }
}
