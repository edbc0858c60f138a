//! Tests the start and the end of reading, on scripted brokers.

use std::cell::RefCell;
use std::collections::VecDeque;

use rdkafka::error::RDKafkaErrorCode;

use super::*;
use crate::record::FakeRecord;

const PARTITION: Partition = Partition(0);

/// The result of one poll.
#[derive(Debug, Clone, Copy)]
enum Step {
    Record(i64),
    /// The reader is at the end of the records that it may see.
    End,
    Nothing,
    Trouble,
}

/// The steps of a reader, with its position after each step. After the last step, restoring is stopped.
struct Script {
    steps: RefCell<VecDeque<(Step, i64)>>,
    position: RefCell<i64>,
    stop: CancellationToken,
}

impl TailReader for Script {
    fn poll(&self, _: Duration) -> Option<KafkaResult<Polled<'_>>> {
        let Some((step, position)) = self.steps.borrow_mut().pop_front() else {
            self.stop.cancel();
            return None;
        };
        *self.position.borrow_mut() = position;
        match step {
            Step::Record(offset) => {
                let position = Position::new(0, offset);
                Some(Ok(Polled::Fake(FakeRecord { position, timestamp: 0, value: Vec::new() })))
            }
            Step::End => Some(Err(RdError::PartitionEOF(0))),
            Step::Nothing => None,
            Step::Trouble => Some(Err(RdError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))),
        }
    }

    fn positions(&self) -> Result<Vec<Position>, KafkaError> {
        Ok(vec![Position::new(0, *self.position.borrow())])
    }
}

/// The brokers of one partition. `output` contains the range for each query; the last range is used for all further
/// queries.
struct Brokers {
    input: (i64, i64),
    output: RefCell<VecDeque<(i64, i64)>>,
    since: Option<i64>,
    steps: RefCell<VecDeque<(Step, i64)>>,
    stop: CancellationToken,
    /// Offset that was assigned to the reader.
    assigned: RefCell<Option<i64>>,
}

impl OutputLog for &Brokers {
    type Reader = Script;

    fn starts(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        assert_eq!(partitions, [PARTITION]);
        Ok(vec![FoundStart::of_test(Position::new(0, self.input.0), false)])
    }

    fn input_end(&self, _: Partition) -> Result<Offset, KafkaError> {
        Ok(Offset(self.input.1))
    }

    fn output(&self, _: Partition) -> Result<Watermarks, KafkaError> {
        let mut output = self.output.borrow_mut();
        let (low, high) = if output.len() > 1 { output.pop_front().unwrap() } else { output[0] };
        Ok(Watermarks { low: Offset(low), high: Offset(high) })
    }

    fn output_since(&self, _: Partition, _: i64) -> Result<Option<Offset>, KafkaError> {
        Ok(self.since.map(Offset))
    }

    fn reader(&self) -> Result<Script, KafkaError> {
        Ok(Script { steps: self.steps.take().into(), position: RefCell::new(-1), stop: self.stop.clone() })
    }

    fn assign(&self, _: &Script, starts: &[Position]) -> Result<(), KafkaError> {
        *self.assigned.borrow_mut() = starts.first().map(|start| start.offset.0);
        Ok(())
    }
}

/// A state that keeps what was restored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Restored {
    starts_late: bool,
    offsets: Vec<i64>,
}

impl PartitionState for Restored {
    fn starts_late(&mut self) {
        assert!(self.offsets.is_empty() && !self.starts_late);
        self.starts_late = true;
    }

    fn restore(&mut self, record: &Record<'_>) {
        self.offsets.push(record.offset().0);
    }
}

/// Brokers with 20 offsets of input, of which the group has committed 10, and with these ranges of the output.
fn brokers(output: impl IntoIterator<Item = (i64, i64)>, steps: &[(Step, i64)]) -> Brokers {
    Brokers {
        input: (10, 20),
        output: RefCell::new(output.into_iter().collect()),
        since: None,
        steps: RefCell::new(steps.iter().copied().collect()),
        stop: CancellationToken::new(),
        assigned: RefCell::default(),
    }
}

/// Restores the partition. Returns `None` if its state was not complete after the last step.
fn restore(brokers: &Brokers) -> Option<Restored> {
    let tail = Tail {
        log: brokers,
        lookback: Lookback { offsets: 100, age: Duration::from_secs(60) },
        stop: brokers.stop.clone(),
        progress: Arc::default(),
    };
    let (mut starts, mut restored) = (0, None);
    let candidate = Candidate { partition: PARTITION, state: Restored::default() };
    tail.read(vec![candidate], |found| match found {
        Found::Starts(found) => starts += found.len(),
        Found::State(partition, state) => {
            assert_eq!((partition, starts), (PARTITION, 1), "the start comes first");
            assert_eq!(restored.replace(state), None, "the partition is restored once");
        }
    })
    .unwrap();
    restored
}

