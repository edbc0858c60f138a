//! The stall clock measures how long the record at a partition's frontier has been in progress without an outcome.
//!
//! A record that waits for its turn, for a rate limit, for a pause or for a hold keeps the frontier where it is, and
//! that is not a defect. Therefore, the clock runs only while the record at the frontier is started: it is in a request
//! or in a write. If the clock reaches the limit, the partition is stalled. The clock is a plain value; callers pass in
//! the time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position};

use crate::ledger::{Claim, Epoch};

/// A partition whose record at the frontier was started and has not been completed for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) position: Position,
    pub(super) after: Duration,
}

/// The stall clocks of the partitions assigned now.
#[derive(Debug, Default)]
pub(super) struct Stalls(HashMap<Partition, Clock>);

#[derive(Debug)]
struct Clock {
    epoch: Epoch,
    started: OffsetRuns,
    frontier: Offset,
    /// `None` means that the clock starts at the next check.
    since: Option<Instant>,
}

impl Stalls {
    /// Adds the clock of a new assignment, of which no record has been started.
    pub(super) fn assigned(&mut self, partition: Partition, epoch: Epoch) {
        self.0.insert(partition, Clock { epoch, started: OffsetRuns::default(), frontier: Offset(0), since: None });
    }

    /// Notes that these records are in a request or in a write from now on. Starting the next step of a record restarts
    /// its clock.
    pub(super) fn started(&mut self, claims: &[Claim]) {
        self.update(claims, OffsetRuns::insert);
    }

    /// Notes that these records wait again.
    pub(super) fn deferred(&mut self, claims: &[Claim]) {
        self.update(claims, OffsetRuns::remove);
    }

    fn update(&mut self, claims: &[Claim], change: fn(&mut OffsetRuns, Offset)) {
        for claim in claims {
            let clock = self.0.get_mut(&claim.partition).filter(|clock| clock.epoch == claim.epoch);
            let Some(clock) = clock else { continue };
            change(&mut clock.started, claim.offset);
            if claim.offset == clock.frontier {
                clock.since = None;
            }
        }
    }

    /// Takes the current frontiers, and returns a partition whose clock has run for `limit` or longer. `excused` means
    /// that the work waits for an external system; no clock runs then.
    pub(super) fn look(
        &mut self,
        frontiers: impl Iterator<Item = Position>,
        excused: bool,
        limit: Duration,
        now: Instant,
    ) -> Option<Stall> {
        let mut stall = None;
        for position in frontiers {
            let Position { partition, offset: frontier } = position;
            let Some(clock) = self.0.get_mut(&partition) else { continue };
            clock.started.forget_before(frontier);
            let runs = clock.frontier == frontier && !excused && clock.started.contains(frontier);
            let since = clock.since.filter(|_| runs).unwrap_or(now);
            (clock.frontier, clock.since) = (frontier, Some(since));
            let after = now.saturating_duration_since(since);
            if runs && after >= limit {
                stall = Some(Stall { position, after });
            }
        }
        stall
    }
}

/// A set of offsets, as ranges with exclusive ends. Records are started almost in the order of their offsets, so there
/// are only a few ranges.
#[derive(Debug, Default)]
struct OffsetRuns(VecDeque<(Offset, Offset)>);

impl OffsetRuns {
    fn insert(&mut self, offset: Offset) {
        if let Some((_, end)) = self.0.back_mut().filter(|(_, end)| *end == offset) {
            *end = offset.next();
            return;
        }
        let index = self.0.partition_point(|&(_, end)| end < offset);
        let Some(&(start, end)) = self.0.get(index) else {
            self.0.push_back((offset, offset.next()));
            return;
        };
        if (start..end).contains(&offset) {
            return;
        }
        if end == offset {
            let next = self.0.get(index + 1).copied().filter(|&(start, _)| start == offset.next());
            if next.is_some() {
                self.0.remove(index + 1);
            }
            self.0[index].1 = next.map_or(offset.next(), |(_, end)| end);
        } else if start == offset.next() {
            self.0[index].0 = offset;
        } else {
            self.0.insert(index, (offset, offset.next()));
        }
    }

