//! Tests the restores with logs whose results the test releases one after another.

use contract::{Offset, Position};
use rdkafka::error::KafkaResult;

use super::super::tail::TailReader;
use super::*;
use crate::record::{Polled, Record};
use crate::watermarks::Watermarks;

const SOON: Duration = Duration::from_secs(30);

/// A state that names the assignment for which it was created.
#[derive(Debug, PartialEq, Eq)]
struct OfAssignment(u64);

impl PartitionState for OfAssignment {
    fn starts_late(&mut self) {}
    fn restore(&mut self, _: &Record<'_>) {}
}

/// A log of one assignment. Its reader never gets a record, so if there is output, only a stop ends the reading thread.
struct FakeLog {
    /// Start of every partition, which shows the assignment.
    start: i64,
    /// End of every output partition.
    end: i64,
    /// [`OutputLog::starts`] waits for a message on this channel.
    released: mpsc::Receiver<()>,
    /// Gets a message when the reading thread has ended.
    ended: mpsc::Sender<()>,
}

/// The test's side of a [`FakeLog`].
struct Control {
    release: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl FakeLog {
    fn new(start: i64, end: i64) -> (Self, Control) {
        let ((release, released), (ended, has_ended)) = (mpsc::channel(), mpsc::channel());
        (Self { start, end, released, ended }, Control { release, ended: has_ended })
    }
}

impl Drop for FakeLog {
    fn drop(&mut self) {
        // The test may have ended, so that no one receives the message.
        self.ended.send(()).unwrap_or_default();
    }
}

impl Control {
    /// Releases the log's results, and waits until all are reported.
    fn finish(&self) {
        self.release.send(()).unwrap();
        self.wait();
    }

    fn wait(&self) {
        assert_eq!(self.ended.recv_timeout(SOON), Ok(()), "the reading thread does not end");
    }
}

impl OutputLog for FakeLog {
    type Reader = Silent;

    fn starts(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        self.released.recv_timeout(SOON).unwrap();
        let start = |partition: &Partition| FoundStart::of_test(Position::of(*partition, Offset(self.start)), false);
        Ok(partitions.iter().map(start).collect())
    }

    fn input_end(&self, _: Partition) -> Result<Offset, KafkaError> {
        Ok(Offset(i64::MAX))
    }

    fn output(&self, _: Partition) -> Result<Watermarks, KafkaError> {
        Ok(Watermarks { low: Offset(0), high: Offset(self.end) })
    }

    fn output_since(&self, _: Partition, _: i64) -> Result<Option<Offset>, KafkaError> {
        Ok(None)
    }

    fn reader(&self) -> Result<Silent, KafkaError> {
        Ok(Silent)
    }

    fn assign(&self, _: &Silent, _: &[Position]) -> Result<(), KafkaError> {
        Ok(())
    }
}

/// A reader that gets no record.
struct Silent;

impl TailReader for Silent {
    fn poll(&self, _: Duration) -> Option<KafkaResult<Polled<'_>>> {
        std::thread::sleep(Duration::from_millis(1));
        None
    }

