//! Tests the machine against a model of the brokers, over random schedules of outcomes and rebalances.

use proptest::prelude::*;

use super::*;

mod rebalances;
mod unresolved;

const PARTITIONS: i32 = 3;

/// More calls than any transaction takes: each time-out is over by then.
const STEPS: usize = 10_000;

fn limits() -> Limits {
    Limits {
        interval: Duration::from_millis(100),
        records: 5,
        timeout: Duration::from_secs(20),
        revoke: Duration::from_secs(5),
    }
}

/// The state of the brokers: a log of raw offsets per partition (every third offset is a marker, not a record), the
/// committed offsets, and the typed output that a read-committed reader sees.
#[derive(Debug, Default)]
struct Brokers {
    /// Offset and metadata.
    committed: BTreeMap<i32, (i64, String)>,
    typed: BTreeMap<i32, Vec<i64>>,
    pending: Vec<(i32, i64)>,
    pending_offsets: Vec<Mark>,
    position: BTreeMap<i32, i64>,
    script: Vec<u8>,
    in_transaction: bool,
    owned: BTreeSet<i32>,
    /// A commit whose outcome was `Retry` may have been applied already.
    applied: bool,
    /// The group has evicted the member, and it has joined again without noticing a lost partition.
    evicted: bool,
}

impl Brokers {
    fn dice(&mut self) -> u8 {
        self.script.pop().unwrap_or(255)
    }

    fn apply(&mut self) {
        if !std::mem::replace(&mut self.applied, true) {
            for (partition, offset) in self.pending.drain(..) {
                self.typed.entry(partition).or_default().push(offset);
            }
            for Mark { partition, offset, note, .. } in self.pending_offsets.drain(..) {
                assert!(self.owned.contains(&partition), "offsets of a partition that is not owned");
                self.committed.insert(partition, (offset, note.unwrap_or_default()));
            }
        }
    }

    fn discard(&mut self) {
        self.pending.clear();
        self.pending_offsets.clear();
        self.in_transaction = false;
    }

    /// The effect of a new producer with the same transactional id.
    fn fence(&mut self) {
        if self.in_transaction && !self.applied {
            self.discard();
        }
        self.in_transaction = false;
        self.applied = false;
        self.evicted = false;
    }

    /// Another member reads a partition that this one does not own.
    fn other_member(&mut self, partition: i32) {
        let mut consumed = self.consumed(partition);
        // It starts with the deferred records, and may defer them again.
        let from = consumed.frontier();
        let record = if is_marker(from) { from + 1 } else { from };
        if from % 5 == 0 && consumed.lacks(record + 1) && !is_marker(record + 1) {
            assert!(consumed.defer(record));
            self.typed.entry(partition).or_default().push(record + 1);
            consumed.process(record + 1);
        } else {
            self.typed.entry(partition).or_default().push(record);
            consumed.process(record);
        }
        self.committed.insert(partition, (consumed.frontier(), consumed.note().unwrap_or_default()));
    }

    /// How far a partition is processed, as its next owner finds it.
    fn consumed(&self, partition: i32) -> Consumed {
        self.committed.get(&partition).map_or(Consumed::at(0), |(offset, note)| Consumed::read(*offset, note))
    }
}

fn is_marker(offset: i64) -> bool {
    offset % 3 == 2
}

impl Client for Brokers {
    fn begin(&mut self) -> Outcome {
        assert!(!self.in_transaction, "begin inside a transaction");
        if self.dice() == 0 {
            return Outcome::Broken("fenced".to_owned());
        }
        self.in_transaction = true;
        self.applied = false;
        Outcome::Done
    }

    fn confirm(&mut self, known: &[Mark]) -> Outcome {
        if (0..20).contains(&self.dice()) {
            return Outcome::Retry;
        }
        let is_known = |mark: &Mark| *mark == Mark::new(mark.partition, &self.consumed(mark.partition));
        if known.iter().all(is_known) {
            Outcome::Done
        } else {
            Outcome::Evicted("another member has committed".to_owned())
        }
    }

    fn send_offsets(&mut self, offsets: &[Mark]) -> Outcome {
        if std::mem::take(&mut self.evicted) {
            let reason = "the group does not know this member".to_owned();
            return if self.dice() < 128 { Outcome::Abort(reason) } else { Outcome::Evicted(reason) };
        }
        match self.dice() {
            0..20 => Outcome::Retry,
            20..40 => Outcome::Abort("illegal generation".to_owned()),
            40..45 => Outcome::Broken("fenced".to_owned()),
            _ => {
                self.pending_offsets = offsets.to_vec();
                Outcome::Done
            }
        }
    }

