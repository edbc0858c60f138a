//! Tools of the end-to-end tests: they start a real Apache Kafka and the real binaries, send a load, and account for
//! every event at the end.
//!
//! This crate does not know how a service works inside: it starts processes, reads topics and queries the simulator.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and shows its logs then")]

pub mod accounting;
pub mod acls;
pub mod chaos;
pub mod documents;
pub mod faults;
pub mod foreign;
pub mod http;
pub mod java_avro;
mod maven;
pub mod pipeline;
pub mod process;
pub mod proxy;
pub mod real_kafka;
pub mod real_prometheus;
pub mod real_registry;
pub mod sender;
pub mod terminal;
pub mod turn;
pub mod watch;
mod wire;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// # Panics
/// Panics if the condition does not hold within `timeout`; `what` describes the condition.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns a free port that no other call has returned. The port is below 32768, where Linux's `ip_local_port_range`
/// begins: no outgoing connection can take it before the caller listens.
///
/// # Panics
/// Panics if the machine has no free port.
#[must_use]
pub fn free_port() -> u16 {
    static RETURNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut returned = RETURNED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1000);
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(|port| is_free(port) && returned.insert(*port)).expect("a free port")
}
