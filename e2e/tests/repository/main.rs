//! Checks of the repository's own files: the workspace's rules, alerts and runbooks, Compose file, Helm chart and manifests. They start
//! no service and need no Kafka.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alerts;
mod compose;
mod deployment;
mod workspace_rules;