fn records(offsets: std::ops::Range<i64>) -> Vec<(Step, i64)> {
    offsets.map(|offset| (Step::Record(offset), offset + 1)).collect()
}

#[test]
fn a_tail_that_is_shorter_than_the_lookback_is_read_from_its_first_record() {
    let brokers = brokers([(0, 3)], &records(0..3));
    assert_eq!(restore(&brokers), Some(Restored { starts_late: false, offsets: vec![0, 1, 2] }));
    assert_eq!(*brokers.assigned.borrow(), Some(0));
}

#[test]
fn a_tail_longer_than_the_lookback_is_marked_as_starting_late() {
    let brokers = brokers([(0, 500)], &records(400..500));
    let restored = restore(&brokers).unwrap();
    assert_eq!((restored.starts_late, restored.offsets.len()), (true, 100));
    assert_eq!(*brokers.assigned.borrow(), Some(400));
}

#[test]
fn without_waiting_input_only_records_within_the_maximum_age_are_read() {
    let mut brokers = brokers([(0, 50)], &records(48..50));
    (brokers.input, brokers.since) = ((20, 20), Some(48));
    assert_eq!(restore(&brokers), Some(Restored { starts_late: false, offsets: vec![48, 49] }));
    brokers.since = None;
    assert_eq!(restore(&brokers), Some(Restored::default()), "all records are older: nothing is read");
}

#[test]
fn a_tail_whose_beginning_has_expired_is_marked_as_starting_late() {
    let brokers = brokers([(5, 8)], &records(5..8));
    assert_eq!(restore(&brokers), Some(Restored { starts_late: true, offsets: vec![5, 6, 7] }));
}

#[test]
fn a_tail_that_expires_while_it_is_read_is_complete_when_all_of_it_has_expired() {
    let ended = [(Step::Record(5), 6), (Step::End, 6), (Step::End, 6)];
    let expired = brokers([(5, 8), (7, 9), (8, 9)], &ended);
    assert_eq!(restore(&expired), Some(Restored { starts_late: true, offsets: vec![5] }));
    let retained = brokers([(5, 8), (7, 9)], &ended);
    assert_eq!(restore(&retained), None, "one record of the tail is still retained");
}

#[test]
fn restoring_waits_for_an_open_transaction_in_the_tail() {
    // The reader is at the last stable offset, as long as the transaction at offset 1 is open.
    let open = [(Step::Record(0), 1), (Step::End, 1), (Step::Nothing, 1), (Step::Trouble, 1)];
    assert_eq!(restore(&brokers([(0, 4)], &open)), None);
    let committed = [&open[..], &records(1..3), &[(Step::Nothing, 4)]].concat();
    let restored = restore(&brokers([(0, 4)], &committed)).unwrap();
    assert_eq!(restored.offsets, [0, 1, 2], "offset 3 is the marker, which the reader never returns");
    let aborted = [&open[..], &[(Step::Nothing, 4)]].concat();
    assert_eq!(restore(&brokers([(0, 4)], &aborted)).unwrap().offsets, [0]);
}

#[test]
fn a_record_after_the_end_completes_the_tail_without_being_restored() {
    // The offsets between the two records are markers.
    let brokers = brokers([(0, 4)], &[(Step::Record(0), 1), (Step::Record(5), 6)]);
    assert_eq!(restore(&brokers).unwrap().offsets, [0]);
}

#[test]
fn after_a_truncation_the_state_is_restored_when_the_output_reaches_its_old_end_again() {
    // An unclean leader election has removed the records from 2 on.
    let truncated = [(Step::Record(0), 1), (Step::Record(1), 2), (Step::End, 2), (Step::End, 2)];
    assert_eq!(restore(&brokers([(0, 4), (0, 2)], &truncated)), None);
    let grown = [&truncated[..], &records(2..6)].concat();
    let restored = restore(&brokers([(0, 4), (0, 2)], &grown)).unwrap();
    assert_eq!(restored.offsets, [0, 1, 2, 3], "no record after the old end is restored");
}

#[test]
fn reading_starts_at_the_latest_of_the_count_age_and_retention_limits() {
    let at = |offset, starts_late| First { offset: Offset(offset), starts_late };
    let first = |low, end, by_time, offsets| first(Offset(low), Offset(end), Offset(by_time), offsets);
    assert_eq!(first(0, 0, 0, 100), at(0, false), "nothing was ever written");
    assert_eq!(first(0, 50, 0, 100), at(0, false), "everything is read");
    assert_eq!(first(0, 500, 0, 100), at(400, true), "the number of offsets is the limit");
    assert_eq!(first(0, 500, 450, 100), at(450, false), "the age is the limit");
    assert_eq!(first(0, 500, 500, 100), at(500, false), "all is too old to matter");
    assert_eq!(first(20, 50, 0, 100), at(20, true), "records that might matter have expired");
    assert_eq!(first(20, 50, 30, 100), at(30, false), "only records that do not matter have expired");
}
