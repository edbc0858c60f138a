//! Tests of the promises, with the real binaries on a real Kafka. `#[ignore]` marks the tests that only `make
//! test-slow` runs. `e2e::turn` decides which tests run at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its seed and what it measured"
)]

mod alerts;
mod bad_input;
mod chaos;
mod check_permissions;
mod cluster;
mod connect;
mod connect_page;
mod dedup;
mod demo;
mod fencing;
mod gateway;
mod gateway_broker;
mod gateway_reload;
mod gateway_rolling;
mod lifecycle;
mod map;
mod memory;
mod network;
mod no_secrets;
mod offsets;
mod operator;
mod outage;
mod pipeline;
mod rejected_batches;
mod replaced_topics;
mod schema_registry;
mod setup_from_zero;
mod silence;
mod single_object;
mod sink_faults;
mod size;
mod transformer_reload;
