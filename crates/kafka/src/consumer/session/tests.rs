//! Tests the session on a fake client, turn by turn: budget, rebalances, commits, the end of a session.

use prometheus::Registry;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use service::{Readiness, Ready, Waiting};

use super::super::{ExternalWait, Settler};
use super::*;
use crate::connection::Connection;
use crate::fake_client::{Call, FakeClient};
use crate::group::Rebalance;
use crate::health::KafkaHealth;
use crate::metrics::ConsumerMetrics;
use crate::start::{FoundStart, FromBeginning};

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

/// A budget with room for two records of [`BYTES`], but not for three.
const BUDGET: usize = 5_000;
const BYTES: usize = 2_000;

/// Continues at the committed offsets of a fake client. A partition without a committed offset starts at 0, or is an
/// error if `group_is_lost`.
struct FakeStarts {
    client: Arc<FakeClient>,
    group_is_lost: bool,
}

impl FindStarts for FakeStarts {
    fn find(&self, partitions: &[Partition]) -> Result<Vec<FoundStart>, KafkaError> {
        let start = |&partition: &Partition| {
            let committed = self.client.committed_offset(partition);
            if committed.is_none() && self.group_is_lost {
                let (group, topic, output) = ("group".to_owned(), "typed".to_owned(), "receipts".to_owned());
                let option = "--from-beginning";
                return Err(KafkaError::LostGroup { group, topic, partition, output, option });
            }
            let position = Position::of(partition, committed.unwrap_or(contract::Offset(0)));
            Ok(FoundStart::of_test(position, committed.is_none()))
        };
        partitions.iter().map(start).collect()
    }
}

/// Receives the records of a session, and reports on their claims.
struct Work {
    records: mpsc::UnboundedReceiver<Feed>,
    settler: Settler,
    client: Arc<FakeClient>,
    claims: Vec<Claim>,
    stop: CancellationToken,
}

impl Work {
    /// Returns partition and offset of each record that has arrived since the last call.
    fn arrived(&mut self) -> Vec<(i32, i64)> {
        let mut arrived = Vec::new();
        while let Ok(feed) = self.records.try_recv() {
            if let Feed::Record(claim, _) = feed {
                self.claims.push(claim);
                arrived.push((claim.partition.0, claim.offset.0));
            }
        }
        arrived
    }

    /// Returns the claim of a record that has arrived.
    fn claim(&self, partition: Partition, offset: i64) -> Claim {
        let is_it = |claim: &&Claim| claim.position() == Position::new(partition.0, offset);
        *self.claims.iter().find(is_it).unwrap()
    }
}

fn settings() -> ConsumerSettings {
    let (registry, input) = (Registry::new(), "typed".parse().unwrap());
    let waiting = Waiting::register("test", &registry, &Readiness::default()).unwrap();
    ConsumerSettings {
        // No broker listens at this address, and nothing connects to it.
        connection: Connection::plaintext("127.0.0.1:1", "test"),
        group: "group".to_owned(),
        metrics: ConsumerMetrics::register(&registry, "test", "the gateway", &input).unwrap(),
        health: KafkaHealth::new(&waiting, Ready::Depends),
        input,
        output: None,
        from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
        budget_bytes: BUDGET,
        fetch_bytes: 0,
        // A commit is due in every turn.
        commit_interval: Duration::ZERO,
        drain_timeout: Duration::from_millis(5),
        stall_after: Duration::from_secs(300),
        external_wait: ExternalWait::default(),
        readiness: Readiness::default(),
    }
}