    fn remove(&mut self, offset: Offset) {
        let Some(index) = self.find(offset) else { return };
        let (start, end) = self.0[index];
        match (start == offset, end == offset.next()) {
            (true, true) => drop(self.0.remove(index)),
            (true, false) => self.0[index].0 = offset.next(),
            (false, true) => self.0[index].1 = offset,
            (false, false) => {
                self.0[index].1 = offset;
                self.0.insert(index + 1, (offset.next(), end));
            }
        }
    }

    fn contains(&self, offset: Offset) -> bool {
        self.find(offset).is_some()
    }

    fn find(&self, offset: Offset) -> Option<usize> {
        let index = self.0.partition_point(|&(_, end)| end <= offset);
        self.0.get(index).filter(|&&(start, _)| start <= offset).map(|_| index)
    }

    /// Drops the ranges whose offsets are all before this offset.
    fn forget_before(&mut self, offset: Offset) {
        while self.0.front().is_some_and(|&(_, end)| end <= offset) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Ledgers;

    const LIMIT: Duration = Duration::from_secs(300);

    /// A partition with outstanding records, its ledger and its stall clock.
    struct Watched {
        ledgers: Ledgers,
        stalls: Stalls,
        claims: Vec<Claim>,
        now: Instant,
    }

    impl Watched {
        fn with(records: i64) -> Self {
            let (mut ledgers, mut stalls) = (Ledgers::default(), Stalls::default());
            stalls.assigned(Partition(0), ledgers.assign(Position::new(0, 0)));
            let charge = |offset| ledgers.charge(Position::new(0, offset), 1).unwrap().unwrap();
            let claims = (0..records).map(charge).collect();
            Self { ledgers, stalls, claims, now: Instant::now() }
        }

        fn start(&mut self, offset: usize) {
            self.stalls.started(&self.claims[offset..=offset]);
        }

        fn defer(&mut self, offset: usize) {
            self.stalls.deferred(&self.claims[offset..=offset]);
        }

        fn settle(&mut self, offset: usize) {
            self.ledgers.settle(self.claims[offset]).unwrap();
        }

        fn look(&mut self, excused: bool) -> Option<Stall> {
            let frontier = self.ledgers.frontier(Partition(0)).unwrap();
            self.stalls.look([Position::of(Partition(0), frontier)].into_iter(), excused, LIMIT, self.now)
        }

        /// Lets time pass, with a check every half second. Returns the first stall.
        fn pass(&mut self, seconds: u64) -> Option<Stall> {
            (0..seconds * 2).find_map(|_| {
                self.now += Duration::from_millis(500);
                self.look(false)
            })
        }
    }

    #[test]
    fn a_record_that_waits_to_be_started_never_stalls_its_partition() {
        let mut partition = Watched::with(3);
        assert_eq!(partition.pass(86_400), None, "the first record waits a day for the backlog of another partition");
        partition.start(0);
        partition.settle(0);
        assert_eq!(partition.pass(86_400), None, "the next record waits for the rate limit");
    }

    #[test]
    fn a_started_record_without_completion_is_a_stall_after_the_limit() {
        let mut partition = Watched::with(3);
        assert_eq!(partition.pass(1000), None);
        partition.start(0);
        assert_eq!(partition.pass(299), None, "the time before the start does not count");
        let stall = partition.pass(2).unwrap();
        assert_eq!(stall.position, Position::new(0, 0));
    }

    #[test]
    fn a_stall_is_found_although_later_records_of_the_partition_complete() {
        let mut partition = Watched::with(1000);
        partition.start(0);
        let stall = (1..1000).find_map(|offset| {
            partition.start(offset);
            partition.settle(offset);
            partition.pass(1)
        });
        assert_eq!(stall.map(|stall| stall.position.offset), Some(Offset(0)));
    }

    #[test]
    fn each_start_of_a_deferred_record_restarts_its_stall_clock() {
        let mut partition = Watched::with(2);
        for _ in 0..100 {
            partition.start(0);
            assert_eq!(partition.pass(250), None);
            // Defers the record between two checks.
            partition.defer(0);
        }
        assert_eq!(partition.pass(1000), None, "deferred");
        partition.start(0);
        assert_eq!(partition.pass(250), None);
        partition.start(0);
        assert_eq!(partition.pass(250), None, "a second start restarts the clock");
        assert!(partition.pass(60).is_some());
    }

    #[test]
    fn the_stall_clock_stops_while_the_work_waits_for_an_external_system() {
        let mut partition = Watched::with(1);
        partition.start(0);
        for _ in 0..1000 {
            partition.now += Duration::from_secs(10);
            assert_eq!(partition.look(true), None);
        }
        assert_eq!(partition.pass(299), None);
        assert!(partition.pass(2).is_some());
    }

    #[test]
    fn a_new_assignment_ignores_reports_for_the_previous_assignment() {
        let mut partition = Watched::with(2);
        partition.start(0);
        assert_eq!(partition.pass(250), None);
        partition.ledgers.revoke(Partition(0));
        let epoch = partition.ledgers.assign(Position::new(0, 0));
        partition.stalls.assigned(Partition(0), epoch);
        // This report is for the old assignment and comes late.
        partition.start(0);
        assert_eq!(partition.pass(1000), None);
    }

    proptest! {
        #[test]
        fn offset_runs_behave_like_a_set(
            changes in prop::collection::vec((any::<bool>(), (0..40i64).prop_map(Offset)), 0..200),
            forgotten in (0..40i64).prop_map(Offset),
        ) {
            let (mut runs, mut model) = (OffsetRuns::default(), BTreeSet::new());
            for (insert, offset) in changes {
                if insert {
                    runs.insert(offset);
                    model.insert(offset);
                } else {
                    runs.remove(offset);
                    model.remove(&offset);
                }
                for offset in (-1..41).map(Offset) {
                    prop_assert_eq!(runs.contains(offset), model.contains(&offset), "{} in {:?}", offset, runs);
                }
                let ordered = runs.0.iter().zip(runs.0.iter().skip(1)).all(|(before, after)| before.1 < after.0);
                prop_assert!(ordered, "{:?}", runs);
            }
            runs.forget_before(forgotten);
            let mut kept = (forgotten.0..41).map(Offset);
            prop_assert!(kept.all(|offset| runs.contains(offset) == model.contains(&offset)));
        }

        /// Every record that is reported as stalled was started at least `LIMIT` ago, and was neither deferred nor
        /// settled since.
        #[test]
        fn only_a_started_and_uncompleted_record_is_a_stall(
            steps in prop::collection::vec((0..5u8, 0..6usize, 1..200u64), 1..200),
        ) {
            let mut partition = Watched::with(6);
            let mut busy: HashMap<usize, Instant> = HashMap::new();
            let mut settled = BTreeSet::new();
            for (step, offset, seconds) in steps {
                if settled.contains(&offset) {
                    continue;
                }
                match step {
                    0 | 1 => {
                        partition.start(offset);
                        busy.insert(offset, partition.now);
                    }
                    2 => {
                        partition.defer(offset);
                        busy.remove(&offset);
                    }
                    3 if busy.remove(&offset).is_some() => {
                        partition.settle(offset);
                        settled.insert(offset);
                    }
                    _ => {}
                }
                if let Some(stall) = partition.pass(seconds) {
                    let since = busy.get(&usize::try_from(stall.position.offset.0).unwrap());
                    prop_assert!(since.is_some_and(|since| partition.now - *since >= LIMIT), "{:?}", stall);
                }
            }
        }
    }
}
