//! Tests with brokers that do not resolve a call: how long the machine waits, and how it continues.

use super::*;

/// Brokers that never resolve one kind of call. They record the calls that they get.
struct Silent {
    about: &'static str,
    calls: Vec<&'static str>,
}

impl Silent {
    fn answer(&mut self, call: &'static str) -> Outcome {
        self.calls.push(call);
        if call == self.about { Outcome::Retry } else { Outcome::Done }
    }
}

impl Client for Silent {
    fn begin(&mut self) -> Outcome {
        self.answer("begin")
    }
    fn confirm(&mut self, _: &[Mark]) -> Outcome {
        Outcome::Done
    }
    fn send_offsets(&mut self, _: &[Mark]) -> Outcome {
        self.answer("send_offsets")
    }
    fn commit(&mut self) -> Outcome {
        self.answer("commit")
    }
    fn abort(&mut self) -> Outcome {
        self.answer("abort")
    }
    fn rewind(&mut self, _: &[Position]) -> Outcome {
        self.answer("rewind")
    }
}

/// Revokes a partition with an open transaction. Returns the calls, the time that the revoke took, and the next step.
fn revoke_in_silence(about: &'static str) -> (Vec<&'static str>, Duration, Step) {
    let mut client = Silent { about, calls: Vec::new() };
    let mut machine = Machine::new(limits());
    let begun = Instant::now();
    machine.assign(Partition(0), Consumed::at(Offset(0)));
    assert!(machine.accept(Position::new(0, 0), begun, &mut client));
    let mut now = begun;
    machine.begin_revoke(false, now);
    while machine.is_open() {
        now += Duration::from_millis(500);
        machine.advance(now, &mut client);
    }
    machine.remove(&BTreeSet::from([Partition(0)]));
    (client.calls, now - begun, machine.step(now))
}

#[test]
fn a_revoke_aborts_if_sending_the_offsets_is_unresolved_for_five_seconds() {
    let (calls, took, _) = revoke_in_silence("send_offsets");
    assert_eq!(calls.last(), Some(&"abort"), "{calls:?}");
    assert!(!calls.contains(&"commit") && took <= Duration::from_secs(6), "{took:?} {calls:?}");
}

#[test]
fn a_revoke_during_an_unresolved_commit_rebuilds_the_clients_and_never_aborts() {
    let (calls, took, next) = revoke_in_silence("commit");
    assert!(!calls.contains(&"abort") && took <= Duration::from_secs(6), "{took:?} {calls:?}");
    assert!(matches!(next, Step::Rebuild(Breakage { reason, .. }) if reason.contains("unresolved")));
}

#[test]
fn a_revoke_during_an_unresolved_abort_rebuilds_the_clients_after_ten_seconds() {
    let mut client = Silent { about: "abort", calls: Vec::new() };
    let mut machine = Machine::new(limits());
    let begun = Instant::now();
    machine.assign(Partition(0), Consumed::at(Offset(0)));
    assert!(machine.accept(Position::new(0, 0), begun, &mut client));
    machine.begin_revoke(true, begun);
    let mut now = begun;
    while machine.is_open() {
        now += Duration::from_millis(500);
        machine.advance(now, &mut client);
    }
    assert!(now - begun <= Duration::from_secs(11), "{:?}", now - begun);
    assert!(matches!(machine.step(now), Step::Rebuild(Breakage { reason, .. }) if reason.contains("unresolved")));
}

/// The loop calls [`Machine::finish`] before each step, as a session does.
#[test]
fn a_stop_waits_no_longer_for_an_unresolved_call_than_a_revoke() {
    for about in ["send_offsets", "commit", "abort"] {
        let mut client = Silent { about, calls: Vec::new() };
        let mut machine = Machine::new(limits());
        let begun = Instant::now();
        machine.assign(Partition(0), Consumed::at(Offset(0)));
        assert!(machine.accept(Position::new(0, 0), begun, &mut client));
        if about == "abort" {
            machine.output_failed("the output failed".to_owned());
        }
        let mut now = begun;
        while machine.is_open() {
            machine.finish(now);
            now += Duration::from_millis(500);
            machine.advance(now, &mut client);
        }
        assert!(now - begun <= Duration::from_secs(11), "{about}: {:?}", now - begun);
    }
}

#[test]
fn a_commit_that_stays_unresolved_rebuilds_the_clients_and_never_aborts() {
    let mut client = Silent { about: "commit", calls: Vec::new() };
    let mut machine = Machine::new(limits());
    let mut now = Instant::now();
    machine.assign(Partition(0), Consumed::at(Offset(0)));
    assert!(machine.accept(Position::new(0, 0), now, &mut client));
    loop {
        now += Duration::from_secs(1);
        match machine.step(now) {
            Step::Advance => drop(machine.advance(now, &mut client)),
            Step::Rebuild(Breakage { reason, .. }) => {
                assert!(reason.contains("commit"), "{reason}");
                break;
            }
            Step::Poll(_) => panic!("nothing to poll while a commit is unresolved"),
        }
    }
    let commits = client.calls.iter().filter(|call| **call == "commit").count();
    assert!(!client.calls.contains(&"abort") && commits >= 19, "{:?}", client.calls);
}
