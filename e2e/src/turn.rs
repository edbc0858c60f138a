//! Decides which tests of a process run at the same time. Most tests wait most of the time: for a session to time out,
//! for partitions to move, for a request to be repeated. These tests share the machine. A test that measures time or
//! memory, or that keeps the machine busy, runs alone.
//!
//! Tests that share the machine run first, and then the other tests run one after the other. A test that waits for its
//! turn occupies a thread of the test runner, which therefore needs more threads than `make test` has tests that run
//! alone (`TEST_THREADS` in the Makefile).

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static MACHINE: Machine = Machine { state: Mutex::new(State::new()), changed: Condvar::new() };

thread_local! {
    /// Turn of the test that runs on this thread.
    static HELD: Cell<Held> = const { Cell::new(Held::Nothing) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    Alone,
    /// A test with several pipelines takes a shared turn for each of them, and all of these turns count as one.
    Shared(usize),
}

/// Permission to use the machine until this value is dropped. It cannot move to another thread.
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub struct Turn {
    is_nested: bool,
    _not_send: PhantomData<MutexGuard<'static, ()>>,
}

/// Waits until no other test runs. A test calls this before it starts anything, including its own cluster.
///
/// # Panics
/// Panics if the same test has a turn already, because the test would wait for itself.
pub fn alone() -> Turn {
    assert_eq!(HELD.get(), Held::Nothing, "a test that runs alone must call `alone()` before it creates a pipeline");
    MACHINE.take(State::take_alone);
    HELD.set(Held::Alone);
    Turn { is_nested: false, _not_send: PhantomData }
}

/// Waits until no test runs alone and fewer than `shares` tests share the machine. In a test that already has a turn,
/// the function returns at once. Creating a [`Pipeline`](crate::pipeline::Pipeline) calls this function; a test that
/// starts processes without a pipeline must call it.
pub fn shared() -> Turn {
    let (held, is_nested) = match HELD.get() {
        Held::Nothing => {
            MACHINE.update(|state| state.waiting += 1);
            MACHINE.take(|state| state.take_share(shares()));
            (Held::Shared(1), false)
        }
        Held::Shared(turns) => (Held::Shared(turns + 1), false),
        Held::Alone => (Held::Alone, true),
    };
    HELD.set(held);
    Turn { is_nested, _not_send: PhantomData }
}

/// Returns the maximum number of tests that share the machine: one for each core, because each test starts several
/// processes, and at most eight.
fn shares() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}

impl Drop for Turn {
    fn drop(&mut self) {
        let held = match HELD.get() {
            _ if self.is_nested => return,
            Held::Shared(turns) if turns > 1 => Held::Shared(turns - 1),
            Held::Shared(_) => {
                MACHINE.update(|state| state.sharing -= 1);
                Held::Nothing
            }
            Held::Alone | Held::Nothing => {
                MACHINE.update(|state| state.is_taken = false);
                Held::Nothing
            }
        };
        HELD.set(held);
    }
}

#[derive(Debug)]
struct Machine {
    state: Mutex<State>,
    changed: Condvar,
}

impl Machine {
    /// Waits until `take` succeeds.
    fn take(&self, mut take: impl FnMut(&mut State) -> bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(state, |state| !take(state)).unwrap_or_else(PoisonError::into_inner));
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// Number of tests that use or wait for the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    sharing: usize,
    waiting: usize,
    /// Whether a test runs alone.
    is_taken: bool,
}

impl State {
    const fn new() -> Self {
        Self { sharing: 0, waiting: 0, is_taken: false }
    }

    /// Takes a share for a test that is counted as waiting; returns `false` if the test must wait longer.
    fn take_share(&mut self, shares: usize) -> bool {
        let may = !self.is_taken && self.sharing < shares;
        if may {
            self.waiting -= 1;
            self.sharing += 1;
        }
        may
    }

    /// Takes the whole machine; returns `false` if the test must wait.
    fn take_alone(&mut self) -> bool {
        let may = !self.is_taken && self.sharing == 0 && self.waiting == 0;
        self.is_taken |= may;
        may
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_share_is_granted_unless_all_are_taken_or_a_test_runs_alone() {
        let mut state = State { waiting: 3, ..State::new() };
        assert!(state.take_share(2) && state.take_share(2));
        assert!(!state.take_share(2));
        assert_eq!(state, State { sharing: 2, waiting: 1, is_taken: false });
        let mut taken = State { waiting: 1, is_taken: true, ..State::new() };
        assert!(!taken.take_share(2));
    }

    #[test]
    fn a_test_runs_alone_only_while_no_other_test_runs_or_waits_to_share() {
        let free = State::new();
        for mut busy in [State { sharing: 1, ..free }, State { waiting: 1, ..free }, State { is_taken: true, ..free }] {
            let before = busy;
            assert!(!busy.take_alone(), "{before:?}");
            assert_eq!(busy, before);
        }
        let mut state = free;
        assert!(state.take_alone() && !state.take_alone());
    }

    #[test]
    fn no_other_test_runs_while_one_runs_alone() {
        let running = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..16 {
                let running = &running;
                scope.spawn(move || {
                    let is_alone = number % 4 == 0;
                    let _turn = if is_alone { alone() } else { shared() };
                    let _pipeline = shared();
                    let others = running.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                    assert!(if is_alone { others == 0 } else { others < shares() }, "{others} others");
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }

    #[test]
    fn a_test_that_shares_the_machine_panics_if_it_requests_to_run_alone() {
        let result = std::thread::spawn(|| {
            let _pipeline = shared();
            drop(alone());
        });
        assert!(result.join().is_err());
    }
}
