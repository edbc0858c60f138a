//! Tests the control-plane client against the simulator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
mod events;
mod faults;
mod setup;
mod strictness;
