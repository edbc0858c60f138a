//! What the end-to-end tests stand on: a real Apache Kafka, the real binaries, a load, and the accounting at the end.
//!
//! Nothing here knows how a service works inside; it starts processes, reads topics and asks the simulator.

#![allow(clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and shows its logs then")]

pub mod accounting;
pub mod acls;
pub mod chaos;
pub mod faults;
pub mod foreign;
pub mod java_avro;
mod maven;
pub mod pipeline;
pub mod process;
pub mod proxy;
pub mod real_kafka;
pub mod real_registry;
pub mod sender;
pub mod watch;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `timeout`; `what` says what was waited for.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until no other test of this process has the machine to itself, for tests that start a cluster of their own.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that is free now, and that no outgoing connection takes before it is used: those come from 32768 on (Linux's
/// `ip_local_port_range`).
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1000);
    ports.find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}
