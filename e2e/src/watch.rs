//! Measures how long a consumer of a topic waits during a test: a read-committed reader notes when each partition
//! receives records, and [`Arrivals`] computes the longest stall from these times, including stalls that never ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka::reader::{Isolation, TopicReader};
use kafka::{Connection, TopicName};

/// A running reader of committed records.
#[derive(Debug)]
pub struct Watch {
    started: Instant,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Arrivals>>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts reading at the oldest record.
    ///
    /// # Panics
    /// Panics if the topic cannot be read.
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
                    arrivals
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .note(record.partition().0, started.elapsed());
                    true
                });
                read.expect("the reader continues whatever happens to the brokers");
            }
        });
        Self { started, stop, seen, thread }
    }

    /// Returns the time since the start, which is the clock of [`Arrivals`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the arrivals so far.
    ///
    /// # Panics
    /// Panics if the reader failed.
    pub fn seen(&self) -> MutexGuard<'_, Arrivals> {
        assert!(!self.thread.is_finished(), "the reader failed");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the reader and returns all arrivals.
    ///
    /// # Panics
    /// Panics if the reader failed.
    #[must_use]
    pub fn finish(self) -> Arrivals {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the reader's thread");
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Arrival times of records by partition, in milliseconds since the reader's start. Records of one millisecond are one
/// entry.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arrivals(BTreeMap<i32, Vec<u64>>);

/// Time range in which every partition is expected to receive records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Start of the load.
    pub from: Duration,
    /// End of the load. A partition without outstanding records is expected to be silent after the load.
    pub to: Duration,
    /// Number of partitions of the topic. A partition that receives nothing stalls for the whole window.
    pub partitions: i32,
    /// Partitions with outstanding records when the watch ended. Their last stall counts until
    /// [`Window::watched_until`].
    pub outstanding: BTreeSet<i32>,
    /// End of the watch.
    pub watched_until: Duration,
}

impl Window {
    /// Returns the window of a load from `from` to `to` whose records have all arrived before the end of the watch.
    #[must_use]
    pub fn of_load(from: Duration, to: Duration, partitions: i32) -> Self {
        Self { from, to, partitions, outstanding: BTreeSet::new(), watched_until: to }
    }

    /// Sets the partitions that still had outstanding records when the watch ended.
    #[must_use]
    pub fn with_outstanding(self, outstanding: impl IntoIterator<Item = i32>, watched_until: Duration) -> Self {
        Self { outstanding: outstanding.into_iter().collect(), watched_until, ..self }
    }
}

