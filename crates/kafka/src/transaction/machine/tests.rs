//! Tests the machine against a model of the brokers, over random schedules of outcomes and rebalances.

use proptest::prelude::*;

use super::*;

mod rebalances;
mod unresolved;

/// Number of partitions in a test.
const PARTITIONS: i32 = 3;

fn partition() -> impl Strategy<Value = Partition> {
    (0..PARTITIONS).prop_map(Partition)
}

/// More calls than any transaction needs: every timeout has passed by then.
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
    /// Committed offset and its metadata, for each partition.
    committed: BTreeMap<Partition, (Offset, String)>,
    typed: BTreeMap<Partition, Vec<Offset>>,
    pending: Vec<Position>,
    pending_offsets: Vec<Mark>,
    position: BTreeMap<Partition, Offset>,
    script: Vec<u8>,
    in_transaction: bool,
    owned: BTreeSet<Partition>,
    /// Whether the current commit has been applied, perhaps although its outcome was `Retry`.
    applied: bool,
    /// Whether the group has evicted the member, which has joined again without noticing a lost partition.
    evicted: bool,
}

impl Brokers {
    fn dice(&mut self) -> u8 {
        self.script.pop().unwrap_or(255)
    }

    fn apply(&mut self) {
        if !std::mem::replace(&mut self.applied, true) {
            for Position { partition, offset } in self.pending.drain(..) {
                self.typed.entry(partition).or_default().push(offset);
            }
            for Mark { position: Position { partition, offset }, note, .. } in self.pending_offsets.drain(..) {
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

    /// Applies the effect of a new producer with the same transactional id.
    fn fence(&mut self) {
        if self.in_transaction && !self.applied {
            self.discard();
        }
        self.in_transaction = false;
        self.applied = false;
        self.evicted = false;
    }

    /// Lets another member process and commit a record of a partition.
    fn other_member(&mut self, partition: Partition) {
        let mut consumed = self.consumed(partition);
        // The other member starts with the deferred records, and may defer them again.
        let from = consumed.frontier();
        let record = if is_marker(from) { from.next() } else { from };
        let next = record.next();
        if from.0 % 5 == 0 && consumed.lacks(next) && !is_marker(next) {
            assert!(consumed.defer(record));
            self.typed.entry(partition).or_default().push(next);
            consumed.process(next);
        } else {
            self.typed.entry(partition).or_default().push(record);
            consumed.process(record);
        }
        self.committed.insert(partition, (consumed.frontier(), consumed.note().unwrap_or_default()));
    }

    /// Returns the progress of a partition, as its next owner finds it.
    fn consumed(&self, partition: Partition) -> Consumed {
        self.committed.get(&partition).map_or(Consumed::at(Offset(0)), |(offset, note)| Consumed::read(*offset, note))
    }
}

fn is_marker(offset: Offset) -> bool {
    offset.0 % 3 == 2
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
        let is_known =
            |mark: &Mark| *mark == Mark::new(mark.position.partition, &self.consumed(mark.position.partition));
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

    fn rewind(&mut self, positions: &[Position]) -> Outcome {
        match self.dice() {
            0..20 => Outcome::Retry,
            20..25 => Outcome::Broken("seek failed".to_owned()),
            _ => {
                self.position.extend(positions.iter().map(|position| (position.partition, position.offset)));
                Outcome::Done
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Poll(Partition),
    /// A record is read and put back, as if the processor had requested to hold before this record.
    PutBack(Partition),
    /// A record is read and deferred.
    Defer(Partition),
    Time(u64),
    Assign(Partition),
    Revoke(Partition, bool),
    OutputFails,
    Crash,
    OtherMember(Partition),
    /// The group evicts the member during a transaction. Another member processes this partition until the evicted one
    /// joins again.
    Eviction(Partition),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => partition().prop_map(Event::Poll),
        2 => partition().prop_map(Event::PutBack),
        4 => partition().prop_map(Event::Defer),
        5 => (1..150u64).prop_map(Event::Time),
        2 => partition().prop_map(Event::Assign),
        1 => (partition(), any::<bool>()).prop_map(|(partition, lost)| Event::Revoke(partition, lost)),
        1 => Just(Event::OutputFails),
        1 => Just(Event::Crash),
        2 => partition().prop_map(Event::OtherMember),
        2 => partition().prop_map(Event::Eviction),
    ]
}

/// Drives the machine as a worker's session does.
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
        panic!("the transaction does not end: {:?}", self.machine);
    }

    fn put_back(&mut self, partition: Partition) {
        let before = self.brokers.pending.len();
        self.poll(partition);
        if self.brokers.pending.len() > before
            && let Some(record) = self.brokers.pending.pop()
        {
            self.machine.put_back();
            self.brokers.position.insert(record.partition, record.offset);
        }
    }

    fn defer(&mut self, partition: Partition) {
        let before = self.brokers.pending.len();
        self.poll(partition);
        if self.brokers.pending.len() > before {
            self.brokers.pending.pop();
            assert!(self.machine.defer());
        }
    }

    fn poll(&mut self, partition: Partition) {
        if !self.brokers.owned.contains(&partition) {
            return;
        }
        let mut offset = self.brokers.position[&partition];
        if is_marker(offset) {
            offset = offset.next();
        }
        self.brokers.position.insert(partition, offset.next());
        let record = Position::of(partition, offset);
        if self.machine.accept(record, self.now, &mut self.brokers) {
            self.brokers.pending.push(record);
        }
    }

    fn revoke(&mut self, partition: Partition, lost: bool) {
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
        assert!(!self.machine.is_open(), "the transaction does not end: {:?}", self.machine);
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

/// Checks that the output contains every record that is processed according to the committed state exactly once, and no
/// other record.
fn assert_exactly_once(brokers: &Brokers) {
    for (&partition, typed) in &brokers.typed {
        let consumed = brokers.consumed(partition);
        let offsets = (0..consumed.end().0).map(Offset);
        let expected: Vec<Offset> = offsets.filter(|&offset| !is_marker(offset) && !consumed.lacks(offset)).collect();
        let mut typed = typed.clone();
        // The output is in order, except for deferred records.
        typed.sort_unstable();
        assert_eq!(typed, expected, "partition {partition}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_record_is_in_the_output_exactly_once_after_any_faults_and_rebalances(
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
        // Without further faults, every operation in progress ends.
        driver.brokers.script.clear();
        driver.apply(Event::Time(1000));
        driver.apply(Event::Time(1000));
        prop_assert!(!driver.brokers.in_transaction);
        assert_exactly_once(&driver.brokers);
    }
}

#[test]
fn records_of_unowned_partitions_and_records_read_before_are_dropped() {
    let mut brokers = Brokers { owned: BTreeSet::from([Partition(1)]), ..Brokers::default() };
    let mut machine = Machine::new(limits());
    let now = Instant::now();
    machine.assign(Partition(1), Consumed::at(Offset(10)));
    assert!(!machine.accept(Position::new(0, 10), now, &mut brokers), "not owned");
    assert!(!machine.accept(Position::new(1, 9), now, &mut brokers), "before the start");
    assert!(machine.accept(Position::new(1, 10), now, &mut brokers));
    assert!(!machine.accept(Position::new(1, 10), now, &mut brokers), "read before");
    machine.begin_revoke(false, now);
    while machine.is_open() {
        machine.advance(now, &mut brokers);
    }
    machine.remove(&BTreeSet::from([Partition(1)]));
    assert!(!machine.accept(Position::new(1, 11), now, &mut brokers), "not owned any more");
}

#[test]
fn the_next_owner_accepts_deferred_records_and_drops_processed_ones() {
    let mut brokers = Brokers { owned: BTreeSet::from([Partition(0)]), ..Brokers::default() };
    let mut machine = Machine::new(limits());
    let now = Instant::now();
    machine.assign(Partition(0), Consumed::at(Offset(0)));
    for offset in [0, 1, 3, 4] {
        assert!(machine.accept(Position::new(0, offset), now, &mut brokers));
        if offset == 1 || offset == 3 {
            assert!(machine.defer());
        }
    }
    while machine.is_open() {
        machine.advance(now, &mut brokers);
    }
    let partition = Partition(0);
    assert_eq!((machine.committed(partition), machine.read(partition)), (Some(Offset(1)), Some(Offset(5))));
    assert_eq!(machine.deferred(partition), 2);

    let mut next = Machine::new(limits());
    next.assign(partition, brokers.consumed(partition));
    let accepted: Vec<i64> =
        [1, 3, 4, 6].into_iter().filter(|&offset| next.accept(Position::new(0, offset), now, &mut brokers)).collect();
    assert_eq!(accepted, [1, 3, 6]);
    while next.is_open() {
        next.advance(now, &mut brokers);
    }
    assert_eq!((next.committed(partition), next.deferred(partition)), (Some(Offset(7)), 0));
}
