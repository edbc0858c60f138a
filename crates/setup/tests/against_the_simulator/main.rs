//! Tests of the commands `setup` and `check` against the simulator, without Kafka.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod checks;
mod converge;
mod drift;
mod gateway;
mod profile;
mod removal;
mod stages;
mod switch;
mod world;
