//! Provides the parts that every service of the pipeline needs: command line and environment, logs, metrics endpoint,
//! readiness, start and stop.
//!
//! This crate, `settings` and the `main.rs` files are the only places that use argv, the environment, signals and exit
//! codes. This crate does not know Kafka, Customer.io or Experience Platform.

mod admin;
mod backoff;
mod clock;
mod config;
pub mod connections;
mod dead_letter_limit;
mod health;
mod hold;
mod main_loop;
mod open_files;
mod readiness;
mod registrar;
mod reload;
mod tasks;
mod telemetry;
mod waiting;

pub use admin::{AdminError, AdminServer};
pub use backoff::Backoff;
pub use clock::unix_millis;
pub use config::{ServiceArgs, ServiceConfig, Unusable};
pub use dead_letter_limit::{DeadLetterLimit, RecentOutcomes};
pub use health::reachable;
pub use hold::{OPERATOR_HEADER, OperatorHold};
pub use main_loop::{Context, run_service, shutdown_on_signal};
pub use open_files::allow_open_files;
pub use readiness::Readiness;
pub use registrar::Registrar;
pub use reload::ReloadMetrics;
pub use tasks::{TaskError, Tasks, TasksError};
pub use telemetry::{LogFormat, LogLevel, init_logs, registry};
pub use waiting::{Activity, Ready, Reason, Request, Trouble, Waiting};

/// The version of this build, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit of this build, or `unknown` if `BUILD_COMMIT` was not set at compile time. The Dockerfile sets it.
pub const COMMIT: &str = match option_env!("BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