    fn commit(&mut self) -> Outcome {
        match self.dice() {
            0..20 => Outcome::Retry,
            20..30 => {
                self.apply();
                Outcome::Retry
            }
            30..40 if !self.applied => Outcome::Abort("a record could not be delivered".to_owned()),
            40..45 => Outcome::Broken("fenced before".to_owned()),
            45..50 => {
                self.apply();
                Outcome::Broken("fenced after".to_owned())
            }
            _ => {
                self.apply();
                self.in_transaction = false;
                Outcome::Done
            }
        }
    }

    fn abort(&mut self) -> Outcome {
        assert!(!self.applied, "abort after a commit");
        match self.dice() {
            0..40 => Outcome::Retry,
            40..45 => Outcome::Broken("fenced".to_owned()),
            _ => {
                self.discard();
                Outcome::Done
            }
        }
    }

    fn rewind(&mut self, positions: &[(i32, i64)]) -> Outcome {
        match self.dice() {
            0..20 => Outcome::Retry,
            20..25 => Outcome::Broken("seek failed".to_owned()),
            _ => {
                self.position.extend(positions.iter().copied());
                Outcome::Done
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Poll(i32),
    /// A record is read, stops the worker for now, and is put back.
    PutBack(i32),
    /// A record is read and deferred.
    Defer(i32),
    Time(u64),
    Assign(i32),
    Revoke(i32, bool),
    OutputFails,
    Crash,
    OtherMember(i32),
    /// The group evicts the member inside a transaction, and another one processes this partition until the member is
    /// back.
    Eviction(i32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0..PARTITIONS).prop_map(Event::Poll),
        2 => (0..PARTITIONS).prop_map(Event::PutBack),
        4 => (0..PARTITIONS).prop_map(Event::Defer),
        5 => (1..150u64).prop_map(Event::Time),
        2 => (0..PARTITIONS).prop_map(Event::Assign),
        1 => (0..PARTITIONS, any::<bool>()).prop_map(|(partition, lost)| Event::Revoke(partition, lost)),
        1 => Just(Event::OutputFails),
        1 => Just(Event::Crash),
        2 => (0..PARTITIONS).prop_map(Event::OtherMember),
        2 => (0..PARTITIONS).prop_map(Event::Eviction),
    ]
}

/// Drives the machine as the worker does.
struct Driver {
    machine: Machine,
    brokers: Brokers,
    now: Instant,
}

impl Driver {
    fn rebuild(&mut self) {
        self.brokers.fence();
        self.brokers.owned.clear();
        self.machine = Machine::new(limits());
    }

    fn settle(&mut self) {
        for _ in 0..STEPS {
            match self.machine.step(self.now) {
                Step::Poll(_) => return,
                Step::Advance => {
                    self.now += Duration::from_millis(300);
                    self.machine.advance(self.now, &mut self.brokers);
                }
                Step::Rebuild(_) => return self.rebuild(),
            }
        }
        panic!("it does not end: {:?}", self.machine);
    }

    fn put_back(&mut self, partition: i32) {
        let before = self.brokers.pending.len();
        self.poll(partition);
        if self.brokers.pending.len() > before
            && let Some((partition, offset)) = self.brokers.pending.pop()
        {
            self.machine.put_back();
            self.brokers.position.insert(partition, offset);
        }
    }

    fn defer(&mut self, partition: i32) {
        let before = self.brokers.pending.len();
        self.poll(partition);
        if self.brokers.pending.len() > before {
            self.brokers.pending.pop();
            assert!(self.machine.defer());
        }
    }

    fn poll(&mut self, partition: i32) {
        if !self.brokers.owned.contains(&partition) {
            return;
        }
        let mut offset = self.brokers.position[&partition];
        if is_marker(offset) {
            offset += 1;
        }
        self.brokers.position.insert(partition, offset + 1);
        if self.machine.accept(partition, offset, self.now, &mut self.brokers) {
            self.brokers.pending.push((partition, offset));
        }
    }

    fn revoke(&mut self, partition: i32, lost: bool) {
        if !self.brokers.owned.contains(&partition) {
            return;
        }
        if lost {
            // Another member already owns the partition: from here on, no offset of it may be committed.
            self.brokers.owned.remove(&partition);
        }
        self.machine.begin_revoke(lost, self.now);
        for _ in 0..STEPS {
            if !self.machine.is_open() {
                break;
            }
            self.now += Duration::from_millis(300);
            self.machine.advance(self.now, &mut self.brokers);
        }
        assert!(!self.machine.is_open(), "it does not end: {:?}", self.machine);
        self.machine.remove(&BTreeSet::from([partition]));
        self.brokers.owned.remove(&partition);
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Poll(partition) => self.poll(partition),
            Event::PutBack(partition) => self.put_back(partition),
            Event::Defer(partition) => self.defer(partition),
            Event::Time(millis) => self.now += Duration::from_millis(millis),
            Event::Assign(partition) if !self.brokers.owned.contains(&partition) => {
                let consumed = self.brokers.consumed(partition);
                self.brokers.position.insert(partition, consumed.frontier());
                self.machine.assign(partition, consumed);
                self.brokers.owned.insert(partition);
            }
            Event::Assign(_) => {}
            Event::Revoke(partition, lost) => self.revoke(partition, lost),
            Event::OutputFails => self.machine.output_failed("too large".to_owned()),
            Event::Crash => self.rebuild(),
            Event::OtherMember(partition) => {
                if !self.brokers.owned.contains(&partition) {
                    self.brokers.other_member(partition);
                }
            }
            Event::Eviction(partition) => {
                let brokers = &mut self.brokers;
                // Offsets in an open transaction make other members wait until it has ended.
                if brokers.in_transaction && !brokers.applied && brokers.pending_offsets.is_empty() {
                    brokers.other_member(partition);
                    brokers.evicted = true;
                }
            }
        }
        self.settle();
    }
}

/// Checks that every record that is processed according to the committed state is in the output once, and no other
/// record is.
fn assert_exactly_once(brokers: &Brokers) {
    for (&partition, typed) in &brokers.typed {
        let consumed = brokers.consumed(partition);
        let expected: Vec<i64> =
            (0..consumed.end()).filter(|&offset| !is_marker(offset) && !consumed.lacks(offset)).collect();
        let mut typed = typed.clone();
        // In order, except for deferred records.
        typed.sort_unstable();
        assert_eq!(typed, expected, "partition {partition}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_record_is_in_the_output_exactly_once(
        events in prop::collection::vec(event(), 1..300),
        script in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let brokers = Brokers { script, ..Brokers::default() };
        let mut driver = Driver { machine: Machine::new(limits()), brokers, now: Instant::now() };
        for event in events {
            driver.apply(event);
            if !driver.brokers.in_transaction || !driver.brokers.applied {
                assert_exactly_once(&driver.brokers);
            }
        }
        // Without further faults, every started operation ends.
        driver.brokers.script.clear();
        driver.apply(Event::Time(1000));
        driver.apply(Event::Time(1000));
        prop_assert!(!driver.brokers.in_transaction);
        assert_exactly_once(&driver.brokers);
    }
}

#[test]
fn records_of_foreign_partitions_and_repeats_are_dropped() {
    let mut brokers = Brokers { owned: BTreeSet::from([1]), ..Brokers::default() };
    let mut machine = Machine::new(limits());
    let now = Instant::now();
    machine.assign(1, Consumed::at(10));
    assert!(!machine.accept(0, 10, now, &mut brokers), "not owned");
    assert!(!machine.accept(1, 9, now, &mut brokers), "before the start");
    assert!(machine.accept(1, 10, now, &mut brokers));
    assert!(!machine.accept(1, 10, now, &mut brokers), "read before");
    machine.begin_revoke(false, now);
    while machine.is_open() {
        machine.advance(now, &mut brokers);
    }
    machine.remove(&BTreeSet::from([1]));
    assert!(!machine.accept(1, 11, now, &mut brokers), "not owned any more");
}

#[test]
fn only_deferred_records_are_read_again_by_the_next_owner() {
    let mut brokers = Brokers { owned: BTreeSet::from([0]), ..Brokers::default() };
    let mut machine = Machine::new(limits());
    let now = Instant::now();
    machine.assign(0, Consumed::at(0));
    for offset in [0, 1, 3, 4] {
        assert!(machine.accept(0, offset, now, &mut brokers));
        if offset == 1 || offset == 3 {
            assert!(machine.defer());
        }
    }
    while machine.is_open() {
        machine.advance(now, &mut brokers);
    }
    assert_eq!((machine.committed(0), machine.read(0), machine.deferred(0)), (Some(1), Some(5), 2));

    let mut next = Machine::new(limits());
    next.assign(0, brokers.consumed(0));
    let accepted: Vec<i64> =
        [1, 3, 4, 6].into_iter().filter(|&offset| next.accept(0, offset, now, &mut brokers)).collect();
    assert_eq!(accepted, [1, 3, 6]);
    while next.is_open() {
        next.advance(now, &mut brokers);
    }
    assert_eq!((next.committed(0), next.deferred(0)), (Some(7), 0));
}
