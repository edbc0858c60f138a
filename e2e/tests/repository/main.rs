//! Checks of the repository's own files: workspace rules, alerts and runbooks, Compose files, Helm chart and manifests.
//! They need neither running services nor Kafka.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alerts;
mod compose;
mod deployment;
mod documents;
mod shipped_features;
mod workspace_rules;
