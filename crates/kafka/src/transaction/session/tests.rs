//! Tests the session on a fake group client: from an assignment to the first record, and what ends a session. No record
//! is accepted, so the producer never begins a transaction; the machine's own tests cover transactions.

use prometheus::Registry;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use service::{Readiness, Ready, Waiting};

use super::super::outbox::Outbox;
use super::super::tail::{Lookback, PartitionState};
use super::*;
use crate::connection::Connection;
use crate::fake_client::{Call, FakeClient};
use crate::group::Rebalance;
use crate::health::KafkaHealth;
use crate::metrics::ConsumerMetrics;
use crate::record::Record;
use crate::start::FromBeginning;

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

/// A processor that notes which partitions were released.
#[derive(Debug, Default)]
struct Released(Vec<Partition>);

#[derive(Debug)]
struct NoState;

impl PartitionState for NoState {
    fn starts_late(&mut self) {}
    fn restore(&mut self, _: &Record<'_>) {}
}

impl Processor for Released {
    type State = NoState;

    fn new_state(&self) -> NoState {
        NoState
    }
    fn restored(&mut self, _: Partition, _: NoState, _: Duration) {}
    fn release(&mut self, partition: Partition) {
        self.0.push(partition);
    }
    fn process(&mut self, _: &Record<'_>, _: &mut Outbox<'_>) -> Disposition {
        unreachable!("no record is accepted")
    }
    fn show_deferred(&mut self, _: Partition, _: u64) {}
    fn committed(&mut self, _: Duration) {}
    fn aborted(&mut self) {}
}

fn settings(registry: &Registry) -> WorkerSettings {
    let input = "raw".parse().unwrap();
    let waiting = Waiting::register("test", registry, &Readiness::default()).unwrap();
    WorkerSettings {
        // No broker listens at this address.
        connection: Connection::plaintext("127.0.0.1:1", "test"),
        group: "group".to_owned(),
        name: None,
        name_variable: "INSTANCE",
        transactional_id: "test".to_owned(),
        metrics: ConsumerMetrics::register(registry, "test", "the gateway", &input).unwrap(),
        health: KafkaHealth::new(&waiting, Ready::Depends),
        input,
        output: "typed".parse().unwrap(),
        dead_letters: "dead-letters".parse().unwrap(),
        lookback: Lookback { offsets: 1, age: Duration::ZERO },
        from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
        commit_interval: Duration::from_millis(100),
        max_records: 10,
        transaction_timeout: Duration::from_secs(10),
        fetch_bytes: 0,
        readiness: Readiness::default(),
    }
}

/// Runs a test with a session that waits for the starts of both partitions.
fn with_session(test: impl FnOnce(&mut Session<'_, Released, FakeClient>)) {
    with_own_session(&Registry::new(), &CancellationToken::new(), |mut session| test(&mut session));
}

/// Like [`with_session`], but passes the session by value, so that the test can end it, and uses the test's registry
/// and stop token.
fn with_own_session(
    registry: &Registry,
    stop: &CancellationToken,
    test: impl FnOnce(Session<'_, Released, FakeClient>),
) {
    let (settings, mut processor) = (settings(registry), Released::default());
    let timeout = settings.transaction_timeout;
    let producer = TransactionalProducer::new(&settings.connection, "test", timeout, None).unwrap();
    let client = FakeClient::default();
    let mut session =
        Session::with(&settings, &mut processor, Latest::new(), producer, client, LogWatch::blind(), stop);
    session.awaited = BTreeSet::from([FIRST, SECOND]);
    test(session);
}

/// Stops a session during the commit of a starting offset before which 7 records have expired. Calls `prepare` with the
/// client before the commit, and `release` after the stop. Returns how many lost records were reported.
fn lost_records_at_a_stop(prepare: impl FnOnce(&FakeClient), release: impl FnOnce(&FakeClient)) -> f64 {
    let (registry, stop) = (Registry::new(), CancellationToken::new());
    with_own_session(&registry, &stop, |mut session| {
        let client = Arc::clone(session.member.client());
        client.hold_commits(true);
        prepare(&client);
        session.found = vec![FoundStart::expired_of_test(Position::new(0, 7), 7)];
        assert!(session.restored().is_ok());
        assert!(session.committer.is_busy());
        stop.cancel();
        release(&client);
        assert!(matches!(session.run(), (End::Stopped, false)));
        // Lets the committer's thread end.
        client.hold_commits(false);
    });
    let families = registry.gather();
    let expired = families.iter().find(|family| family.name() == "customerio_kafka_records_expired_total").unwrap();
    expired.get_metric()[0].get_counter().get_value()
}

/// Sets the starts of both partitions. The group has committed only the start of the first one.
fn find_starts(session: &mut Session<'_, Released, FakeClient>) {
    session.found =
        vec![FoundStart::of_test(Position::new(0, 7), false), FoundStart::of_test(Position::new(1, 0), true)];
}

/// Finds the starts and begins their commit, which waits in the returned client.
fn begin_commit(session: &mut Session<'_, Released, FakeClient>) -> Arc<FakeClient> {
    let client = Arc::clone(session.member.client());
    client.hold_commits(true);
    find_starts(session);
    assert!(session.restored().is_ok());
    assert!(session.committer.is_busy());
    client
}

/// Continues with the new partitions until the commit of their starts has ended.
fn restored(session: &mut Session<'_, Released, FakeClient>) -> Result<(), End> {
    session.restored()?;
    while session.committer.is_busy() {
        std::thread::sleep(Duration::from_millis(1));
        session.restored()?;
    }
    Ok(())
}

#[test]
fn a_new_starting_offset_is_committed_before_its_partition_is_added_as_paused() {
    with_session(|session| {
        find_starts(session);
        assert!(restored(session).is_ok());
        let client = Arc::clone(session.member.client());
        assert_eq!(client.calls(), [Call::Commit(vec![Position::new(1, 0)]), Call::Assign(vec![FIRST, SECOND])]);
        assert!(client.is_paused(FIRST) && client.is_paused(SECOND));
        assert!(session.awaited.is_empty());
        let reads: Vec<_> = session.machine.partitions().map(|partition| session.machine.read(partition)).collect();
        assert_eq!(reads, [Some(contract::Offset(7)), Some(contract::Offset(0))]);
    });
}

/// Another thread checks the numbers of partitions, so that a stop and the next rebalance do not wait for the brokers.
#[test]
fn an_assignment_waits_for_no_broker_and_ends_the_session_if_none_responds() {
    with_session(|session| {
        let begun = Instant::now();
        assert!(session.assign(vec![FIRST, SECOND]).is_ok());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let end = loop {
            match session.poll(Duration::from_millis(10)) {
                Ok(()) => assert!(begun.elapsed() < Duration::from_secs(30), "the session has not ended"),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, End::Rebuild(reason) if reason.contains("asking for a topic's partitions")));
    });
}

#[test]
fn an_eviction_before_the_commit_of_starting_offsets_ends_the_session() {
    with_session(|session| {
        find_starts(session);
        session.member.client().fail_commit(RDKafkaErrorCode::UnknownMemberId);
        assert!(matches!(restored(session), Err(End::Evicted(_))));
        assert_eq!(session.member.client().calls(), []);
    });
}

#[test]
fn a_commit_refused_by_a_rebalance_is_repeated_before_partitions_are_added() {
    with_session(|session| {
        find_starts(session);
        session.member.client().fail_commit(RDKafkaErrorCode::RebalanceInProgress);
        assert!(restored(session).is_ok());
        assert_eq!(session.member.client().calls(), []);
        assert_eq!(session.awaited, BTreeSet::from([FIRST, SECOND]));
        session.next_commit = Instant::now();
        assert!(restored(session).is_ok());
        assert_eq!(session.member.client().assigned(), [FIRST, SECOND]);
    });
}

#[test]
fn no_partition_is_added_to_a_lost_assignment() {
    with_session(|session| {
        find_starts(session);
        session.member.client().lose_assignment();
        assert!(session.restored().is_ok());
        assert_eq!(
            session.member.client().calls(),
            [],
            "librdkafka would take an added partition as the answer to the revoke"
        );
    });
}

#[test]
fn a_partition_that_is_revoked_before_it_is_added_is_not_added_later() {
    with_session(|session| {
        find_starts(session);
        session.member.client().rebalance(Rebalance::Revoke { partitions: vec![SECOND], lost: false });
        assert!(session.poll(Duration::ZERO).is_ok());
        let calls = session.member.client().calls();
        assert_eq!(
            calls,
            [Call::Unassign(vec![]), Call::Assign(vec![FIRST])],
            "librdkafka does not know the second partition"
        );
        assert_eq!(session.processor.0, [SECOND]);
    });
}

/// librdkafka repeats a commit for up to a minute while a broker does not respond. The session continues meanwhile.
#[test]
fn a_slow_commit_of_starting_offsets_delays_neither_polls_nor_rebalances() {
    with_session(|session| {
        let begun = Instant::now();
        let client = begin_commit(session);
        client.rebalance(Rebalance::Assign(vec![]));
        for _ in 0..2 {
            assert!(session.poll(Duration::ZERO).is_ok());
        }
        assert!(begun.elapsed() < COMMIT_WAIT, "{:?}", begun.elapsed());
        assert_eq!(client.calls(), [Call::Assign(vec![])], "the rebalance is answered, and no partition is added yet");
        client.hold_commits(false);
        assert!(restored(session).is_ok());
        assert_eq!(client.assigned(), [FIRST, SECOND]);
    });
}

#[test]
fn a_revoke_waits_for_the_commit_of_starting_offsets_and_the_revoked_partition_is_not_added() {
    with_session(|session| {
        let client = begin_commit(session);
        client.rebalance(Rebalance::Revoke { partitions: vec![SECOND], lost: false });
        let releasing = Arc::clone(&client);
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            releasing.hold_commits(false);
        });
        assert!(session.poll(Duration::ZERO).is_ok());
        release.join().unwrap();
        assert!(!session.committer.is_busy());
        assert!(restored(session).is_ok());
        let starts = [Call::Commit(vec![Position::new(1, 0)]), Call::Unassign(vec![]), Call::Assign(vec![FIRST])];
        assert_eq!(client.calls(), starts);
        assert_eq!(session.machine.step(Instant::now()), Step::Poll(None));
    });
}

#[test]
fn a_revoke_during_a_commit_of_starting_offsets_that_does_not_end_needs_new_clients() {
    with_session(|session| {
        let client = begin_commit(session);
        client.rebalance(Rebalance::Revoke { partitions: vec![SECOND], lost: false });
        let begun = Instant::now();
        assert!(session.poll(Duration::ZERO).is_ok());
        let waited = begun.elapsed();
        client.hold_commits(false);
        assert!(waited >= COMMIT_WAIT && waited < COMMIT_WAIT * 3, "{waited:?}");
        let next = session.machine.step(Instant::now());
        assert!(matches!(next, Step::Rebuild(Breakage { reason, .. }) if reason.contains("first offsets")));
        assert_eq!(client.calls()[0], Call::Unassign(vec![]), "the rebalance is answered");
    });
}

/// If the brokers have stored the commit, no other member finds the loss again.
#[test]
fn a_stop_during_the_commit_of_starting_offsets_reports_expired_records_unless_the_commit_is_refused() {
    let stored = lost_records_at_a_stop(|_| {}, |client| client.hold_commits(false));
    assert_eq!(stored, 7.0);
    let unknown = lost_records_at_a_stop(|_| {}, |_| {});
    assert_eq!(unknown, 7.0, "the commit has not ended");
    let refused = lost_records_at_a_stop(
        |client| client.fail_commit(RDKafkaErrorCode::UnknownMemberId),
        |client| client.hold_commits(false),
    );
    assert_eq!(refused, 0.0, "the next member finds the loss again and reports it");
}

#[test]
fn a_missing_topic_needs_new_clients_unlike_a_lost_connection() {
    with_session(|session| {
        session.member.client().fail_poll(RdError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown));
        assert!(session.poll(Duration::ZERO).is_ok());
        assert_eq!(session.machine.step(Instant::now()), Step::Poll(None));
        session.member.client().fail_poll(RdError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition));
        assert!(session.poll(Duration::ZERO).is_ok());
        let next = session.machine.step(Instant::now());
        assert!(matches!(next, Step::Rebuild(Breakage { reason, evicted: false }) if reason.contains("`raw` is gone")));
    });
}

/// The worker then logs a warning: the brokers end the transaction, perhaps by an abort.
#[test]
fn a_stop_with_an_unresolved_transaction_does_not_end_the_session_as_stopped() {
    let stop = CancellationToken::new();
    with_own_session(&Registry::new(), &stop, |mut session| {
        session.machine.break_with("a commit was still unresolved".to_owned());
        stop.cancel();
        assert!(matches!(session.run(), (End::Rebuild(reason), false) if reason.contains("unresolved")));
    });
}
