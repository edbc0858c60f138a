//! Tests of transactions that are open during a rebalance.

use super::*;

/// The evicted member has joined again, so the brokers would accept its commit.
#[test]
fn a_revoke_commits_nothing_once_another_member_has_committed() {
    let mut driver = Driver { machine: Machine::new(limits()), brokers: Brokers::default(), now: Instant::now() };
    driver.apply(Event::Assign(Partition(0)));
    driver.apply(Event::Poll(Partition(0)));
    driver.brokers.other_member(Partition(0));
    driver.machine.begin_revoke(false, driver.now);
    while driver.machine.is_open() {
        driver.machine.advance(driver.now, &mut driver.brokers);
    }
    let next = driver.machine.step(driver.now);
    assert!(matches!(next, Step::Rebuild(Breakage { evicted: true, .. })), "{next:?}");
    driver.rebuild();
    assert_exactly_once(&driver.brokers);
}

#[test]
fn an_assignment_makes_the_open_transaction_due_but_not_the_next_one() {
    let mut brokers = Brokers { owned: BTreeSet::from([Partition(0)]), ..Brokers::default() };
    let mut machine = Machine::new(limits());
    let now = Instant::now();
    machine.assign(Partition(0), Consumed::at(Offset(0)));
    assert!(machine.accept(Position::new(0, 0), now, &mut brokers));
    assert!(matches!(machine.step(now), Step::Poll(Some(_))), "the transaction is not due yet");
    machine.begin_assign(now);
    assert_eq!(machine.step(now), Step::Advance, "handling the assignment may exceed the timeout of the transaction");
    while machine.is_open() {
        machine.advance(now, &mut brokers);
    }
    assert_eq!(machine.committed(Partition(0)), Some(Offset(1)));
    machine.remove(&BTreeSet::new());
    assert!(machine.accept(Position::new(0, 1), now, &mut brokers), "the partition is kept");
    assert!(matches!(machine.step(now), Step::Poll(Some(_))), "the assignment is over");
}