/// A time range in which a partition received nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stall {
    /// Duration of the stall.
    pub lasted: Duration,
    /// Start of the stall, on the clock of [`Arrivals`].
    pub began: Duration,
    /// Partition that received nothing.
    pub partition: i32,
    /// Whether the partition received nothing more until the end of the window.
    pub is_open: bool,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lasted, began, partition, is_open } = self;
        let (lasted, began) = (lasted.as_secs_f64(), began.as_secs_f64());
        let open = if *is_open { ", still open at the end" } else { "" };
        write!(f, "{lasted:.1} s in partition {partition}, began at {began:.1} s{open}")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Arrivals {
    fn note(&mut self, partition: i32, at: Duration) {
        let at = millis(at);
        let known = self.0.entry(partition).or_default();
        if known.last() != Some(&at) {
            known.push(at);
        }
    }

    /// Returns the longest stall of any partition that begins within the window; `None` if the topic has no partitions.
    ///
    /// A stall that ends after the window counts in full. A stall that does not end counts until the end of the window.
    #[must_use]
    pub fn longest_stall(&self, window: &Window) -> Option<Stall> {
        let known: BTreeSet<i32> = (0..window.partitions).chain(self.0.keys().copied()).collect();
        known.into_iter().filter_map(|partition| self.longest_stall_of(partition, window)).max()
    }

    /// Returns the longest stall of one partition; `None` if none begins within the window.
    #[must_use]
    pub fn longest_stall_of(&self, partition: i32, window: &Window) -> Option<Stall> {
        let is_outstanding = window.outstanding.contains(&partition);
        let (from, to) = (millis(window.from), millis(if is_outstanding { window.watched_until } else { window.to }));
        let times = self.0.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let after = &times[times.partition_point(|&time| time <= from)..];
        let stall = |began: u64, ended: u64, is_open: bool| Stall {
            lasted: Duration::from_millis(ended - began),
            began: Duration::from_millis(began),
            partition,
            is_open,
        };
        let begins = std::iter::once(&from).chain(after);
        let ended = begins.clone().zip(after).filter(|(began, _)| **began < to);
        let ended = ended.map(|(&began, &ended)| stall(began, ended, false));
        let open = begins.last().filter(|began| **began < to).map(|&began| stall(began, to, true));
        ended.chain(open).max()
    }

    /// Returns the time from `at` until each of the partitions that have received records received another record;
    /// `None` if a partition received no more records.
    #[must_use]
    pub fn all_again(&self, at: Duration) -> Option<Duration> {
        let at = millis(at);
        let next = |times: &Vec<u64>| times.get(times.partition_point(|&time| time <= at)).copied();
        let last = self.0.values().map(next).collect::<Option<Vec<u64>>>()?.into_iter().max()?;
        Some(Duration::from_millis(last - at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn arrivals(times: &[(i32, u64)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for &(partition, at) in times {
            arrivals.note(partition, ms(at));
        }
        arrivals
    }

    /// Returns partition, start and duration of the longest stall in a load of two partitions, and whether it is open.
    fn longest(seen: &Arrivals, window: &Window) -> (i32, u64, u64, bool) {
        let Stall { partition, began, lasted, is_open } = seen.longest_stall(window).expect("the topic has partitions");
        (partition, millis(began), millis(lasted), is_open)
    }

    #[test]
    fn a_stall_of_one_partition_counts_even_while_the_others_receive_records() {
        let seen = arrivals(&[(0, 10), (1, 20), (0, 100), (0, 200), (0, 300), (1, 400), (0, 900)]);
        assert_eq!(longest(&seen, &Window::of_load(ms(0), ms(900), 2)), (0, 300, 600, false));
        let window = Window::of_load(ms(0), ms(300), 2);
        assert_eq!(longest(&seen, &window), (1, 20, 380, false), "it begins before 300 and ends after it");
        assert_eq!(seen.all_again(ms(250)), Some(ms(150)), "partition 1 receives a record at 400");
        assert_eq!(seen.all_again(ms(500)), None, "partition 1 receives nothing more");
    }

    #[test]
    fn a_partition_that_never_receives_anything_again_stalls_until_the_end_of_the_load() {
        let mut times: Vec<(i32, u64)> = (0..700).map(|tenth| (0, tenth * 100)).collect();
        times.push((1, 10_000));
        assert_eq!(longest(&arrivals(&times), &Window::of_load(ms(0), ms(70_000), 2)), (1, 10_000, 60_000, true));
    }

    #[test]
    fn a_partition_that_never_received_anything_stalls_for_the_whole_load() {
        let seen = arrivals(&[(0, 5_000), (0, 30_000), (0, 60_000)]);
        assert_eq!(longest(&seen, &Window::of_load(ms(1_000), ms(61_000), 2)), (1, 1_000, 60_000, true));
        assert_eq!(Arrivals::default().longest_stall(&Window::of_load(ms(0), ms(1), 0)), None);
    }

    #[test]
    fn a_partition_without_outstanding_records_may_be_silent_after_the_load() {
        let seen = arrivals(&[(0, 900), (1, 950)]);
        let load = Window::of_load(ms(800), ms(1_000), 2);
        assert_eq!(longest(&seen, &load), (1, 800, 150, false));
        let outstanding = load.with_outstanding([0], ms(61_000));
        assert_eq!(longest(&seen, &outstanding), (0, 900, 60_100, true));
    }

    #[test]
    fn a_stall_that_begins_before_the_load_counts_from_the_start_of_the_load() {
        let seen = arrivals(&[(0, 100), (0, 5_000)]);
        assert_eq!(longest(&seen, &Window::of_load(ms(4_000), ms(5_000), 1)), (0, 4_000, 1_000, false));
    }

    #[test]
    fn a_stall_is_printed_with_its_duration_partition_and_start() {
        let stall = Stall { lasted: ms(60_000), began: ms(10_000), partition: 1, is_open: true };
        assert_eq!(stall.to_string(), "60.0 s in partition 1, began at 10.0 s, still open at the end");
    }
}
