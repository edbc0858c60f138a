//! Compares the window with a naive model, for random ids and times, and tests [`Dedup`] with random schedules of a
//! worker.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

const PARTITION: Partition = Partition(0);

fn id(number: u32) -> IdHash {
    IdHash::of(number.to_string().as_bytes())
}

fn limits(seconds: u32, ids: usize) -> WindowLimits {
    WindowLimits { seconds, ids }
}

/// A model of the window: a list of ids with their times, which is searched from the newest entry to the oldest.
struct Naive {
    entries: Vec<(u32, u32)>,
    /// The latest time of all entries so far. Dropping the entry with this time does not change it.
    newest: u32,
    limits: WindowLimits,
}

impl Naive {
    fn new(limits: WindowLimits) -> Self {
        Self { entries: Vec::new(), newest: 0, limits }
    }

    fn contains(&self, number: u32, received: u32) -> bool {
        let seen = self.entries.iter().rev().find(|(seen, _)| *seen == number);
        seen.is_some_and(|(_, at)| received.saturating_sub(*at) <= self.limits.seconds)
    }

    fn insert(&mut self, number: u32, received: u32) {
        self.entries.push((number, received));
        self.newest = self.newest.max(received);
        while let Some((_, at)) = self.entries.first() {
            if self.entries.len() <= self.limits.ids && self.newest.saturating_sub(*at) <= self.limits.seconds {
                break;
            }
            self.entries.remove(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_dedup_window_behaves_like_a_bounded_list_of_ids(
        steps in prop::collection::vec((0_u32..40, 0_u32..30, 0_u32..20), 1..400),
        seconds in 1_u32..200,
        ids in 1_usize..60,
    ) {
        let mut window = Window::new(limits(seconds, ids));
        let mut naive = Naive::new(limits(seconds, ids));
        let mut now = 1000;
        for (number, passed, late) in steps {
            now += passed;
            let received = now - late;
            prop_assert_eq!(window.contains(id(number), Seconds(received)), naive.contains(number, received));
            window.insert(id(number), Seconds(received));
            naive.insert(number, received);
            prop_assert!(window.ids() <= ids);
            prop_assert!(window.reach() <= seconds);
        }
    }
}

#[test]
fn the_time_that_a_window_covers_is_limited_by_the_number_of_ids() {
    let mut window = Window::new(limits(100, 10));
    assert_eq!(window.reach(), 100, "no entry was dropped");
    (0..10).for_each(|number| window.insert(id(number), Seconds(1000 + number)));
    assert_eq!(window.reach(), 100);
    (10..20).for_each(|number| window.insert(id(number), Seconds(1000 + number)));
    assert_eq!(window.reach(), 10, "the entry of 1009 was dropped");
    window.insert(id(20), Seconds(1200));
    assert_eq!(window.reach(), 100, "the dropped entry would have expired by now");

    let mut late = Window::new(limits(100, 10));
    late.begin_late();
    late.insert(id(1), Seconds(1000));
    late.insert(id(2), Seconds(1030));
    assert_eq!(late.reach(), 30, "entries before 1000 are unknown");
}

#[test]
fn a_window_still_finds_ids_after_sequence_numbers_wrap_around() {
    let mut window = Window::new(limits(100, 5));
    window.set_oldest(u32::MAX - 2);
    for number in 0..20 {
        window.insert(id(number), Seconds(1000));
        assert!((number.saturating_sub(4)..=number).all(|number| window.contains(id(number), Seconds(1000))));
    }
    assert_eq!(window.ids(), 5);
}

#[test]
fn a_gateway_whose_clock_is_far_ahead_does_not_empty_the_window() {
    let now = 1_700_000_000_000;
    let mut window = Window::new(limits(7200, 10));
    window.insert(id(1), Seconds::from_millis(not_after(now, now)));
    window.insert(id(2), Seconds::from_millis(not_after(now + 86_400_000, now)));
    assert!(window.contains(id(1), Seconds::from_millis(now + 1000)));
    assert_eq!(window.ids(), 2);
    assert_eq!(not_after(now - 86_400_000, now), now - 86_400_000, "the time of receipt of a backlog is not changed");
}

#[test]
fn an_id_of_a_full_window_takes_less_than_28_bytes() {
    let mut window = Window::new(limits(7200, 200_000));
    let begun = Instant::now();
    // Fills the window twice: dropped entries must not leave allocated memory behind.
    (0..400_000).for_each(|number| window.insert(id(number), Seconds(number / 100)));
    let per_id = window.bytes() / window.ids();
    println!("{per_id} bytes an id; 400,000 ids in {:?}", begun.elapsed());
    assert!(per_id < 28, "{per_id}");
}

/// A step of a worker that processes one partition with repeated events. After a rebalance, the next owner restores the
/// window from the committed records of the typed topic.
#[derive(Debug, Clone)]
enum Event {
    /// The worker processes the next raw record.
    Process,
    Commit,
    Abort,
    /// The transaction ends and the partition is revoked. The next owner restores the window.
    Rebalance {
        committed: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Process),
        3 => Just(Event::Commit),
        2 => Just(Event::Abort),
        1 => any::<bool>().prop_map(|committed| Event::Rebalance { committed }),
    ]
}

struct Life {
    raw: Vec<(u32, u32)>,
    limits: WindowLimits,
    /// Index of the next raw record to read.
    position: usize,
    committed: usize,
    /// The committed records of the typed topic, as (id, time).
    typed: Vec<(u32, u32)>,
    open: Vec<(u32, u32)>,
    dedup: Dedup,
}

impl Life {
    fn new(raw: Vec<(u32, u32)>, limits: WindowLimits) -> Self {
        let mut dedup = Dedup::new(limits);
        dedup.restored(PARTITION, dedup.window());
        Self { raw, limits, position: 0, committed: 0, typed: Vec::new(), open: Vec::new(), dedup }
    }

    fn process(&mut self) {
        let Some(&(number, received)) = self.raw.get(self.position) else { return };
        self.position += 1;
        if !self.dedup.is_duplicate(PARTITION, id(number), Seconds(received)) {
            self.dedup.note(PARTITION, id(number), Seconds(received));
            self.open.push((number, received));
        }
    }

    fn end(&mut self, committed: bool) {
        if committed {
            self.typed.append(&mut self.open);
            self.committed = self.position;
            self.dedup.committed();
        } else {
            self.open.clear();
            self.position = self.committed;
            self.dedup.aborted();
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Process => self.process(),
            Event::Commit => self.end(true),
            Event::Abort => self.end(false),
            Event::Rebalance { committed } => {
                self.end(committed);
                self.dedup.release(PARTITION);
                let mut window = Window::new(self.limits);
                self.typed.iter().for_each(|&(number, received)| window.insert(id(number), Seconds(received)));
                self.dedup.restored(PARTITION, window);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn each_event_becomes_one_typed_record_despite_aborts_and_rebalances(
        raw in prop::collection::vec(0_u32..30, 1..120),
        events in prop::collection::vec(event(), 1..400),
    ) {
        // One event per second; all are within the window.
        let raw: Vec<_> = raw.into_iter().zip(1000..).collect();
        let mut life = Life::new(raw.clone(), limits(10_000, 1000));
        for event in events {
            life.apply(event);
        }
        while life.position < raw.len() {
            life.apply(Event::Process);
        }
        life.apply(Event::Commit);
        let typed: Vec<u32> = life.typed.iter().map(|(number, _)| *number).collect();
        let mut expected = Vec::new();
        for (number, _) in raw {
            if !expected.contains(&number) {
                expected.push(number);
            }
        }
        prop_assert_eq!(typed, expected, "each id once, at the position of its first copy");
    }
}