/// Runs a test with a session whose group has assigned no partition yet.
fn with_session(
    change: impl FnOnce(&mut ConsumerSettings, &mut FakeStarts),
    test: impl FnOnce(Session<'_, FakeClient>, Work),
) {
    let client = Arc::new(FakeClient::default());
    let mut starts = FakeStarts { client: Arc::clone(&client), group_is_lost: false };
    let mut settings = settings();
    change(&mut settings, &mut starts);
    let (feed, records) = mpsc::unbounded_channel();
    let (settler, mut settlements) = mpsc::unbounded_channel();
    let mut ledgers = Ledgers::default();
    let stop = CancellationToken::new();
    let channels = Channels { feed: &feed, settlements: &mut settlements, ledgers: &mut ledgers };
    let session = Session::with(&settings, channels, Arc::clone(&client), Box::new(starts), LogWatch::blind(), &stop);
    test(session, Work { records, settler: Settler(settler), client, claims: Vec::new(), stop: stop.clone() });
}

fn turns(session: &mut Session<'_, FakeClient>, count: usize) {
    for _ in 0..count {
        assert!(session.turn().is_ok(), "the session ended");
    }
}

/// Runs turns of the session until the used-up budget has paused the first partition.
fn turns_until_paused(session: &mut Session<'_, FakeClient>, client: &FakeClient) {
    for _ in 0..2_000 {
        if client.is_paused(FIRST) {
            return;
        }
        turns(session, 1);
    }
    panic!("the partition is not paused");
}

fn revoke(partition: Partition, lost: bool) -> Rebalance {
    Rebalance::Revoke { partitions: vec![partition], lost }
}

#[test]
fn a_used_up_budget_that_is_freed_at_once_pauses_nothing() {
    with_session(
        |_, _| {},
        |mut session, mut work| {
            work.client.write(FIRST, 0..10, BYTES);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 10);
            assert_eq!(work.arrived(), [(0, 0), (0, 1), (0, 2)], "the third record uses the budget up");
            assert!(!work.client.is_paused(FIRST));
            work.settler.settle(vec![work.claim(FIRST, 0)]);
            turns(&mut session, 5);
            assert_eq!(work.arrived(), [(0, 3)], "there is room for one more record");
        },
    );
}

#[test]
fn a_budget_that_stays_used_up_pauses_all_partitions_until_a_quarter_of_it_is_free() {
    with_session(
        |_, _| {},
        |mut session, mut work| {
            work.client.write(FIRST, 0..10, BYTES);
            work.client.write(SECOND, 0..10, BYTES);
            work.client.rebalance(Rebalance::Assign(vec![FIRST, SECOND]));
            turns_until_paused(&mut session, &work.client);
            assert_eq!(work.arrived(), [(0, 0), (0, 1), (0, 2)]);
            assert!(work.client.is_paused(SECOND));
            work.settler.settle(vec![work.claim(FIRST, 0)]);
            turns(&mut session, 5);
            assert_eq!(work.arrived(), [], "two records are more than three quarters of the budget");
            work.settler.settle(vec![work.claim(FIRST, 1)]);
            turns(&mut session, 1);
            assert!(!work.client.is_paused(FIRST) && !work.client.is_paused(SECOND));
            assert_eq!(
                work.client.sought(),
                [Position::new(0, 3), Position::new(1, 0)],
                "each partition continues where it was"
            );
        },
    );
}

#[test]
fn a_partition_that_is_assigned_while_the_budget_is_used_up_is_read_after_the_pause() {
    with_session(
        |_, _| {},
        |mut session, mut work| {
            work.client.write(FIRST, 0..3, BYTES);
            work.client.write(SECOND, 0..1, BYTES);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns_until_paused(&mut session, &work.client);
            assert_eq!(work.arrived().len(), 3);
            work.client.rebalance(Rebalance::Assign(vec![SECOND]));
            turns(&mut session, 5);
            assert_eq!(work.arrived(), [], "the budget is still used up");
            assert!(work.client.is_paused(SECOND));
            work.settler.settle(work.claims.clone());
            turns(&mut session, 2);
            assert_eq!(work.arrived(), [(1, 0)]);
        },
    );
}

#[test]
fn a_revoke_clears_the_pause_flag_of_the_partition() {
    with_session(
        |_, _| {},
        |mut session, mut work| {
            work.client.write(FIRST, 0..3, BYTES);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns_until_paused(&mut session, &work.client);
            assert_eq!(work.arrived().len(), 3);
            work.settler.settle(work.claims.clone());
            work.client.rebalance(revoke(FIRST, false));
            turns(&mut session, 1);
            assert!(!work.client.is_paused(FIRST), "librdkafka would keep the flag");
            assert_eq!(work.client.assigned(), []);
            work.client.write(FIRST, 3..4, BYTES);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 2);
            assert_eq!(work.arrived(), [(0, 3)]);
        },
    );
}

#[test]
fn an_assignment_clears_the_pause_flag_of_an_earlier_assignment() {
    with_session(
        |_, _| {},
        |mut session, mut work| {
            work.client.write(FIRST, 0..1, BYTES);
            work.client.leave_paused(FIRST);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 2);
            assert_eq!(work.arrived(), [(0, 0)]);
        },
    );
}

