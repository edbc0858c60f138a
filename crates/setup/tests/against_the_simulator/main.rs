//! Tests of the commands `setup` and `check` against the simulator, without Kafka.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod before_writing;
mod checks;
mod conflicts;
mod converge;
mod drift;
mod gateway;
mod profile;
mod removal;
mod silent;
mod sources;
mod stages;
mod switch;
mod webhook_input;
mod world;
