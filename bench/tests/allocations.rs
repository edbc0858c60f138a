//! Allocations are counted, not guessed: a handful an event.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bench::{TYPICAL, Worker};

/// The most allocations of one typical event: the identity map, a list for each of its three namespaces, the address in
/// lower case, one that the check of the address needs, and one that apache-avro needs.
const MOST: u64 = 7;

#[test]
fn a_typical_event_costs_a_handful_of_allocations() {
    let mut worker = Worker::new().unwrap();
    worker.work(TYPICAL).unwrap();
    let counted = allocation_counter::measure(|| {
        worker.work(TYPICAL).unwrap();
    });
    assert!((1150..1250).contains(&TYPICAL.len()), "{} bytes", TYPICAL.len());
    assert!(counted.count_total <= MOST, "{counted:?}");
}
