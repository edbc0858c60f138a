//! All Kafka code of the pipeline. No other crate uses `rdkafka`.
//!
//! This crate moves bytes: keys, values, headers, offsets, transactions. It does not depend on webhooks, events, Avro
//! or XDM. Decisions ([`ledger`], [`transaction`]'s machine, [`start`]) are plain values without I/O. The code around
//! them is thin and runs on separate threads, because librdkafka's calls block.

mod assignment;
mod client;
pub mod cluster;
mod committer;
pub mod connection;
pub mod consumed;
pub mod consumer;
pub mod embedded;
mod error;
mod error_table;
#[cfg(test)]
mod fake_client;
mod fingerprint;
pub mod follower;
mod group;
mod group_member;
mod health;
pub mod ledger;
mod log_watch;
mod metrics;
mod namesake;
pub mod offsets;
mod partition_list;
mod partitioner;
pub mod probe;
pub mod producer;
pub mod reader;
pub mod record;
pub mod start;
pub mod topic;
pub mod topic_settings;
pub mod transaction;
mod watermarks;
pub mod write_probe;

pub use connection::{Connection, KafkaArgs};
pub use contract::{OptionalTopic, TopicName};
pub use error::KafkaError;
pub use health::KafkaHealth;
pub use metrics::ConsumerMetrics;
pub use partitioner::partition_of;
pub use record::{Header, Headers, Record};
pub use watermarks::Watermarks;