#[test]
fn a_revoke_commits_only_durable_outcomes_before_it_unassigns_the_partition() {
    // No commit is due before the revoke.
    with_session(
        |settings, _| settings.commit_interval = Duration::from_secs(300),
        |mut session, mut work| {
            work.client.write(FIRST, 0..4, 10);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 5);
            assert_eq!(work.arrived().len(), 4);
            let [settled, pending, later, released] = [0, 1, 2, 3].map(|offset| work.claim(FIRST, offset));
            work.settler.settle(vec![settled, later]);
            work.settler.release(vec![released]);
            work.client.calls();
            work.client.rebalance(revoke(FIRST, false));
            turns(&mut session, 1);
            assert_eq!(work.client.calls(), [Call::Commit(vec![Position::new(0, 1)]), Call::Unassign(vec![FIRST])]);
            // The outcome of the pending record comes too late, so the next owner reads the record again.
            work.settler.settle(vec![pending]);
            turns(&mut session, 2);
            assert_eq!(work.client.committed_offset(FIRST), Some(contract::Offset(1)));
        },
    );
}

#[test]
fn no_offset_of_a_lost_partition_is_committed() {
    with_session(
        |settings, _| settings.commit_interval = Duration::from_secs(300),
        |mut session, mut work| {
            work.client.write(FIRST, 0..1, 10);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 2);
            assert_eq!(work.arrived().len(), 1);
            work.settler.settle(work.claims.clone());
            work.client.calls();
            work.client.rebalance(revoke(FIRST, true));
            turns(&mut session, 2);
            assert_eq!(work.client.calls(), [Call::Unassign(vec![FIRST])]);
        },
    );
}

#[test]
fn a_new_starting_offset_is_committed_before_its_partition_is_assigned() {
    with_session(
        |_, _| {},
        |mut session, work| {
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 1);
            assert_eq!(work.client.calls(), [Call::Commit(vec![Position::new(0, 0)]), Call::Assign(vec![FIRST])]);
        },
    );
}

#[test]
fn lost_group_offsets_end_the_consumer_after_the_rebalance_is_answered() {
    with_session(
        |_, starts| starts.group_is_lost = true,
        |mut session, work| {
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            let end = session.turn();
            assert!(matches!(end, Err(End::Fatal(KafkaError::LostGroup { partition: FIRST, .. }))));
            assert_eq!(work.client.calls(), [Call::Assign(vec![FIRST])], "librdkafka could not close otherwise");
        },
    );
}

#[test]
fn an_out_of_range_position_needs_a_new_client_unlike_a_lost_connection() {
    with_session(
        |_, _| {},
        |mut session, work| {
            for code in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::AllBrokersDown] {
                work.client.fail_poll(RdError::MessageConsumption(code));
                turns(&mut session, 1);
            }
            work.client.fail_poll(RdError::PartitionEOF(0));
            turns(&mut session, 1);
            work.client.fail_poll(RdError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange));
            assert!(matches!(session.turn(), Err(End::Rebuild(reason)) if reason.contains("out of range")));
        },
    );
}

#[test]
fn a_stop_commits_durable_outcomes_and_closes_the_client() {
    with_session(
        |settings, _| settings.commit_interval = Duration::from_secs(300),
        |mut session, mut work| {
            work.client.write(FIRST, 0..2, 10);
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 3);
            assert_eq!(work.arrived().len(), 2);
            work.settler.settle(vec![work.claim(FIRST, 0)]);
            work.client.calls();
            work.stop.cancel();
            assert!(matches!(session.run(), End::Stopped));
            assert_eq!(work.client.calls(), [Call::Commit(vec![Position::new(0, 1)]), Call::Close]);
        },
    );
}

/// librdkafka repeats a commit for up to a minute while a broker does not respond. The session must not wait that long,
/// because the whole group waits for its answer to the rebalance.
#[test]
fn a_rebalance_during_a_commit_that_does_not_end_is_answered_and_needs_a_new_client() {
    with_session(
        |_, _| {},
        |mut session, work| {
            work.client.rebalance(Rebalance::Assign(vec![FIRST]));
            turns(&mut session, 2);
            work.client.calls();
            work.client.hold_commits(true);
            work.client.rebalance(Rebalance::Assign(vec![SECOND]));
            let begun = Instant::now();
            let end = (0..10).find_map(|_| session.turn().err());
            assert!(matches!(end, Some(End::Rebuild(_))), "the start of the second partition is not committed");
            assert_eq!(work.client.calls(), [Call::Assign(vec![SECOND])], "the rebalance is answered");
            work.client.rebalance(revoke(FIRST, false));
            let end = (0..10).find_map(|_| session.turn().err());
            assert!(matches!(end, Some(End::Rebuild(reason)) if reason.contains("before a revoke")));
            assert_eq!(work.client.calls(), [Call::Unassign(vec![FIRST])], "the rebalance is answered");
            let waited = begun.elapsed();
            work.client.hold_commits(false);
            assert!(waited >= COMMIT_WAIT * 2 && waited < COMMIT_WAIT * 4, "{waited:?}");
        },
    );
}
