//! Checks the number of heap allocations for one event.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bench::{TYPICAL, Worker};

/// The maximum number of allocations for one typical event: the identity map, a list for each of its three namespaces,
/// the address in lower case, one in the check of the address, and one in apache-avro.
const MOST: u64 = 7;

#[test]
fn a_typical_event_needs_at_most_seven_allocations() {
    let mut worker = Worker::new().unwrap();
    worker.work(TYPICAL).unwrap();
    let counted = allocation_counter::measure(|| {
        worker.work(TYPICAL).unwrap();
    });
    assert!((1150..1250).contains(&TYPICAL.len()), "{} bytes", TYPICAL.len());
    assert!(counted.count_total <= MOST, "{counted:?}");
}