    fn positions(&self) -> Result<Vec<Position>, KafkaError> {
        Ok(Vec::new())
    }
}

fn restores() -> Restores<OfAssignment> {
    Restores::new(Lookback { offsets: 1, age: Duration::ZERO })
}

/// Begins an assignment of these partitions. `end` is the high watermark of their output partitions.
fn begin(restores: &mut Restores<OfAssignment>, partitions: &[i32], end: i64) -> Control {
    let assignment = restores.assignments + 1;
    let (log, control) = FakeLog::new(i64::try_from(assignment).unwrap(), end);
    let candidate = |&partition: &i32| Candidate { partition: Partition(partition), state: OfAssignment(assignment) };
    restores.begin(move || Ok(log), partitions.iter().map(candidate).collect());
    control
}

/// Returns all results: the positions of starts, or the partition and the assignment of a state.
fn findings(restores: &mut Restores<OfAssignment>) -> Vec<String> {
    let mut findings = Vec::new();
    while let Some(finding) = restores.finished().unwrap() {
        findings.push(match finding {
            Finding::Starts(starts) => {
                let starts: Vec<_> = starts.iter().map(|start| start.position.to_string()).collect();
                format!("starts {}", starts.join(" "))
            }
            Finding::Restored { partition, state: OfAssignment(assignment), .. } => {
                format!("partition {partition} of assignment {assignment}")
            }
        });
    }
    findings
}

#[test]
fn results_of_an_older_assignment_are_ignored() {
    let mut restores = restores();
    let first = begin(&mut restores, &[0, 1], 0);
    restores.forget(Partition(0));
    let second = begin(&mut restores, &[0], 0);
    first.finish();
    assert_eq!(findings(&mut restores), ["starts 1:1", "partition 1 of assignment 1"]);
    assert_eq!(restores.waiting().collect::<Vec<_>>(), [Partition(0)]);
    second.finish();
    assert_eq!(findings(&mut restores), ["starts 0:2", "partition 0 of assignment 2"]);
    assert_eq!(restores.waiting().count(), 0);
}

#[test]
fn results_of_an_assignment_that_was_revoked_as_a_whole_are_ignored() {
    let mut restores = restores();
    let first = begin(&mut restores, &[0], 0);
    restores.forget(Partition(0));
    let second = begin(&mut restores, &[0], 0);
    second.finish();
    first.finish();
    assert_eq!(findings(&mut restores), ["starts 0:2", "partition 0 of assignment 2"]);
}

#[test]
fn a_reader_is_stopped_once_no_partition_waits_for_it() {
    let mut restores = restores();
    let (first, second) = (begin(&mut restores, &[0, 1], 7), begin(&mut restores, &[2], 7));
    [&first, &second].iter().for_each(|control| control.release.send(()).unwrap());
    restores.forget(Partition(0));
    assert!(restores.readers.values().all(|stop| !stop.is_cancelled()), "partition 1 still waits");
    restores.forget(Partition(1));
    first.wait();
    assert_eq!(restores.readers.keys().copied().collect::<Vec<_>>(), [2]);
    drop(restores);
    second.wait();
}

#[test]
fn a_log_that_cannot_be_opened_ends_the_restore_with_its_error() {
    let mut restores = restores();
    let open = || Err::<FakeLog, _>(KafkaError::GivenUp("no broker".to_owned()));
    restores.begin(open, vec![Candidate { partition: Partition(0), state: OfAssignment(1) }]);
    let deadline = Instant::now() + SOON;
    let error = loop {
        match restores.finished() {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(Instant::now() < deadline, "no error"),
        }
    };
    assert_eq!(error, "no broker");
}

#[test]
fn a_restore_is_reported_as_delayed_after_six_seconds_without_progress() {
    let mut restores = restores();
    let start = restores.progress_at;
    let at = |restores: &mut Restores<_>, seconds| restores.delay(start + Duration::from_secs(seconds));
    assert_eq!(at(&mut restores, 100), None, "no partition waits");
    restores.waiting.insert(Partition(0), (1, start));
    assert_eq!(at(&mut restores, 105), None);
    restores.progress.store(true, Ordering::Relaxed);
    assert_eq!(at(&mut restores, 106), None, "a record arrived");
    assert_eq!(at(&mut restores, 111), None);
    assert_eq!(at(&mut restores, 112), Some(Delay::Lasts(Duration::from_secs(6))));
    assert_eq!(at(&mut restores, 112), None, "reported once a second");
    assert_eq!(at(&mut restores, 113), Some(Delay::Lasts(Duration::from_secs(7))));
    restores.forget(Partition(0));
    assert_eq!(at(&mut restores, 114), Some(Delay::Ended));
    assert_eq!(at(&mut restores, 115), None, "the end is reported once");
}
